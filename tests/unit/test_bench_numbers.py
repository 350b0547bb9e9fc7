# SPDX-License-Identifier: Apache-2.0
"""What is computed of values: statistics, order, parts of a start, memory."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxlite_runtime.bench import host, memory, phases
from boxlite_runtime.bench.rounds import alternate, turns
from boxlite_runtime.bench.sample import percentile, ratio, summary

VALUES = st.lists(st.floats(0, 1e6), min_size=1)

LOG = """\
2026-01-02T03:04:05.1Z  INFO serving id="aa" namespace="moby"
2026-01-02T03:04:05.2Z  INFO launched id="aa" pid=7 t_plan=250µs t_cgroup=9ms t_net=2ms t_share=9ms t_spawn=6ms t_restore=30ms t_launch=50ms
2026-01-02T03:04:05.3Z  INFO guest is up id="aa" t_boot=55ms
2026-01-02T03:04:05.3Z  INFO created id="aa" t_create=110ms
time="2026-01-02T03:04:05.3Z" level=info msg="loading plugin" runtime=io.containerd.runc.v2
2026-01-02T03:04:05.4Z  INFO prepared id="aa" t_configure=40ms t_build=90ms
2026-01-02T03:04:05.5Z  INFO started id="aa" t_scan=1ms t_guest=4ms t_container=60ms t_start=80ms t_total=1.2s
2026-01-02T03:04:06.1Z  INFO launched id="bb" pid=8 t_plan=1ms t_launch=50ms
2026-01-02T03:04:06.2Z  INFO started id="cc" t_total=9s
""".splitlines()  # fmt: skip


def test_a_summary_tells_middle_and_ends() -> None:
    found = summary([4.0, 1.0, 3.0, 2.0])

    assert (found.count, found.median, found.least, found.most) == (4, 2.5, 1.0, 4.0)
    assert found.p95 == pytest.approx(3.85)


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.95) == 7.0


@given(VALUES, st.floats(0, 1))
def test_a_percentile_lies_within_the_values(values: list[float], share: float) -> None:
    assert min(values) <= percentile(values, share) <= max(values) * (1 + 1e-12)


def test_a_ratio_is_that_of_the_medians() -> None:
    assert ratio([2.0, 9.0, 3.0], [1.0, 2.0]) == 2.0


@pytest.mark.parametrize("reference", [[], [0.0]])
def test_there_is_no_ratio_to_nothing(reference: list[float]) -> None:
    assert ratio([1.0], reference) is None


@given(st.lists(st.text(), min_size=1, unique=True))
def test_each_is_first_once_in_as_many_rounds_as_there_are(names: list[str]) -> None:
    orders = [turns(names, number) for number in range(len(names))]

    assert [order[0] for order in orders] == names
    assert all(sorted(order) == sorted(names) for order in orders)


def test_measuring_is_in_turns_and_keeps_the_order_of_values() -> None:
    seen: list[str] = []
    told: list[str] = []

    def measure(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    values = alternate(["a", "b"], 2, measure, told.append)

    assert seen == ["a", "b", "b", "a"]
    assert values == {"a": [1.0, 4.0], "b": [2.0, 3.0]}
    assert told[-1] == "round 2 of 2, a"


def test_the_lines_of_a_start_give_its_seconds() -> None:
    (start,) = phases.of(LOG, {"aa"})

    assert start["plan"] == pytest.approx(250e-6)
    assert start["launch"] == pytest.approx(0.05)
    assert start["boot"] == pytest.approx(0.055)
    assert start["total"] == pytest.approx(1.2)


def test_starts_of_others_and_half_told_ones_do_not_count() -> None:
    assert phases.of(LOG, {"bb", "cc", "dd"}) == []


def test_a_field_that_not_every_start_has_is_left_out() -> None:
    (start,) = phases.of(LOG, {"aa"})
    without = {name: value for name, value in start.items() if name != "build"}

    columns = phases.columns([start, without])

    assert "build" not in columns
    assert columns["start"] == [0.08, 0.08]
    assert columns["shim"] == pytest.approx([0.19, 0.19])
    assert phases.columns([]) == {}


@pytest.mark.parametrize(
    ("restore", "answer"), [([0.03, 0.04], True), ([6e-8], False), ([], False)]
)
def test_a_template_is_known_by_the_time_it_takes(
    restore: list[float], answer: bool
) -> None:
    assert phases.from_template({"restore": restore}) is answer


def test_the_parts_of_a_start_are_as_long_as_the_command() -> None:
    columns = phases.columns(phases.of(LOG, {"aa"}))

    parts = {part.name: part.seconds for part in phases.parts(columns, 2.0)}

    assert sum(parts.values()) == pytest.approx(2.0)
    assert parts["plan, cgroup, network, share"] == pytest.approx(0.014)
    assert parts["going on from the template"] == pytest.approx(0.03)
    assert parts["engine's hooks"] == pytest.approx(0.06)
    assert parts["engine, Create to Start"] == pytest.approx(1.2 - 0.08 - 0.11)
    assert parts["waiting for the container"] == pytest.approx(0.056)
    assert parts["engine, before and after"] == pytest.approx(0.8)


def test_no_part_is_shorter_than_nothing() -> None:
    columns = phases.columns(phases.of(LOG, {"aa"}))

    assert all(part.seconds >= 0 for part in phases.parts(columns, 0.1))
    assert phases.parts({}, 1.0) == []


def test_processes_are_counted_for_the_container_they_name() -> None:
    seen = [
        memory.Seen("/bin/containerd-shim-boxlite-v1 -id aa", 3.0),
        memory.Seen("/usr/bin/qemu-system-x86_64 -name guest=aa", 50.0, guest=30.0),
        memory.Seen("/usr/libexec/virtiofsd --shared-dir=/run/aa/share", 1.0),
        memory.Seen("/usr/libexec/virtiofsd --shared-dir=/run/aa/share", 2.0),
        memory.Seen("tail -f aa", 9.0),
    ]

    first, second = memory.per_container(["aa", "bb"], seen)

    assert first == {
        "shim": 3.0, "QEMU": 50.0, "guest": 30.0, "virtiofsd": 3.0, memory.ALL: 86.0
    }  # fmt: skip
    assert second == {memory.ALL: 0}


SMAPS = """\
7f00-7f80 rw-s 00000000 00:01 1234      /memfd:boxlite-ram (deleted)
Rss:  9999 kB
Pss:  4096 kB
Pss_Dirty:  1 kB
VmFlags: rd wr sh
55d0-7ff0 r-xp 00000000 fe:00 99        /usr/bin/qemu-system-x86_64
Pss:  1024 kB
7ff0-7ff8 rw-p 00000000 00:00 0
Pss:  1024 kB
"""


def test_a_process_shares_in_all_that_it_maps_but_its_guests_memory() -> None:
    assert memory.mapped(SMAPS) == memory.Mapped(2.0, ("7f00-7f80",))


def test_a_guests_memory_counts_once_with_all_that_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "memory"
    file.write_bytes(b"x" * (2 << 20))
    (tmp_path / "map_files").mkdir()
    for name in ("7f00-7f80", "8f00-8f80"):
        (tmp_path / "map_files" / name).symlink_to(file)

    found = memory.held(tmp_path, ["7f00-7f80", "8f00-8f80"])

    assert found == file.stat().st_blocks * 512 / (1 << 20)
    assert memory.held(tmp_path, []) == 0


def test_a_host_that_does_not_tell_is_not_known() -> None:
    assert host.model("model name\t: A CPU\nmodel name\t: A CPU\n") == "A CPU"
    assert host.memory("MemTotal:       16777216 kB\n") == "16 GiB"
    assert host.model("") == host.memory("") == host.UNKNOWN
