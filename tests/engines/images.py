# SPDX-License-Identifier: Apache-2.0
"""The one image of the system tests, made here from a static busybox.

Owns: its root filesystem as a tar stream, and the OCI archive around it for
``ctr image import``. Does not own: importing it. No registry is asked.
"""

import hashlib
import io
import json
import platform
import random
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from tests.engines import command

IMAGE = "boxlite.test/busybox:1"

#: How OCI names this machine.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(
    platform.machine(), platform.machine()
)

#: The user the image declares beside root, by name.
TESTER = "tester"
TESTER_UID = 1000
TESTER_GROUP = 1000
EXTRA_GROUP = 4242

#: Bytes of /srv/blob, which no run of equal bytes can imitate.
BLOB_BYTES = 8 * 1024 * 1024
#: Bytes of /srv/noise, told from the blob by its content.
NOISE_BYTES = 5 * 1000 * 1000


#: A program of our own in the image, beside busybox.
PROBE = Path(__file__).with_name("probe.c")


class NoImage(Exception):
    """This host lacks what the image is made from; the text says what."""


@cache
def blob() -> bytes:
    """Return the content of /srv/blob."""
    return random.Random("blob").randbytes(BLOB_BYTES)


@cache
def noise() -> bytes:
    """Return the content of /srv/noise."""
    return random.Random("noise").randbytes(NOISE_BYTES)


def _busybox() -> Path:
    path = Path("/bin/busybox")
    if not path.exists() or b"/ld-linux" in path.read_bytes()[:4096]:
        raise NoImage("no static /bin/busybox; apt-get install busybox-static")
    return path


def _probe() -> bytes:
    """Compile the program that does what busybox cannot."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoImage("no C compiler; apt-get install gcc libc6-dev")
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "probe"
        command.run([compiler, "-static", "-O1", "-o", program, PROBE]).ok()
        return program.read_bytes()


def _files() -> dict[str, bytes]:
    return {
        "etc/passwd": (
            b"root:x:0:0:root:/root:/bin/sh\n"
            b"tester:x:1000:1000:tester:/home/tester:/bin/sh\n"
        ),
        "etc/group": (
            b"root:x:0:\ntester:x:1000:\nusers:x:100:tester\nextra:x:4242:\n"
        ),
        "srv/blob": blob(),
        "srv/noise": noise(),
        "srv/volume/seed": b"from the image\n",
        "srv/readonly": b"not a program\n",
    }


def _directories() -> dict[str, int]:
    return {
        **dict.fromkeys(
            ["bin", "dev", "etc", "home", "mnt", "proc", "run", "srv", "sys", "var"],
            0o755,
        ),
        "root": 0o700,
        "home/tester": 0o755,
        "srv/volume": 0o755,
        "tmp": 0o1777,
    }


@cache
def rootfs() -> bytes:
    """Return the root filesystem as an uncompressed tar stream."""
    busybox = _busybox()
    applets = command.run([busybox, "--list"]).ok().lines
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in _directories().items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            if name == "home/tester":
                entry.uid = entry.gid = TESTER_UID
            tar.addfile(entry)
        program = tarfile.TarInfo("bin/busybox")
        program.mode, program.size = 0o755, busybox.stat().st_size
        tar.addfile(program, io.BytesIO(busybox.read_bytes()))
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        for name, data in _files().items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o644, len(data)
            tar.addfile(entry, io.BytesIO(data))
        probe = tarfile.TarInfo("bin/probe")
        content = _probe()
        probe.mode, probe.size = 0o755, len(content)
        tar.addfile(probe, io.BytesIO(content))
    return stream.getvalue()


def oci_archive() -> bytes:
    """Return the image as an OCI layout in a tar stream, named ``IMAGE``."""
    layer = rootfs()
    config = _json(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    oci = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{oci}.manifest.v1+json",
            "config": _descriptor(f"{oci}.config.v1+json", config),
            "layers": [_descriptor(f"{oci}.layer.v1.tar", layer)],
        }
    )
    index = _json(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    **_descriptor(f"{oci}.manifest.v1+json", manifest),
                    "annotations": {"io.containerd.image.name": IMAGE},
                }
            ],
        }
    )
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    for data in (layer, config, manifest):
        files[f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"] = data
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}
