# SPDX-License-Identifier: Apache-2.0
"""Runs a command beside the installed engines, in a pair of its own.

    python -m tests.engines COMMAND...

``docker`` and ``ctr`` find the pair by the environment; its image is the tests' own.
A template of the configured size is built where there is none. Whatever the command
leaves behind is removed with the pair.
"""

import os
import subprocess
import sys

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.paths import host_layout
from boxlite_runtime.templates.shim import Shim
from tests.engines import leftovers, programs
from tests.engines.ctr import Ctr
from tests.engines.docker import Docker
from tests.engines.pair import running


def main(words: list[str]) -> int:
    """Run the command; return its exit code."""
    if not words:
        sys.stderr.write("usage: python -m tests.engines COMMAND...\n")
        return 2
    layout = host_layout()
    Shim(layout.shim, layout.config).build(None)
    with running(programs.find("installed"), config=layout.config) as pair:
        docker, ctr = Docker(pair, "boxlite"), Ctr(pair, "boxlite")
        docker.load_image()
        ctr.load_image()
        environment = {
            "DOCKER_HOST": f"unix://{pair.docker_socket}",
            "CONTAINERD_ADDRESS": os.fspath(pair.containerd_socket),
            "CONTAINERD_NAMESPACE": ctr.namespace,
        }
        try:
            return subprocess.run(
                words, env={**os.environ, **environment}, check=False
            ).returncode
        finally:
            docker.remove_everything()
            ctr.remove_everything()
            leftovers.sweep(pair)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BoxliteError, programs.Unavailable) as error:
        sys.exit(str(error))
