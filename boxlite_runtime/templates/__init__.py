# SPDX-License-Identifier: Apache-2.0
"""Templates: machines booted once and saved, for others to start from.

Owns: how a person is told of a build. Does not own: templates themselves, nor
how large a machine is; only the shim knows what one is made of, so ``shim``
asks it.

Call order: ``build``, then ``shim.found`` to tell what there is.
``build_default`` is the installer's.
"""

from pathlib import Path

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.paths import Layout
from boxlite_runtime.progress import step
from boxlite_runtime.templates import shim
from boxlite_runtime.templates.shim import Template

#: What a phase of the shim's is called for people.
PHASES = {
    "waiting": "another build goes first",
    "booting": "booting",
    "saving": "saving",
    "proving": "starting a first clone",
}


def build(
    runtime: shim.Shim, size: str | None, *, force: bool = False
) -> tuple[Template, bool]:
    """Build one template with a line for people; ``None``: the configured size.

    Returns it, and whether it was made now.
    """
    named = size or "of the configured size"
    with step(f"Building the template {named}") as shown:
        return runtime.build(
            size, force=force, on_phase=lambda name: shown.note(PHASES.get(name, name))
        )


def build_default(layout: Layout) -> str | None:
    """Build the one template that fits nearly all, as the last step of install.

    Returns a note when there is none to be had: machines boot then, which is
    slower and no reason to fail.
    """
    try:
        build(shim.Shim(layout.shim, configured(layout)), None)
    except BoxliteError as error:
        return f"no template: {error.message}; boxlite template build tries again"
    return None


def configured(layout: Layout) -> Path | None:
    """Return the configuration to name to the shim, if there is one."""
    return layout.config if layout.config.exists() else None
