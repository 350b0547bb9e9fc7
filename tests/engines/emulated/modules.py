# SPDX-License-Identifier: Apache-2.0
"""Which files of a kernel's modules must be loaded, and in which order.

Pure but for ``content``: it reads what depmod has written. Source of the format:
modules.dep(5).
"""

import gzip
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.engines.programs import Unavailable

#: How modules are compressed, by the end of their names.
FORMS: dict[str, Callable[[bytes], bytes]] = {
    ".ko": bytes,
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
}


def order(names: Iterable[str], dependencies: str, builtin: str) -> list[str]:
    """Return the files to load for the named modules, none before what it needs.

    ``dependencies`` is the text of modules.dep, ``builtin`` that of modules.builtin,
    whose modules need no loading. Raises ``Unavailable`` for one that is in neither.
    """
    files: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        file, _, others = line.partition(":")
        # The last one named is needed by those before it.
        files[module(file)] = [*reversed(others.split()), file]
    within = {module(file) for file in builtin.split()}
    found: dict[str, None] = {}
    for name in names:
        if name in within:
            continue
        if name not in files:
            raise Unavailable(f"the kernel has no module {name}")
        found.update(dict.fromkeys(files[name]))
    return list(found)


def module(file: str) -> str:
    """Return the name of the module in a file."""
    return Path(file).name.partition(".")[0].replace("-", "_")


def content(path: Path) -> bytes:
    """Return a module as the kernel takes it."""
    form = FORMS.get(path.suffix)
    if form is None:
        raise Unavailable(f"a module is compressed in a way not known here: {path}")
    return form(path.read_bytes())
