# SPDX-License-Identifier: Apache-2.0
"""Tells what is wrong with a host, and the cure of each finding.

Owns: the checks. Does not own: any cure; nothing here changes the host.

Each check reads a little and hands it to a ``judge_*`` function, which is
pure and decides. ``examine`` runs all of them in order.
"""

from collections.abc import Callable

from boxlite_runtime.doctor import engines, host, installation
from boxlite_runtime.doctor.finding import Finding
from boxlite_runtime.paths import Layout

CHECKS: tuple[Callable[[Layout], Finding], ...] = (
    host.accelerator,
    host.qemu,
    host.firmware,
    host.virtiofsd,
    host.tun,
    host.cgroups,
    host.resource_right,
    installation.guest,
    installation.configuration,
    installation.shim,
    engines.docker,
    engines.docker_runtime,
    engines.containerd,
    engines.containerd_path,
    engines.kubernetes,
)


def examine(layout: Layout) -> list[Finding]:
    """Run every check and return the findings in order."""
    return [check(layout) for check in CHECKS]
