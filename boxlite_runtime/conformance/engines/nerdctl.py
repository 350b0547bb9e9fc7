# SPDX-License-Identifier: Apache-2.0
"""nerdctl, whose words are Docker's.

Owns: what is different: a namespace of the run's own, runtimes only by the
name of their shim, and some verbs it has not.
"""

from boxlite_runtime.conformance.case import Step
from boxlite_runtime.conformance.engines.docker import Docker
from boxlite_runtime.conformance.engines.engine import lines


class Nerdctl(Docker):
    """One containerd through nerdctl, at ``address`` or its default."""

    name = "nerdctl"
    program = "nerdctl"
    how_to_get_it = (
        "no package of Debian: take a release from"
        " https://github.com/containerd/nerdctl/releases"
    )

    def __init__(self, address: str | None, run: str) -> None:
        super().__init__(None, run)
        self._before = ["--namespace", "boxlite-conformance"]
        if address:
            self._before += ["--address", address]

    def version(self) -> str:
        """Return the versions of nerdctl and containerd."""
        said = self.call("version", "--format", "{{.Client.Version}}")
        return f"nerdctl {(lines(said.stdout) or ['unknown'])[0]}"

    def known(self, runtime: str) -> str:
        """Return the shim's name, the only one nerdctl takes."""
        if "." in runtime:
            return runtime
        return (
            "io.containerd.runc.v2"
            if runtime == "runc"
            else f"io.containerd.{runtime}.v1"
        )

    def lacks(self, step: Step) -> str | None:
        """Return the verb or flag nerdctl has not."""
        if step.verb in {"diff", "export"}:
            return f"nerdctl {step.verb}"
        return None
