# SPDX-License-Identifier: Apache-2.0
"""The declarations of the guest: catalogue, fragments, recorded results."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.guest import catalogue, fragments, kconfig, record
from boxlite_runtime.guest.catalogue import Catalogue, Selection

OPTION_NAMES = st.text(string.ascii_uppercase + string.digits + "_", min_size=1)
VALUES = st.one_of(
    st.sampled_from(["y", "n", "0x10", '""', '"text"']), st.integers().map(str)
)
REASONS = st.text(string.printable, min_size=1).filter(
    lambda text: text == text.strip() and len(text.splitlines()) == 1
)


@pytest.fixture
def declared(source: Path) -> Catalogue:
    return catalogue.load(source / "guest-kernel-config")


def fragment(base: Path, name: str, text: str) -> Path:
    path = base / name
    path.write_text(text)
    return path


def test_every_kernel_that_can_be_built_has_all_its_fragments(
    declared: Catalogue,
) -> None:
    for selection in declared.selections():
        requests = fragments.merge(declared.fragment_paths(selection))

        assert len(requests) > 100, selection.name


def test_every_fragment_belongs_to_a_profile(declared: Catalogue) -> None:
    used = {
        path
        for selection in declared.selections()
        for path in declared.fragment_paths(selection)
    }

    assert set((declared.root / "fragments").iterdir()) == used


def test_every_patch_is_applied_to_an_architecture(declared: Catalogue) -> None:
    used = {
        path for chosen in declared.selections() for path in declared.patches(chosen)
    }

    assert set((declared.root / "patches").iterdir()) == used


def test_what_is_recorded_holds_all_that_is_asked_for(declared: Catalogue) -> None:
    for selection in declared.selections():
        recorded = record.read(declared.resolved_path(selection))
        requests = fragments.merge(declared.fragment_paths(selection))

        missing = kconfig.unmet(requests, recorded.options)

        assert [str(entry) for entry in missing] == [], selection.name


def test_nothing_is_recorded_for_a_kernel_that_is_not_declared(
    declared: Catalogue,
) -> None:
    known = {declared.resolved_path(selection) for selection in declared.selections()}

    assert set((declared.root / "resolved").iterdir()) == known


def test_a_record_names_its_point_release_and_no_compiler(declared: Catalogue) -> None:
    for selection in declared.selections():
        text = declared.resolved_path(selection).read_text()
        recorded = record.read(declared.resolved_path(selection))

        assert recorded.series == selection.version
        assert record.render(record.portable(recorded.release, text)) == text


def test_what_a_launch_plan_asks_of_the_guest_is_asked_of_the_kernel(
    declared: Catalogue,
) -> None:
    # Asked, not only recorded: another point release may come to something else.
    requests = fragments.merge(declared.fragment_paths(declared.select()))
    wanted = {request.option: request.value for request in requests}

    for option in (
        "VIRTIO_FS", "VIRTIO_CONSOLE", "VIRTIO_NET", "OVERLAY_FS", "DEVTMPFS",
        "MEMCG", "CFS_BANDWIDTH", "CPUSETS", "CGROUP_PIDS", "CGROUP_BPF", "SWAP",
        "SECCOMP_FILTER", "USER_NS", "POSIX_MQUEUE", "IA32_EMULATION", "PVH",
    ):  # fmt: skip
        assert wanted.get(f"CONFIG_{option}") == "y", option
    assert wanted["CONFIG_MODULES"] == "n"


@given(wanted=st.dictionaries(OPTION_NAMES, st.tuples(VALUES, REASONS), max_size=20))
def test_requests_come_back_as_they_were_written(
    wanted: dict[str, tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("fragment")
    text = "".join(
        f"CONFIG_{name}={value}  # {reason}\n"
        for name, (value, reason) in wanted.items()
    )

    requests = fragments.merge([fragment(base, "some.config", text)])

    assert [(r.option, r.value, r.reason) for r in requests] == [
        (f"CONFIG_{name}", value, reason) for name, (value, reason) in wanted.items()
    ]
    survived = kconfig.parse(fragments.render(requests))
    assert kconfig.unmet(requests, survived) == []


@pytest.mark.parametrize(
    "line",
    [
        "CONFIG_NET=y",  # no reason
        "CONFIG_NET=m  # as a module",
        "CONFIG_NET=y # one blank",
        "NET=y  # no prefix",
        "CONFIG_NET  # no value",
    ],
)
def test_a_line_that_is_no_request_is_refused_with_its_place(
    line: str, tmp_path: Path
) -> None:
    path = fragment(tmp_path, "bad.config", f"# ok\n\n{line}\n")

    with pytest.raises(BoxliteError, match=r"bad\.config:3"):
        fragments.read(path)


@pytest.mark.parametrize("second", ["y", "n"])
def test_an_option_asked_for_twice_is_refused_naming_both_places(
    second: str, tmp_path: Path
) -> None:
    one = fragment(tmp_path, "one.config", "CONFIG_NET=y  # sockets\n")
    two = fragment(tmp_path, "two.config", f"\nCONFIG_NET={second}  # again\n")

    with pytest.raises(BoxliteError) as refused:
        fragments.merge([one, two])

    assert "one.config:1" in refused.value.message
    assert "two.config:2" in refused.value.message


def test_a_request_that_did_not_survive_is_named_with_its_place(
    tmp_path: Path,
) -> None:
    path = fragment(
        tmp_path,
        "some.config",
        "CONFIG_A=y  # gone\nCONFIG_B=n  # selected by another\n"
        "CONFIG_C=64  # another number\nCONFIG_D=n  # fine\n",
    )
    resolved = kconfig.parse("CONFIG_B=y\nCONFIG_C=8\n# CONFIG_D is not set\n")

    with pytest.raises(BoxliteError) as refused:
        kconfig.refuse_unmet(kconfig.unmet(fragments.read(path), resolved))

    message = refused.value.message
    assert "CONFIG_A: asked for y, got n" in message
    assert "CONFIG_B: asked for n, got y" in message
    assert "CONFIG_C: asked for 64, got 8" in message
    assert "some.config:3" in message
    assert "CONFIG_D" not in message


def test_an_unknown_name_is_refused_with_those_that_exist(declared: Catalogue) -> None:
    with pytest.raises(BoxliteError) as refused:
        declared.select(profile="tiny")

    assert "base" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("default: base", "default: other", "'other' is not declared"),
        ("extends: base", "extends: later", "'later' is not declared"),
        ("- lapic-timer-hz.patch", "- other.patch", "no patch .*other"),
        ("description: base", "remark: base", "unknown key 'remark'|'description' is"),
    ],
)
def test_a_wrong_catalogue_is_refused(
    old: str, new: str, says: str, source: Path, tmp_path: Path
) -> None:
    for name in ("kernel.yaml", "profiles.yaml"):
        text = (source / "guest-kernel-config" / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new))
    (tmp_path / "patches").symlink_to(source / "guest-kernel-config" / "patches")

    with pytest.raises(BoxliteError, match=says):
        catalogue.load(tmp_path)


def test_fragments_named_by_version_and_architecture_are_found(
    declared: Catalogue,
) -> None:
    names = [
        p.name for p in declared.fragment_paths(Selection("6.12", "x86_64", "base"))
    ]

    assert "platform-x86_64.config" in names
    assert "mitigations-6.12.config" in names
