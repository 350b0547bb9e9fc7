# SPDX-License-Identifier: Apache-2.0
"""Image archives: an OCI layout that ``docker load`` and ``ctr import`` take.

Owns: the bytes of the archive and of the busybox layer. Does not own: which
images there are (``images``).
"""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from boxlite_runtime import process

#: How OCI names this machine.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(
    platform.machine(), platform.machine()
)

#: Where an OCI layout keeps its content.
BLOBS = "blobs/sha256"

#: The users of every image beside those it has anyway.
USERS = "tester:x:1000:1000:tester:/home/tester:/bin/sh\n"
GROUPS = "tester:x:1000:\nextra:x:4242:tester\n"

PASSWD = f"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n{USERS}"
GROUP = f"root:x:0:\nnogroup:x:65534:\n{GROUPS}"

DIRECTORIES = {
    "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "mnt": 0o755,
    "proc": 0o755, "root": 0o700, "run": 0o755, "sbin": 0o755, "srv": 0o755,
    "srv/volume": 0o755, "srv/work": 0o755, "sys": 0o755, "tmp": 0o1777,
    "usr": 0o755, "usr/bin": 0o755, "var": 0o755, "home/tester": 0o755,
}  # fmt: skip
#: Bytes of /srv/blob, which no run of equal bytes can imitate.
BLOB = 1 << 20


def add_users(root: Path) -> None:
    """Give a root filesystem the users the cases speak of."""
    for name, more in (("passwd", USERS), ("group", GROUPS)):
        with (root / "etc" / name).open("a") as file:
            file.write(more)
    home = root / "home" / "tester"
    home.mkdir(parents=True, exist_ok=True)
    # Owned by the image's user, whom this host need not have.
    process.run(["chown", "1000:1000", home])


def busybox_layer(busybox: Path, layer: Path) -> None:
    """Write a root filesystem with nothing but busybox as a tar file."""
    applets = process.run([busybox, "--list"]).stdout.split()
    files = {
        "etc/passwd": PASSWD.encode(),
        "etc/group": GROUP.encode(),
        "srv/blob": b"".join(
            hashlib.sha256(b"%d" % n).digest() for n in range(BLOB // 32)
        ),
        "srv/volume/seed": b"from the image\n",
        "srv/plain": b"not a program\n",
    }
    with tarfile.open(layer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in DIRECTORIES.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            if name == "home/tester":
                entry.uid = entry.gid = 1000
            tar.addfile(entry)
        for name, data in (("bin/busybox", busybox.read_bytes()), *files.items()):
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755 if name == "bin/busybox" else 0o644
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)


def write(path: Path, layer: Path, reference: str, config: dict[str, object]) -> None:
    """Write the archive of an image of one layer.

    It is an OCI layout, with the index Docker's own older form wants beside.
    """
    with layer.open("rb") as file:
        layer_digest = hashlib.file_digest(file, "sha256").hexdigest()
    oci = "application/vnd.oci.image"
    image = _json(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "created": "2020-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{oci}.manifest.v1+json",
            "config": _descriptor(f"{oci}.config.v1+json", image),
            "layers": [
                {
                    "mediaType": f"{oci}.layer.v1.tar",
                    "digest": f"sha256:{layer_digest}",
                    "size": layer.stat().st_size,
                }
            ],
        }
    )
    named = {
        **_descriptor(f"{oci}.manifest.v1+json", manifest),
        "annotations": {
            "io.containerd.image.name": f"docker.io/{reference}",
            "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
        },
    }
    texts = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": [named]}),
        "manifest.json": _json(
            [
                {
                    "Config": _blob(image),
                    "RepoTags": [reference],
                    "Layers": [f"{BLOBS}/{layer_digest}"],
                }
            ]
        ),
        _blob(image): image,
        _blob(manifest): manifest,
    }
    _pack(path, texts, f"{BLOBS}/{layer_digest}", layer)


def _pack(path: Path, texts: dict[str, bytes], name: str, layer: Path) -> None:
    """Write the texts and, as ``name``, the layer into a tar file."""
    with tarfile.open(path, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for text, data in texts.items():
            entry = tarfile.TarInfo(text)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo(name)
        entry.size = layer.stat().st_size
        with layer.open("rb") as file:
            tar.addfile(entry, file)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob(data: bytes) -> str:
    return f"{BLOBS}/{_sha256(data)}"


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{_sha256(data)}",
        "size": len(data),
    }
