# SPDX-License-Identifier: Apache-2.0
"""The directory that an installation takes its guest from.

Owns: vmlinux, initrd.img, what describes each (NAME.json), and manifest.json,
which joins the descriptions. Does not own: how either is made.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KERNEL = "vmlinux"
INITRD = "initrd.img"
MANIFEST = "manifest.json"


def publish(directory: Path, name: str, image: bytes, about: Mapping[str, Any]) -> Path:
    """Write an image and what describes it, and join the descriptions anew.

    Each file appears whole. Returns the image's path.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    write(path, image)
    write_json(directory / f"{name}.json", about)
    images = {
        file: json.loads((directory / f"{file}.json").read_text())
        for file in (KERNEL, INITRD)
        if (directory / f"{file}.json").exists()
    }
    digests = {file: described["sha256"] for file, described in images.items()}
    write_json(directory / MANIFEST, {"sha256": digests, "images": images})
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in the one form that a digest can be taken of."""
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    write(path, text.encode())


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.chmod(0o644)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
