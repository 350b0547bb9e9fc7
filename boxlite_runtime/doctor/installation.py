# SPDX-License-Identifier: Apache-2.0
"""Checks of what ``boxlite install`` put in place."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from boxlite_runtime import config
from boxlite_runtime.doctor.finding import Finding, Level
from boxlite_runtime.installer import files
from boxlite_runtime.paths import Layout

INSTALL = "boxlite install"


def guest(layout: Layout) -> Finding:
    """Say whether kernel and initrd are those of the manifest."""
    try:
        manifest = json.loads(layout.manifest.read_text())
    except FileNotFoundError:
        manifest = None
    except ValueError:
        manifest = {}
    images = (layout.kernel, layout.initrd)
    found = {path.name: files.file_digest(path) for path in images}
    return judge_guest(manifest, found)


def judge_guest(
    manifest: Mapping[str, object] | None, found: Mapping[str, str | None]
) -> Finding:
    """Judge the digests of the installed images by the manifest's."""
    if manifest is None:
        return Finding("guest", Level.PROBLEM, "no kernel is installed", INSTALL)
    digests = manifest.get("sha256")
    if not isinstance(digests, Mapping):
        return Finding("guest", Level.PROBLEM, "manifest.json is damaged", INSTALL)
    for name, digest in found.items():
        if digest is None:
            return Finding("guest", Level.PROBLEM, f"{name} is missing", INSTALL)
        if digests.get(name) != digest:
            return Finding(
                "guest",
                Level.PROBLEM,
                f"{name} is not the one of its manifest",
                INSTALL,
            )
    return Finding("guest", Level.OK, "kernel and initrd are those of the manifest")


def configuration(layout: Layout) -> Finding:
    """Say whether the shim will accept its configuration."""
    try:
        text = layout.config.read_text()
    except FileNotFoundError:
        return Finding("config", Level.PROBLEM, f"no {layout.config}", INSTALL)
    wrong = config.problems(text)
    if wrong:
        cure = f"edit {layout.config}"
        return Finding("config", Level.PROBLEM, "; ".join(wrong), cure)
    return Finding("config", Level.OK, f"{layout.config} is valid")


def shim(layout: Layout) -> Finding:
    """Say whether the shim is there and can be run."""
    return judge_shim(layout.shim, runs=os.access(layout.shim, os.X_OK))


def judge_shim(path: Path, *, runs: bool) -> Finding:
    """Judge the installed shim."""
    if not runs:
        return Finding("shim", Level.PROBLEM, f"{path} is not there", INSTALL)
    return Finding("shim", Level.OK, str(path))
