# SPDX-License-Identifier: Apache-2.0
"""Kernel source on this host: found or fetched, checked, unpacked, patched.

Owns: ``source/`` and ``download/`` below the kernel cache. Does not own:
which source belongs to which version (``catalogue``).

A tree appears under its final name only when it is complete.
"""

import hashlib
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.guest.catalogue import Source
from boxlite_runtime.process import run
from boxlite_runtime.progress import step

#: The lines of a kernel's Makefile that say which one it is.
_VERSION = re.compile(
    r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ ]=[ ]?(\S*)$", re.MULTILINE
)
#: Seconds a server may stay silent.
_TIMEOUT = 60.0


def locate(source: Source, cache: Path) -> tuple[Path, str]:
    """Return the archive of a source and its sha256; a URL is fetched once.

    Raises ``BoxliteError`` when the package is not installed, the address
    does not answer, or what it sends has another digest.
    """
    if source.archive is not None:
        if not source.archive.exists():
            raise BoxliteError(
                f"no kernel source at {source.archive}",
                hint=f"apt-get install {source.package}",
                exit_code=ExitCode.HOST_UNFIT,
            )
        return source.archive, digest(source.archive)
    if source.url is None or source.sha256 is None:
        raise BoxliteError("the kernel source names neither an archive nor an address")
    kept = cache / "download" / f"{source.sha256}-{source.url.rsplit('/', 1)[-1]}"
    if not kept.exists():
        _fetch(source.url, source.sha256, kept)
    return kept, source.sha256


@dataclass(frozen=True)
class Original:
    """An archive, its sha256, and the patches to apply to its content."""

    archive: Path
    sha256: str
    patches: tuple[Path, ...] = ()

    @property
    def digest(self) -> str:
        """The sha256 that names the patched tree."""
        joined = "".join([self.sha256, *map(digest, self.patches)])
        return hashlib.sha256(joined.encode()).hexdigest()


def unpack(original: Original, name: str, cache: Path) -> Path:
    """Return the unpacked, patched tree, making it if it is not there.

    Raises ``BoxliteError`` when a patch does not apply.
    """
    archive = original.archive
    tree = cache / "source" / f"{name}-{original.digest[:12]}"
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with (
        step(f"unpacking {archive.name}"),
        TemporaryDirectory(prefix=".unpack-", dir=tree.parent) as temporary,
    ):
        run(["tar", "-xf", archive, "-C", temporary, "--no-same-owner"])
        tops = list(Path(temporary).iterdir())
        if len(tops) != 1 or not (tops[0] / "Kconfig").exists():
            raise BoxliteError(f"{archive} does not hold a kernel source tree")
        for patch in original.patches:
            apply = ["patch", "--strip=1", "--silent", "--no-backup-if-mismatch"]
            run([*apply, "--directory", tops[0], "--input", patch])
        tops[0].rename(tree)
    return tree


def release(tree: Path) -> str:
    """Return the point release of an unpacked tree, as its Makefile begins."""
    lines = _VERSION.finditer((tree / "Makefile").read_text())
    values = {line[1]: line[2] for line in lines}
    numbers = [values.get(key, "") for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    if "" in numbers:
        raise BoxliteError(f"{tree}/Makefile names no kernel version")
    return ".".join(numbers) + values.get("EXTRAVERSION", "")


def digest(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, sha256: str, kept: Path) -> None:
    if not url.startswith(("https://", "file://")):
        raise BoxliteError(f"will not fetch {url}: only https is fetched")
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_name(f"{kept.name}.partial")
    with step(f"fetching {url}"):
        try:
            with (
                urllib.request.urlopen(url, timeout=_TIMEOUT) as answer,  # noqa: S310  (scheme checked above)
                partial.open("wb") as file,
            ):
                shutil.copyfileobj(answer, file)
        except (urllib.error.URLError, OSError) as error:
            partial.unlink(missing_ok=True)
            raise BoxliteError(f"cannot fetch {url}: {error}") from error
        got = digest(partial)
        if got != sha256:
            partial.unlink()
            raise BoxliteError(
                f"{url} has sha256 {got}, not {sha256} as kernel.yaml says"
            )
        partial.rename(kept)
