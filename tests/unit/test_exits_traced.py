# SPDX-License-Identifier: Apache-2.0
"""The kernel's tracing is asked in an instance of its own, which is removed.

A directory stands for tracefs: what is written to it is kept.
"""

import os
import shutil
from pathlib import Path

import pytest

from boxlite_runtime.bench.exits import trace
from boxlite_runtime.bench.exits.counts import EVENTS
from boxlite_runtime.conformance.session import run_name
from boxlite_runtime.errors import BoxliteError, ExitCode
from tests.unit.test_exits_counted import EMPTY, HISTOGRAM


@pytest.fixture
def tracefs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tracing that knows KVM's events, on a host that is fit."""

    def make(directory: Path) -> None:
        for event in EVENTS:
            place = directory / "events" / "kvm" / event.name
            place.mkdir(parents=True)
            (place / "trigger").touch()
            (place / "hist").write_text(EMPTY)

    make(tmp_path)
    (tmp_path / "instances").mkdir()
    monkeypatch.setattr(trace, "DEVICE", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    # The kernel fills an instance when it is made, and empties it itself.
    monkeypatch.setattr(trace, "_make", make)
    monkeypatch.setattr(trace, "_remove", shutil.rmtree)
    return tmp_path


def instances(tracefs: Path) -> list[str]:
    return [path.name for path in (tracefs / "instances").iterdir()]


def test_every_event_has_a_histogram_by_thread_in_an_instance_of_its_own(
    tracefs: Path,
) -> None:
    with trace.tracing(tracefs) as found:
        assert instances(tracefs) == [f"boxlite-{run_name()}"]
        asked = {event.name: found.file(event, "trigger").read_text()
                 for event in EVENTS}  # fmt: skip

    assert asked["kvm_exit"] == "hist:keys=common_pid,isa,exit_reason:size=8192\n"
    assert list(asked) == ["kvm_exit", "kvm_userspace_exit", "kvm_mmio", "kvm_msr"]
    for event in EVENTS:
        theirs = tracefs / "events" / "kvm" / event.name / "trigger"
        assert theirs.read_text() == "", "the host's own tracing was touched"


def test_counting_begins_anew_without_taking_the_histogram_away(
    tracefs: Path,
) -> None:
    with trace.tracing(tracefs) as found:
        found.clear()
        said = found.file(EVENTS[0], "trigger").read_text().splitlines()

    assert said == [EVENTS[0].trigger, f"{EVENTS[0].trigger}:clear"]


def test_the_counts_of_all_events_are_one(tracefs: Path) -> None:
    with trace.tracing(tracefs) as found:
        found.file(EVENTS[0], "hist").write_text(HISTOGRAM)
        counts = found.counts({907})

    assert counts == {
        "exits": 512, "steady": 512, "exits: npf": 512, "to QEMU": 0, "MMIO": 0,
        "MSR": 0,
    }  # fmt: skip


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, BoxliteError])
def test_nothing_stays_however_a_run_ends(
    tracefs: Path, ending: type[BaseException]
) -> None:
    with pytest.raises(ending), trace.tracing(tracefs):
        raise ending("now")

    assert instances(tracefs) == []


def test_what_a_killed_run_left_is_removed_and_that_of_a_living_one_stays(
    tracefs: Path,
) -> None:
    living = f"boxlite-{run_name(1)}"
    for name in ("boxlite-p999999999t1", living, "somebody-elses"):
        (tracefs / "instances" / name).mkdir()

    with trace.tracing(tracefs):
        pass

    assert sorted(instances(tracefs)) == sorted([living, "somebody-elses"])


def unfit(tracefs: Path) -> BoxliteError:
    with pytest.raises(BoxliteError) as refused, trace.tracing(tracefs):
        pass
    assert refused.value.exit_code is ExitCode.HOST_UNFIT
    assert refused.value.hint
    assert instances(tracefs) == []
    return refused.value


def test_without_kvm_there_is_nothing_to_count(
    tracefs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "DEVICE", tracefs / "absent")

    assert "no /dev/kvm" in unfit(tracefs).message


def test_only_root_counts(tracefs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert "only root" in unfit(tracefs).message


def test_without_kvms_events_the_module_is_named(tracefs: Path) -> None:
    shutil.rmtree(tracefs / "events")

    refused = unfit(tracefs)

    assert "no events of KVM" in refused.message
    assert refused.hint is not None and "modprobe kvm_amd" in refused.hint


def test_a_kernel_without_histograms_is_told(tracefs: Path) -> None:
    (tracefs / "events" / "kvm" / "kvm_msr" / "hist").unlink()

    assert "no histogram of kvm_msr" in unfit(tracefs).message


def test_what_the_kernel_refuses_is_told_and_nothing_stays(
    tracefs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An event without a trigger file: opening it for writing makes a directory's error.
    def make(directory: Path) -> None:
        for event in EVENTS:
            (directory / "events/kvm" / event.name / "trigger").mkdir(parents=True)

    monkeypatch.setattr(trace, "_make", make)

    assert "the kernel refuses 'hist:keys=" in unfit(tracefs).message


def test_tracing_is_found_where_it_is_mounted() -> None:
    mounts = "proc /proc proc rw 0 0\ntracefs /sys/kernel/tracing tracefs rw 0 0\n"

    assert trace.found(mounts) == Path("/sys/kernel/tracing")
    with pytest.raises(BoxliteError, match="not mounted") as refused:
        trace.found("proc /proc proc rw 0 0\n")
    assert refused.value.hint == "mount -t tracefs tracefs /sys/kernel/tracing"
    assert refused.value.exit_code is ExitCode.HOST_UNFIT


def test_an_instance_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(BoxliteError, match="cannot make") as refused:
        trace._make(tmp_path / "absent" / "instance")
    assert refused.value.exit_code is ExitCode.HOST_UNFIT


def test_an_instance_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "held").touch()

    with pytest.raises(BoxliteError, match="cannot remove"):
        trace._remove(tmp_path)
