# SPDX-License-Identifier: Apache-2.0
"""What an emulated host boots with, until this host's files are its own.

Owns: the content: a static busybox, the modules for these files, ``init.sh``. Does
not own: the form of the archive (``cpio``), nor which modules need which
(``modules``).
"""

from pathlib import Path

from boxlite_runtime.guest import cpio
from tests.engines.emulated import modules

#: What this host's files need: 9p over virtio, and a layer over them.
NEEDED = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
#: Places for what is mounted, and for what is below.
DIRECTORIES = ("bin", "dev", "proc", "sys", "modules", "below", "layer", "files")

INIT = Path(__file__).with_name("init.sh")


def pack(release: Path, busybox: Path) -> bytes:
    """Return the initrd for the kernel whose modules lie in ``release``."""
    texts = [(release / f"modules.{kind}").read_text() for kind in ("dep", "builtin")]
    files = modules.order(NEEDED, *texts)
    loaded = [f"/modules/{modules.module(file)}" for file in files]
    return cpio.archive(
        [
            *(cpio.directory(f"/{name}", 0o755) for name in DIRECTORIES),
            # Before any filesystem is mounted the kernel opens it for init.
            cpio.character_device("/dev/console", 0o600, 5, 1),
            cpio.regular("/init", 0o755, INIT.read_bytes()),
            cpio.regular("/bin/busybox", 0o755, busybox.read_bytes()),
            cpio.regular(
                "/modules/order",
                0o644,
                "".join(f"{name}\n" for name in loaded).encode(),
            ),
            *(
                cpio.regular(name, 0o644, modules.content(release / file))
                for name, file in zip(loaded, files, strict=True)
            ),
        ]
    )
