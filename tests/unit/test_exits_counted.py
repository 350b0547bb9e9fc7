# SPDX-License-Identifier: Apache-2.0
"""From the kernel's histograms to counts of one machine's exits, and their table."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxlite_runtime.bench import page, text
from boxlite_runtime.bench.exits import machine, reasons, told
from boxlite_runtime.bench.exits.counts import (
    EVENTS,
    EXITS,
    MMIO,
    MSR,
    TO_QEMU,
    each,
    measure,
    middle,
    of,
)
from boxlite_runtime.bench.exits.histogram import Entry, entries
from boxlite_runtime.bench.record import Measure, Record
from boxlite_runtime.errors import BoxliteError

#: As Linux 6.1 writes it: two machines, of which 1201 and 1202 are one's threads.
HISTOGRAM = """\
# event histogram
#
# trigger info: hist:keys=common_pid,isa,exit_reason:vals=hitcount:sort=hitcount:size=8192 [active]
#

{ common_pid:       1202, isa:          2, exit_reason:        120 } hitcount:          3
{ common_pid:       1201, isa:          2, exit_reason:        114 } hitcount:         34
{ common_pid:       1201, isa:          2, exit_reason:        120 } hitcount:         66
{ common_pid:        907, isa:          2, exit_reason:       1024 } hitcount:        512
{ common_pid:       1201, isa:          2, exit_reason:       1024 } hitcount:       2330

Totals:
    Hits: 2945
    Entries: 5
    Dropped: 0
"""
EMPTY = """\
# event histogram
#
# trigger info: hist:keys=common_pid,type:vals=hitcount:sort=hitcount:size=8192 [active]
#


Totals:
    Hits: 0
    Entries: 0
    Dropped: 0
"""

EVENT = {event.kind: event for event in EVENTS}


def exits(*counted: dict[str, float]) -> Record:
    """Return a record of starts with these counts, all but one of them steady."""
    values = [{**counts, "steady": counts["exits"] - 1} for counts in counted]
    return Record(
        "exits", "docker", "boxlite", "boxlite", "2026-01-02", {"CPU": "A CPU"},
        {"rounds": "3"}, [measure("start", values)],
    )  # fmt: skip


STARTS = exits(
    {EXITS: 100.0, "exits: npf": 80.0, "exits: hlt": 20.0, "MSR: wr 6e0": 4.0},
    {EXITS: 110.0, "exits: npf": 90.0, "exits: hlt": 20.0, "MSR: wr 6e0": 5.0},
    {EXITS: 101.0, "exits: npf": 80.0, "exits: hlt": 20.0, "exits: smi": 1.0},
)


def test_an_entry_has_its_keys_and_its_hits() -> None:
    found = entries(HISTOGRAM)

    assert len(found) == 5
    assert found[-1] == Entry({"common_pid": 1201, "isa": 2, "exit_reason": 1024}, 2330)
    assert entries(EMPTY) == []


@pytest.mark.parametrize(
    "broken",
    [
        "",
        HISTOGRAM.replace("Entries: 5", "Entries: 6"),
        HISTOGRAM.replace("hitcount:         34", "count: 34"),
    ],
)
def test_a_histogram_that_is_not_understood_counts_nothing(broken: str) -> None:
    with pytest.raises(BoxliteError, match="not understood"):
        entries(broken)


def test_a_histogram_that_was_too_small_is_not_believed() -> None:
    with pytest.raises(BoxliteError, match="too small: 7 events"):
        entries(HISTOGRAM.replace("Dropped: 0", "Dropped: 7"))


def test_only_the_threads_of_a_machine_are_counted_by_reason_and_in_all() -> None:
    found = of(EVENT[EXITS], entries(HISTOGRAM), {1200, 1201, 1202})

    assert found == {
        "exits": 34 + 66 + 3 + 2330,
        "steady": 34 + 66 + 3 + 2330,
        "exits: hlt": 66 + 3,
        "exits: cpuid": 34,
        "exits: npf": 2330,
    }


def test_what_nobody_met_is_counted_as_none() -> None:
    assert of(EVENT[EXITS], [], {1}) == {"exits": 0, "steady": 0}
    assert of(EVENT[MMIO], [], {1}) == {"MMIO": 0}


@pytest.mark.parametrize(
    ("isa", "ticks", "other"), [(reasons.SVM, 0x60, 0x72), (reasons.VMX, 1, 10)]
)
def test_what_comes_with_ticks_is_not_steady(isa: int, ticks: int, other: int) -> None:
    seen = [
        Entry({"common_pid": 1, "isa": isa, "exit_reason": code}, hits)
        for code, hits in ((ticks, 100), (other, 7))
    ]

    found = of(EVENT[EXITS], seen, {1})

    assert (found["exits"], found["steady"]) == (107, 7)


def test_a_read_that_waits_for_qemu_is_counted_once() -> None:
    seen = [Entry({"common_pid": 1, "type": kind}, 10) for kind in range(3)]

    found = of(EVENT[MMIO], seen, {1})

    assert found == {"MMIO": 20, "MMIO: read": 10, "MMIO: write": 10}


def test_exits_to_qemu_and_registers_have_their_names() -> None:
    out = of(EVENT[TO_QEMU], [Entry({"common_pid": 1, "reason": 6}, 2)], {1})
    timer = Entry({"common_pid": 1, "write": 1, "ecx": 0x6E0}, 3)
    other = Entry({"common_pid": 1, "write": 0, "ecx": 0xC0010007}, 1)

    assert out == {"to QEMU": 2, "to QEMU: mmio": 2}
    assert of(EVENT[MSR], [timer, other], {1}) == {
        "MSR": 4, "MSR: wr 6e0 tsc_deadline": 3, "MSR: rd c0010007": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("isa", "code", "name"),
    [
        (reasons.SVM, 0x400, "npf"),
        (reasons.SVM, 0x7C, "msr"),
        (reasons.SVM, 0x64, "vintr"),
        (reasons.SVM, 0x4E, "PF excp"),
        (reasons.SVM, 0x10, "write_cr0"),
        (reasons.SVM, 0xFFFFFFFF, "invalid_guest_state"),
        (reasons.SVM, 0x499, "svm 0x499"),
        (reasons.VMX, 48, "EPT_VIOLATION"),
        (reasons.VMX, 32, "MSR_WRITE"),
        (reasons.VMX, 0x80000021, "INVALID_STATE, entry failed"),
        (reasons.VMX, 0x0800000C, "HLT"),
        (reasons.VMX, 99, "vmx 99"),
        (7, 1, "isa 7 0x1"),
    ],
)
def test_an_exit_is_named_as_the_kernel_does_and_an_unknown_one_by_number(
    isa: int, code: int, name: str
) -> None:
    assert reasons.exit_name(isa, code) == name


def test_an_unknown_exit_to_qemu_is_a_number() -> None:
    assert reasons.userspace_name(99) == "kvm 99"


def test_of_many_done_at_once_each_has_its_share_without_the_commands_own() -> None:
    done = {"exits": 1480.0, "exits: hlt": 80.0, "exits: cpuid": 30.0}
    beside = {"exits": 480.0, "exits: hlt": 60.0, "exits: cpuid": 34.0}

    assert each(done, beside, 200) == {
        "exits": 5.0, "exits: hlt": 0.1, "exits: cpuid": 0.0,
    }  # fmt: skip


def test_the_middle_takes_what_was_not_met_as_none() -> None:
    values = [{"exits": 1.0}, {"exits": 5.0, "exits: nmi": 4.0}, {"exits": 2.0}]

    assert middle(values) == {"exits": 2.0, "exits: nmi": 0.0}
    assert measure("it", values).values["exits: nmi"] == [0.0, 4.0, 0.0]


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_the_sum_is_that_of_its_parts(hits: list[int]) -> None:
    seen = [
        Entry({"common_pid": n % 3, "isa": 2, "exit_reason": n}, count)
        for n, count in enumerate(hits)
    ]

    found = of(EVENT[EXITS], seen, {0, 1})

    assert found.pop("steady") <= found["exits"]
    assert found.pop("exits") == sum(found.values())


QEMU = (
    "/usr/bin/qemu-system-x86_64", "-name", "guest=aa", "-machine",
    "microvm,accel=kvm,rtc=on", "-incoming", "defer",
)  # fmt: skip


def test_a_machine_is_known_by_its_container_and_says_what_it_runs_on() -> None:
    found = machine.read(7, QEMU, "aa")

    assert found == machine.Machine(7, "kvm", restored=True)
    assert machine.read(7, QEMU, "a") is None
    assert machine.read(7, ("tail", *QEMU[1:]), "aa") is None
    assert machine.read(7, ("",), "aa") is None


@pytest.mark.parametrize(
    ("words", "accel"),
    [
        (("-name", "guest=aa,debug-threads=on", "-accel", "kvm,x=on"), "kvm"),
        (("-name", "guest=aa", "-machine", "microvm,accel=tcg"), "tcg"),
        (("-name", "guest=aa"), ""),
    ],
)
def test_the_accelerator_is_the_command_lines(
    words: tuple[str, ...], accel: str
) -> None:
    found = machine.read(7, ("qemu-system-x86_64", *words), "aa")

    assert found == machine.Machine(7, accel, restored=False)


def test_a_container_without_a_machine_is_an_error() -> None:
    with pytest.raises(BoxliteError, match="no machine on this host"):
        machine.of("no-such-container")


def test_reasons_are_told_by_their_size_and_small_ones_together() -> None:
    (starts,) = STARTS.measures
    few = measure("it", [{"exits": 1000.0, "exits: npf": 992.0, "exits: nmi": 8.0}])

    assert told.parts(starts, EXITS) == "80 npf, 20 hlt"
    assert told.parts(starts, MSR) == "4 wr 6e0"
    assert told.parts(starts, TO_QEMU) == ""
    assert told.parts(few, EXITS) == "992 npf, 8 others"


@pytest.mark.parametrize(
    ("values", "shown"),
    [([100.0, 110.0, 101.0], "10 %"), ([0.0, 0.0], "0 %"), ([0.0, 0.0, 1.0], "")],
)
def test_the_spread_is_a_share_of_the_median(values: list[float], shown: str) -> None:
    assert told.spread(values) == shown


def test_the_text_has_a_block_for_each_measure() -> None:
    record = replace(STARTS, notes=["a note"])

    assert text.told(record).splitlines() == [
        "start: 101 exits (100 to 110 in 3, 10 %), 100 of them steady (10 %)",
        "  exits    80 npf, 20 hlt",
        "  MSR      4 wr 6e0",
        "",
        "a note",
    ]


def test_what_failed_is_told_by_its_note() -> None:
    failed = Measure("file removed", "exits", {}, {"boxlite": 1})
    record = replace(
        STARTS, measures=[*STARTS.measures, failed], notes=["failed: file removed: no"]
    )

    assert "file removed:" not in text.told(record).replace(record.notes[0], "")
    assert text.told(record).endswith("failed: file removed: no")
    assert "Failed of file removed: boxlite 1." in page.page([record])
    assert record.failures == 1


def test_the_page_has_a_section_of_exits_only_with_a_record_of_them() -> None:
    made = page.page([STARTS])

    assert "## Exits of the guest\n\nHow often the guest" in made
    assert "| Of | Runs | Median | Min | Max | Spread | Steady | Its spread |" in made
    assert "|---|---:|---:|---:|---:|---:|---:|---:|---|\n" in made
    assert (
        "| start | 3 | 101 | 100 | 110 | 10 % | 100 | 10 % | 80 npf, 20 hlt |" in made
    )
    assert "| start |  |  | 4 wr 6e0 |" in made
    assert "Exits" not in page.page([])
