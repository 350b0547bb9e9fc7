# SPDX-License-Identifier: Apache-2.0
"""The short selection of the conformance cases, as a user runs it.

Owns: that the command finds no difference here. Does not own: the cases,
which are data of the tool. All of them take too long for every run; the rest is
for ``boxlite conformance run`` without ``-k``.
"""

import json
import sys
from pathlib import Path

import pytest

from tests.engines import command
from tests.engines.pair import Pair
from tests.system.both import Both

#: Seconds. Two minutes are usual; a loaded host may take longer.
LIMIT = 600


@pytest.mark.timeout(LIMIT + 60)
def test_core_cases_give_what_runc_gives(
    pair: Pair, both: Both, tmp_path: Path
) -> None:
    record = tmp_path / "core.json"
    done = command.run(
        [
            sys.executable, "-m", "boxlite_runtime", "conformance", "run", "-k", "core",
            "--host", f"unix://{pair.docker_socket}", "--json", record,
            "--runtime", both.boxlite.runtime, "--reference", both.reference.runtime,
        ],
        timeout=LIMIT,
    ).ok()  # fmt: skip

    verdicts = [case["verdict"] for case in json.loads(record.read_text())["cases"]]
    assert verdicts.count("same") >= 100, done.text
    assert set(verdicts) <= {"same", "declared", "skipped"}
