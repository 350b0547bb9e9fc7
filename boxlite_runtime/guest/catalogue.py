# SPDX-License-Identifier: Apache-2.0
"""What can be built: the content of ``guest-kernel-config``, checked.

Owns: reading kernel.yaml and profiles.yaml and refusing what they must not
say. Does not own: the fragments' lines (``fragments``), the initrd's content
(``initrd``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from boxlite_runtime.errors import BoxliteError


@dataclass(frozen=True)
class Source:
    """Where a kernel's source comes from: a package's archive, or an address.

    ``patches`` are applied to it in this order, after the architecture's.
    """

    package: str | None = None
    archive: Path | None = None
    url: str | None = None
    sha256: str | None = None
    patches: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """How the kernel's own build names an architecture and its image.

    ``patches`` are applied to the source in this order.
    """

    make_arch: str
    image: str
    patches: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Profile:
    """A named list of fragments, its ancestors' fragments first."""

    name: str
    description: str
    fragments: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """One kernel out of all that the catalogue can make."""

    version: str
    architecture: str
    profile: str

    @property
    def name(self) -> str:
        """What files about this kernel are called."""
        return f"{self.version}-{self.architecture}-{self.profile}"


@dataclass(frozen=True)
class Catalogue:
    """The versions, architectures and profiles that are declared."""

    root: Path
    default_version: str
    default_profile: str
    versions: Mapping[str, Source]
    architectures: Mapping[str, Architecture]
    profiles: Mapping[str, Profile]

    def select(
        self,
        *,
        version: str | None = None,
        profile: str | None = None,
        architecture: str = "x86_64",
    ) -> Selection:
        """Return a selection, defaults filled in; unknown names are refused."""
        chosen = Selection(
            version or self.default_version,
            architecture,
            profile or self.default_profile,
        )
        _known("kernel version", chosen.version, self.versions)
        _known("architecture", chosen.architecture, self.architectures)
        _known("profile", chosen.profile, self.profiles)
        return chosen

    def selections(self) -> list[Selection]:
        """Return every kernel that can be built."""
        return [
            Selection(version, architecture, profile)
            for version in self.versions
            for architecture in self.architectures
            for profile in self.profiles
        ]

    def fragment_paths(self, selection: Selection) -> list[Path]:
        """Return the fragment files of a selection, in their order."""
        names = (
            name.format(version=selection.version, architecture=selection.architecture)
            for name in self.profiles[selection.profile].fragments
        )
        return [self.root / "fragments" / f"{name}.config" for name in names]

    def patches(self, selection: Selection) -> tuple[Path, ...]:
        """Return the patches of a selection, in their order."""
        architecture = self.architectures[selection.architecture]
        return architecture.patches + self.versions[selection.version].patches

    def resolved_path(self, selection: Selection) -> Path:
        """Return the file in the tree that records what a selection becomes."""
        return self.root / "resolved" / f"{selection.name}.config"


def load(root: Path) -> Catalogue:
    """Read the catalogue in ``root``. Raises ``BoxliteError`` naming the file."""
    kernel = read_yaml(root / "kernel.yaml")
    profiles = read_yaml(root / "profiles.yaml")
    where = root / "kernel.yaml"
    check_keys(kernel, where, required={"default", "versions", "architectures"})
    check_keys(profiles, root / "profiles.yaml", required={"default", "profiles"})
    catalogue = Catalogue(
        root=root,
        default_version=str(kernel["default"]),
        default_profile=str(profiles["default"]),
        versions={
            str(name): _source(entry, where)
            for name, entry in kernel["versions"].items()
        },
        architectures={
            str(name): _architecture(entry, where)
            for name, entry in kernel["architectures"].items()
        },
        profiles=_profiles(profiles["profiles"], root / "profiles.yaml"),
    )
    catalogue.select()  # the defaults must exist
    return catalogue


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BoxliteError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BoxliteError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise BoxliteError(f"{path} does not hold a mapping")
    return content


def check_keys(
    entry: Mapping[str, Any],
    where: Path,
    *,
    required: set[str],
    optional: frozenset[str] = frozenset(),
) -> None:
    """Refuse a missing or an unknown key, naming the file and the key."""
    for key in required - entry.keys():
        raise BoxliteError(f"{where}: {key!r} is missing")
    for key in entry.keys() - required - optional:
        raise BoxliteError(f"{where}: unknown key {key!r}")


def _source(entry: Mapping[str, Any], where: Path) -> Source:
    check_keys(entry, where, required={"source"}, optional=frozenset({"patches"}))
    source = entry["source"]
    patches = _patches(entry.get("patches", []), where)
    if "url" in source:
        check_keys(source, where, required={"url", "sha256"})
        return Source(
            url=str(source["url"]), sha256=str(source["sha256"]), patches=patches
        )
    check_keys(source, where, required={"package", "archive"})
    package, archive = str(source["package"]), Path(source["archive"])
    return Source(package=package, archive=archive, patches=patches)


def _architecture(entry: Mapping[str, Any], where: Path) -> Architecture:
    check_keys(entry, where, required={"make_arch", "image", "patches"})
    patches = _patches(entry["patches"], where)
    return Architecture(str(entry["make_arch"]), str(entry["image"]), patches)


def _patches(names: Sequence[Any], where: Path) -> tuple[Path, ...]:
    patches = tuple(where.parent / "patches" / str(name) for name in names)
    for patch in patches:
        if not patch.is_file():
            raise BoxliteError(f"{where}: there is no patch {patch}")
    return patches


def _profiles(entries: Mapping[str, Any], where: Path) -> dict[str, Profile]:
    """Resolve ``extends``. A parent stands above its children in the file."""
    done: dict[str, Profile] = {}
    for name, entry in entries.items():
        check_keys(
            entry,
            where,
            required={"description", "fragments"},
            optional=frozenset({"extends"}),
        )
        inherited: tuple[str, ...] = ()
        if "extends" in entry:
            _known(f"{where}: profile that {name} extends", entry["extends"], done)
            inherited = done[entry["extends"]].fragments
        done[name] = Profile(
            name=name,
            description=entry["description"],
            fragments=inherited + tuple(entry["fragments"]),
        )
    return done


def _known(what: str, name: str, among: Mapping[str, object]) -> None:
    if name not in among:
        raise BoxliteError(
            f"{what} {name!r} is not declared",
            hint=f"Declared: {', '.join(sorted(among))}.",
        )
