# SPDX-License-Identifier: Apache-2.0
"""x"""

from tests.engines.images import IMAGE
from tests.system.both import Both


def test_a_command_runs(both: Both) -> None:
    result = both.run(IMAGE, "echo", "hello")
    assert (result.code, result.stdout, result.stderr) == (0, b"hello\n", b"")
