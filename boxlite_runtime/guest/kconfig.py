# SPDX-License-Identifier: Apache-2.0
"""What the kernel's own build makes of the requests.

Owns: running Kconfig, and comparing its answer with what was asked. Does not
own: reading fragments, building.

An option nobody asks for and nothing selects is off: the requests are laid
over ``allnoconfig``, not over defaults. An option whose dependencies are not
met vanishes from the answer without a word, so every request is looked up in
it again.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.guest.catalogue import Architecture
from boxlite_runtime.guest.fragments import Request, render
from boxlite_runtime.process import run


@dataclass(frozen=True)
class Unmet:
    """A request that the kernel's answer does not hold."""

    request: Request
    got: str

    def __str__(self) -> str:
        """Name option, wish, answer and place in one line."""
        request = self.request
        return (
            f"{request.option}: asked for {request.value}, got {self.got}"
            f"  ({request.place})"
        )


def parse(text: str) -> dict[str, str]:
    """Return the options of a ``.config`` that are set; the others are ``n``."""
    options: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("CONFIG_"):
            option, _, value = line.partition("=")
            options[option] = value
    return options


def unmet(requests: Iterable[Request], resolved: Mapping[str, str]) -> list[Unmet]:
    """Return the requests that did not survive."""
    answers = ((request, resolved.get(request.option, "n")) for request in requests)
    return [Unmet(request, got) for request, got in answers if got != request.value]


def resolve(tree: Path, requests: list[Request], architecture: Architecture) -> str:
    """Return the ``.config`` the kernel in ``tree`` makes of the requests.

    Raises ``BoxliteError`` naming each request that did not survive.
    """
    for program in ("make", "gcc", "ld", "flex", "bison"):
        if shutil.which(program) is None:
            raise BoxliteError(
                f"{program} is not installed, and Kconfig needs it",
                hint="apt-get install build-essential flex bison bc libelf-dev",
                exit_code=ExitCode.HOST_UNFIT,
            )
    with TemporaryDirectory(prefix="boxlite-kconfig-") as temporary:
        output = Path(temporary)
        wanted = output / "requests"
        wanted.write_text(render(requests))
        make: list[str | Path] = ["make", "-s", "-C", tree, f"O={output}"]
        make += [f"ARCH={architecture.make_arch}", f"KCONFIG_ALLCONFIG={wanted}"]
        run([*make, "allnoconfig"])
        # A second pass must change nothing; it would mean that a default
        # still decides something.
        run([*make, "olddefconfig"])
        text = (output / ".config").read_text()
    refuse_unmet(unmet(requests, parse(text)))
    return text


def refuse_unmet(missing: list[Unmet]) -> None:
    """Raise ``BoxliteError`` with a line for each unmet request, if any."""
    if missing:
        lines = "".join(f"\n  {entry}" for entry in missing)
        raise BoxliteError(
            f"{len(missing)} requested kernel options did not survive:{lines}",
            hint="Its dependencies are in the kernel's Kconfig files: "
            "a fragment must ask for them too.",
        )
