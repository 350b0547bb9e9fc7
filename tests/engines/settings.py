# SPDX-License-Identifier: Apache-2.0
"""The configuration files of one engine pair, as text.

Pure: where things go comes in, text comes out. ``boxlite_config`` derives
the broken configurations that the tests of refusals name as runtimes.
"""

import json
import tomllib
from pathlib import Path

#: What the shim is told when the host has no configuration of its own.
DEFAULT_CONFIG = '[log]\nlevel = "info"\n'

#: Where dockerd keeps images and root filesystems, by the words that ask for it.
#: Without a word it is the engine's own choice: overlay2 up to Docker 28, the
#: containerd image store from 29 on.
STORES: dict[str, dict[str, object]] = {
    "": {},
    "overlay2": {
        "storage-driver": "overlay2",
        "features": {"containerd-snapshotter": False},
    },
    "vfs": {"storage-driver": "vfs", "features": {"containerd-snapshotter": False}},
    "containerd": {"features": {"containerd-snapshotter": True}},
}

#: Runtimes whose configuration names a file that is not there, by what is
#: missing; each is an entry of daemon.json named boxlite-no-<key>.
MISSING = ("qemu", "virtiofsd", "kernel", "initrd")
#: The runtime whose guests find no agent in their initrd.
NO_AGENT = "boxlite-no-agent"
#: The runtime whose templates are the tests' own.
TEMPLATES = "boxlite-templates"
#: The runtime that lets a container have an engine's socket.
ENGINE_SOCKETS = "boxlite-engine-sockets"
#: The line that makes a configuration one the shim must refuse.
UNKNOWN_KEY_LINE = 'colour = "blue"'


def containerd(root: Path, state: Path, socket: Path) -> str:
    """Return containerd's configuration, read by 1.7 and by 2.x.

    CRI, NRI and the plug-ins that write outside ``root`` are switched off.
    """
    disabled = [
        "io.containerd.grpc.v1.cri",
        "io.containerd.cri.v1.images",
        "io.containerd.cri.v1.runtime",
        "io.containerd.nri.v1.nri",
        "io.containerd.internal.v1.opt",
        "io.containerd.internal.v1.tracing",
        "io.containerd.tracing.processor.v1.otlp",
    ]
    return (
        "version = 2\n"
        f"root = {json.dumps(str(root))}\n"
        f"state = {json.dumps(str(state))}\n"
        f"disabled_plugins = {json.dumps(disabled)}\n"
        "[grpc]\n"
        f"address = {json.dumps(str(socket))}\n"
    )


def dockerd(
    root: Path, *, containerd: Path, namespace: str, config: Path, store: str
) -> str:
    """Return daemon.json with a boxlite runtime per file in ``config``.

    ``config`` is a directory; ``boxlite.toml`` in it is the runtime boxlite,
    ``boxlite-no-qemu.toml`` is boxlite-no-qemu, and so on. ``store`` is one of
    ``STORES``.
    """
    runtimes = {
        file.stem: {
            "runtimeType": "io.containerd.boxlite.v1",
            "options": {
                "TypeUrl": "io.containerd.boxlite.v1.options",
                "ConfigPath": str(file),
            },
        }
        for file in sorted(config.glob("*.toml"))
    }
    return json.dumps(
        {
            "data-root": str(root / "data"),
            "exec-root": str(root / "exec"),
            "pidfile": str(root / "dockerd.pid"),
            "hosts": [f"unix://{root}/docker.sock"],
            "containerd": str(containerd),
            "containerd-namespace": namespace,
            "containerd-plugins-namespace": f"{namespace}p",
            "runtimes": runtimes,
            # A stop of the engine that is not over by then is a failure.
            "shutdown-timeout": 10,
            **STORES[store],
        },
        indent=1,
    )


def boxlite_configs(base: Path, templates: Path) -> dict[str, str]:
    """Return the shim's configurations by runtime name.

    ``base`` is the host's own configuration; each broken one is it with one
    thing changed. boxlite-templates keeps its templates in ``templates``.
    """
    text = base.read_text() if base.exists() else DEFAULT_CONFIG
    configs = {"boxlite": text}
    for key in MISSING:
        configs[f"boxlite-no-{key}"] = with_value(
            text, "paths", key, f"/nonexistent/{key}"
        )
    kept = with_value(text, "template", "directory", str(templates))
    configs[TEMPLATES] = with_value(kept, "template", "mode", "auto")
    booting = with_value(text, "template", "mode", "off")
    configs[NO_AGENT] = with_value(booting, "paths", "initrd", "/usr/lib/os-release")
    configs[ENGINE_SOCKETS] = with_value(text, "sockets", "engine", True)
    configs["boxlite-unknown-key"] = f"[machine]\nvcpus = 1\n{UNKNOWN_KEY_LINE}\n"
    configs["boxlite-ill-typed"] = '[machine]\nvcpus = "many"\n'
    return configs


def with_value(text: str, name: str, key: str, value: str | bool) -> str:
    """Return ``text`` with one value in table ``name`` set or replaced."""
    values = {**tomllib.loads(text).get(name, {}), key: value}
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("["):
            inside = line.strip() == f"[{name}]"
        if not inside:
            kept.append(line)
    table = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join([*kept, f"[{name}]", *table, ""])
