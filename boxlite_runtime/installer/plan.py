# SPDX-License-Identifier: Apache-2.0
"""What an installation will do. Pure: facts in, a list of actions out.

Owns: every decision, and every refusal, of install and uninstall. Does not
own: reading the host (``observe``) and acting (``apply``). An error raised
here means that nothing was touched.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import containerd_config, docker_config, files
from boxlite_runtime.installer.journal import Entry, Journal, Kind
from boxlite_runtime.paths import SHIM_NAME, Layout


@dataclass(frozen=True)
class Artifact:
    """A built file and where it goes. ``sha256`` is ``None`` if not built."""

    source: Path
    target: Path
    mode: int
    sha256: str | None
    #: What makes it, for the message when it is missing.
    made_by: str


@dataclass(frozen=True)
class Facts:
    """All that the decisions rest on."""

    layout: Layout
    artifacts: tuple[Artifact, ...]
    #: install/config.toml of the source tree.
    config_template: str
    #: Configuration version -> tables for containerd.
    cri_tables: Mapping[int, str]
    has_docker: bool
    has_containerd: bool
    #: Digests of the files now at their targets; absent: no such file.
    present: Mapping[Path, str]
    #: Content of the engines' files; ``None``: no such file.
    docker_config: str | None
    containerd_config: str | None
    journal: Journal


@dataclass(frozen=True)
class Put:
    """Make ``path`` hold ``content``, or a copy of ``source``."""

    path: Path
    kind: Kind
    mode: int
    sha256: str
    source: Path | None = None
    content: bytes | None = None

    def describe(self) -> str:
        """Return the action as a line for people."""
        return f"write {self.path}" + (f" from {self.source}" if self.source else "")


@dataclass(frozen=True)
class TakeBack:
    """Undo one entry: bring the original back, remove, or edit to ``content``."""

    entry: Entry
    content: bytes | None = None

    def describe(self) -> str:
        """Return the action as a line for people."""
        if self.content is not None:
            return f"take boxlite out of {self.entry.path}, edited since"
        if self.entry.original is not None:
            return f"restore {self.entry.path}"
        return f"remove {self.entry.path}"


@dataclass(frozen=True)
class Leave:
    """Leave a file with its owner's edits, and stop calling it ours."""

    entry: Entry

    def describe(self) -> str:
        """Return the action as a line for people."""
        return f"leave {self.entry.path}, edited since"


Action = Put | TakeBack | Leave


@dataclass(frozen=True)
class Plan:
    """Actions in order, and what the reader should know about them."""

    actions: tuple[Action, ...]
    notes: tuple[str, ...] = field(default=())

    def touches(self, kind: Kind) -> bool:
        """Tell whether a file of this kind changes."""
        return any(
            (a.kind if isinstance(a, Put) else a.entry.kind) == kind
            for a in self.actions
        )


def install(facts: Facts) -> Plan:
    """Decide an installation. Raises ``BoxliteError`` if it cannot be."""
    notes: list[str] = []
    wanted = [*_artifacts(facts), *_config(facts, notes)]
    wanted += _docker(facts, notes)
    wanted += _containerd(facts, notes)
    # What is there already is not written again: a second run changes nothing.
    actions = [put for put in wanted if facts.present.get(put.path) != put.sha256]
    return Plan(tuple(actions), tuple(notes))


def uninstall(journal: Journal, current: Mapping[Path, bytes]) -> Plan:
    """Decide how to take back everything a journal lists.

    ``current`` holds the content of the listed files that exist. A file that
    is as installed goes back to its original byte for byte. One edited since
    keeps the edits: an engine's file loses our part, our configuration stays.
    """
    actions: list[Action] = []
    for entry in reversed(journal.entries):
        content = current.get(entry.path)
        edited = content is not None and files.digest(content) != entry.written
        if content is None or not edited or entry.kind is Kind.BINARY:
            actions.append(TakeBack(entry))
        elif entry.kind is Kind.CONFIG:
            actions.append(Leave(entry))
        else:
            actions.append(TakeBack(entry, _without_runtime(entry.kind, content)))
    return Plan(tuple(actions))


def _without_runtime(kind: Kind, content: bytes) -> bytes:
    remove = (
        docker_config.without_runtime
        if kind is Kind.DOCKER
        else containerd_config.without_runtime
    )
    return remove(content.decode()).encode()


def _artifacts(facts: Facts) -> list[Put]:
    puts = []
    for artifact in facts.artifacts:
        if artifact.sha256 is None:
            raise BoxliteError(
                f"not built yet: {artifact.source}",
                hint=f"Make it with: {artifact.made_by}",
            )
        puts.append(
            Put(
                artifact.target,
                Kind.BINARY,
                artifact.mode,
                artifact.sha256,
                source=artifact.source,
            )
        )
    return puts


def _config(facts: Facts, notes: list[str]) -> list[Put]:
    layout = facts.layout
    target = layout.config
    content = facts.config_template.replace(
        "/usr/local/lib/boxlite/", f"{layout.prefix / 'lib' / 'boxlite'}/"
    ).encode()
    there = facts.present.get(target)
    ours = facts.journal.entry(target)
    untouched = ours is not None and ours.written == there
    if there is not None and there != files.digest(content) and not untouched:
        notes.append(f"{target} was edited and is kept")
        return []
    return [_text(target, Kind.CONFIG, content, 0o644)]


def _docker(facts: Facts, notes: list[str]) -> list[Put]:
    layout = facts.layout
    if not facts.has_docker:
        notes.append("Docker is not on this host: daemon.json is not written")
        return []
    # dockerd looks for a name on containerd's PATH, or takes an absolute path.
    default = layout.prefix == Layout().prefix
    shim = str(layout.prefix / "bin" / SHIM_NAME)
    entry = docker_config.runtime_entry(
        docker_config.RUNTIME_TYPE if default else shim,
        str(layout.etc / "boxlite" / "config.toml"),
    )
    text = docker_config.with_runtime(facts.docker_config, entry)
    return [_text(layout.docker_config, Kind.DOCKER, text.encode(), 0o644)]


def _containerd(facts: Facts, notes: list[str]) -> list[Put]:
    layout = facts.layout
    if not facts.has_containerd:
        notes.append("containerd is not on this host: its config.toml is not written")
        return []
    tables = {
        version: _for_prefix(text, layout) for version, text in facts.cri_tables.items()
    }
    try:
        text = containerd_config.with_runtime(facts.containerd_config, tables)
    except BoxliteError as error:
        # Docker, nerdctl and ctr do not need the tables, only Kubernetes does.
        notes.append(f"Kubernetes will not know the runtime: {error}. {error.hint}")
        return []
    return [_text(layout.containerd_config, Kind.CONTAINERD, text.encode(), 0o644)]


def _for_prefix(tables: str, layout: Layout) -> str:
    if layout.prefix == Layout().prefix:
        return tables
    shim = layout.prefix / "bin" / SHIM_NAME
    runtime_type = f'  runtime_type = "{docker_config.RUNTIME_TYPE}"\n'
    return tables.replace(runtime_type, f'{runtime_type}  runtime_path = "{shim}"\n')


def _text(path: Path, kind: Kind, content: bytes, mode: int) -> Put:
    return Put(path, kind, mode, files.digest(content), content=content)
