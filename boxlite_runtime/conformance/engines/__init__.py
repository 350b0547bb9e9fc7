# SPDX-License-Identifier: Apache-2.0
"""The engines the cases are typed at, one file each.

Owns: the list of them. Every module offers one class that fulfils
``engine.Engine``; what an engine has no word for makes a case not applicable
to it, with the reason.
"""

from collections.abc import Callable

from boxlite_runtime.conformance.engines.ctr import Ctr
from boxlite_runtime.conformance.engines.docker import Docker
from boxlite_runtime.conformance.engines.docker_sdk import DockerSdk
from boxlite_runtime.conformance.engines.engine import Engine
from boxlite_runtime.conformance.engines.nerdctl import Nerdctl

#: Name on the command line -> how to make one from (address, run).
ENGINES: dict[str, Callable[[str | None, str], Engine]] = {
    "docker": Docker,
    "docker-sdk": DockerSdk,
    "nerdctl": Nerdctl,
    "ctr": Ctr,
}
