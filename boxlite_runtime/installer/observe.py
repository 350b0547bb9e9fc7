# SPDX-License-Identifier: Apache-2.0
"""Reads from a host what the plan rests on. Changes nothing.

Owns: where built files lie in a source tree and in the cache. Does not own:
any decision.
"""

import shutil
from pathlib import Path

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import files, journal
from boxlite_runtime.installer.plan import Artifact, Facts
from boxlite_runtime.paths import SHIM_NAME, Layout


def facts(layout: Layout, source: Path) -> Facts:
    """Gather the facts for installing from a source tree onto ``layout``."""
    built = artifacts(layout, source)
    install = source / "install"
    targets = [artifact.target for artifact in built]
    targets += [layout.config, layout.docker_config, layout.containerd_config]
    digests = {path: files.file_digest(path) for path in targets}
    # Under another root the engines are not there to be asked: write for both.
    packaging = layout.root != Path("/")
    return Facts(
        layout=layout,
        artifacts=built,
        config_template=(install / "config.toml").read_text(),
        cri_tables={
            version: (install / "containerd" / f"cri-v{version}.toml").read_text()
            for version in (2, 3)
        },
        has_docker=packaging or shutil.which("dockerd") is not None,
        has_containerd=packaging or shutil.which("containerd") is not None,
        present={path: found for path, found in digests.items() if found},
        docker_config=_text(layout.docker_config),
        containerd_config=_text(layout.containerd_config),
        journal=journal.load(layout.journal),
    )


def artifacts(layout: Layout, source: Path) -> tuple[Artifact, ...]:
    """Return the built files: where each lies, goes, and what makes it."""
    shim = source / "shim-rs" / "target" / "release" / SHIM_NAME
    guest = layout.build_cache
    build_shim = f"cargo build --release --manifest-path {source}/shim-rs/Cargo.toml"
    rows = (
        (shim, layout.shim, 0o755, build_shim),
        (guest / "vmlinux", layout.kernel, 0o644, "boxlite kernel build"),
        (guest / "initrd.img", layout.initrd, 0o644, "boxlite rootfs build"),
        (guest / "manifest.json", layout.manifest, 0o644, "boxlite rootfs build"),
    )
    return tuple(
        Artifact(path, target, mode, files.file_digest(path), made_by)
        for path, target, mode, made_by in rows
    )


def _text(path: Path) -> str | None:
    try:
        # Bytes and back must give the same file: no newline translation.
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise BoxliteError(
            f"{path} is not UTF-8", hint="Correct it; nothing was changed."
        ) from error
