# SPDX-License-Identifier: Apache-2.0
"""A guest leaves its processor for the host no oftener than it did.

Owns: that starts, commands and idle seconds stay within ``exits.toml``. Does not
own: counting; ``boxlite bench exits`` is run as a user does. Machines that are
not under KVM have no exits.
"""

import sys
from pathlib import Path

import pytest

from boxlite_runtime.bench import record
from boxlite_runtime.bench.exits import machine
from tests.engines import command
from tests.engines.docker import Docker
from tests.engines.pair import Pair
from tests.system import bounds

#: Seconds. An emulated host is some twenty times slower than others.
LIMIT = 400
#: Seconds before a guest counts as idle. Less than the command takes by itself: so
#: young a guest has more exits, and the bound is one of such a guest.
REST = 20

pytestmark = [
    pytest.mark.kvm,
    pytest.mark.boxlite_only,
    pytest.mark.timeout(LIMIT + 60),
]


@pytest.fixture(scope="module")
def _under_kvm(docker: Docker) -> None:
    with docker.container() as container:
        accel = machine.of(container).accel
    if accel != "kvm":
        pytest.skip(f"machines run under {accel} here, and exits are KVM's")


@pytest.mark.usefixtures("_under_kvm")
def test_exits_stay_within_their_bounds(
    docker: Docker, pair: Pair, tmp_path: Path
) -> None:
    file = tmp_path / "exits.json"
    done = command.run(
        [
            sys.executable, "-m", "boxlite_runtime", "bench", "exits",
            "--rounds", "3", "--only", "start", "--only", "exec", "--only", "idle",
            "--rest", str(REST), "--host", f"unix://{pair.docker_socket}",
            "--runtime", docker.runtime, "--json", file,
        ],
        timeout=LIMIT,
    ).ok()  # fmt: skip

    above = bounds.broken(
        record.read(file), bounds.read(Path(__file__).with_name("exits.toml"))
    )
    assert above == [], done.text
