# SPDX-License-Identifier: Apache-2.0
"""Builds a guest kernel, once for each set of inputs.

Owns: ``<digest>/`` below the kernel cache, each holding a finished vmlinux,
its ``.config`` and a manifest. Does not own: installing it.

Order: inputs and their digest -> cached? -> lock -> cached now? -> unpack,
resolve, make in a scratch directory -> check -> rename into place. Nothing
but the rename touches the final name, so an interrupted build leaves none.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.guest import elf, fragments, kconfig, source
from boxlite_runtime.guest.catalogue import Catalogue, Selection
from boxlite_runtime.guest.manifest import write_json
from boxlite_runtime.process import run, stream
from boxlite_runtime.progress import step

#: Raised when this module changes what the same inputs give.
_RECIPE = 2
#: Whose build this is, for the kernel's banner: the same on every host.
_STAMP = {
    "KBUILD_BUILD_USER": "boxlite",
    "KBUILD_BUILD_HOST": "boxlite",
    "KBUILD_BUILD_VERSION": "1",
    "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
}
_SCRATCH = ".build-"


@dataclass(frozen=True)
class Inputs:
    """All that decides what comes out."""

    name: str
    requests: str
    source_sha256: str
    compiler: str
    linker: str
    recipe: int = _RECIPE

    @property
    def digest(self) -> str:
        """The sha256 that names the result."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Resolved:
    """The ``.config`` of a selection, and the point release it is of."""

    release: str
    config: str


@dataclass(frozen=True)
class BuiltKernel:
    """A kernel in the cache. ``manifest`` is JSON beside the image."""

    image: Path
    config: Path
    manifest: Path
    fresh: bool


def configuration(catalogue: Catalogue, selection: Selection, cache: Path) -> Resolved:
    """Return the configuration of a selection, as the kernel's build resolves it."""
    where = cache / "kernel"
    original = _original(catalogue, selection, where)
    tree = source.unpack(original, selection.version, where)
    requests = fragments.merge(catalogue.fragment_paths(selection))
    architecture = catalogue.architectures[selection.architecture]
    config = kconfig.resolve(tree, requests, architecture)
    return Resolved(source.release(tree), config)


def build(
    catalogue: Catalogue, selection: Selection, cache: Path, *, jobs: int | None = None
) -> BuiltKernel:
    """Return the kernel of a selection, building it unless it is cached.

    ``jobs`` is the number of compilers at once, all CPUs by default. Raises
    ``BoxliteError`` when a request does not survive or the build fails.
    """
    where = cache / "kernel"
    requests = fragments.merge(catalogue.fragment_paths(selection))
    original = _original(catalogue, selection, where)
    inputs = Inputs(
        name=selection.name,
        # Sorted: a line moved to another fragment gives the same kernel.
        requests="".join(sorted(fragments.render(requests).splitlines(True))),
        source_sha256=original.digest,
        compiler=_first_line("gcc"),
        linker=_first_line("ld"),
    )
    final = where / inputs.digest
    if (final / "manifest.json").exists():
        return _finished(final, fresh=False)
    where.mkdir(parents=True, exist_ok=True)
    with _lock(where):
        if (final / "manifest.json").exists():  # built while this one waited
            return _finished(final, fresh=False)
        _sweep(where)
        tree = source.unpack(original, selection.version, where)
        architecture = catalogue.architectures[selection.architecture]
        config = kconfig.resolve(tree, requests, architecture)
        with TemporaryDirectory(prefix=_SCRATCH, dir=where) as temporary:
            scratch = Path(temporary)
            objects = scratch / "objects"
            objects.mkdir()
            (objects / ".config").write_text(config)
            make: list[str | Path] = ["make", "-C", tree, f"O={objects}"]
            make += [f"ARCH={architecture.make_arch}", f"-j{jobs or os.cpu_count()}"]
            _make([*make, architecture.image], selection)
            result = scratch / "result"
            result.mkdir()
            _collect(objects, result, inputs, _release(make))
            result.rename(final)
    return _finished(final, fresh=True)


def _original(
    catalogue: Catalogue, selection: Selection, where: Path
) -> source.Original:
    archive, sha256 = source.locate(catalogue.versions[selection.version], where)
    patches = catalogue.patches(selection)
    return source.Original(archive, sha256, patches)


def _make(argv: list[str | Path], selection: Selection) -> None:
    done = 0
    with step(f"building kernel {selection.name}") as current:

        def count(line: str) -> None:
            nonlocal done
            if line.startswith(("  CC ", "  AS ")):
                done += 1
                current.note(f"{done} files")
            elif line.startswith("  LD      vmlinux"):
                current.note(f"{done} files, linking")

        stream(argv, on_line=count, env=_STAMP)


def _release(make: list[str | Path]) -> str:
    """Return what ``uname -r`` will say."""
    answer = run([*make, "-s", "--no-print-directory", "kernelrelease"], env=_STAMP)
    return answer.stdout.strip()


def _collect(objects: Path, result: Path, inputs: Inputs, release: str) -> None:
    """Put the finished files and their manifest into ``result``."""
    image = result / "vmlinux"
    # The symbol table would be read and sorted by QEMU at each start; an oops
    # is named from the kernel's own table.
    run(["objcopy", "--strip-all", objects / "vmlinux", image])
    image.write_bytes(elf.padding_cleared(image.read_bytes()))
    entry = elf.pvh_entry(image.read_bytes())
    if entry is None:
        raise BoxliteError("the kernel has no PVH entry: QEMU could not start it")
    shutil.copyfile(objects / ".config", result / "config")
    about = {
        "name": inputs.name,
        "release": release,
        "sha256": source.digest(image),
        "size": image.stat().st_size,
        "pvh_entry": entry,
        "inputs": {
            "digest": inputs.digest,
            "source_sha256": inputs.source_sha256,
            "compiler": inputs.compiler,
            "linker": inputs.linker,
            "recipe": inputs.recipe,
        },
    }
    write_json(result / "manifest.json", about)


def _finished(final: Path, *, fresh: bool) -> BuiltKernel:
    return BuiltKernel(
        image=final / "vmlinux",
        config=final / "config",
        manifest=final / "manifest.json",
        fresh=fresh,
    )


def _first_line(program: str) -> str:
    return run([program, "--version"]).stdout.splitlines()[0]


def _sweep(where: Path) -> None:
    """Remove what a killed build left. The caller holds the lock."""
    for left in where.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left)


@contextmanager
def _lock(where: Path) -> Iterator[None]:
    """Hold the cache's lock: two builds at once would only slow each other."""
    with (where / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("waiting for another build of a kernel"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
