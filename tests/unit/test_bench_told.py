# SPDX-License-Identifier: Apache-2.0
"""What a measurement leaves: the record, the text, the page, the picture."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from boxlite_runtime.bench import page, picture, record, text
from boxlite_runtime.bench.phases import Part
from boxlite_runtime.bench.record import Measure, Record
from boxlite_runtime.cli.bench import group
from boxlite_runtime.errors import BoxliteError

FIELDS = ("spawn", "restore", "launch", "create", "scan", "guest", "container",
          "start", "total", "shim")  # fmt: skip

STARTS = Record(
    kind="start",
    engine="docker",
    runtime="boxlite",
    reference="runc",
    date="2026-01-02",
    host={"CPU": "A CPU", "Load before": "0.1"},
    method={"engine": "docker", "rounds": "2", "at once": "1"},
    measures=[
        Measure(
            "`docker run --rm … true`, one at a time",
            "s",
            {"runc": [0.2, 0.4], "boxlite": [0.5, 0.7]},
        )
    ],
    phases={name: [0.01 * at, 0.01 * at] for at, name in enumerate(FIELDS)},
    notes=["skipped: runsc"],
)
MEMORY = Record(
    "memory", "docker", "boxlite", "boxlite", "2026-01-02", {"CPU": "A CPU"},
    {"containers": "2"}, [Measure("shim", "MiB", {"boxlite": [3.0, 3.5]})],
)  # fmt: skip


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(record.written(STARTS))

    assert record.read(file) == STARTS


def test_the_form_of_a_record_is_stable() -> None:
    document = json.loads(record.written(STARTS))

    assert list(document) == [
        "form", "kind", "engine", "runtime", "reference", "date", "host", "method",
        "measures", "phases", "notes",
    ]  # fmt: skip
    assert list(document["measures"][0]) == ["name", "unit", "values", "failed"]
    assert document["form"] == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"form": 1}', '{"form": 1, "measures": [{"a": 1}]}']
)
def test_what_is_no_record_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)

    with pytest.raises(BoxliteError, match="no record of a measurement"):
        record.read(file)


def test_a_record_of_another_version_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(record.written(STARTS).replace('"form": 1', '"form": 2'))

    with pytest.raises(BoxliteError, match="another version"):
        record.read(file)
    with pytest.raises(BoxliteError, match="cannot read"):
        record.read(tmp_path / "absent.json")


def test_failures_are_counted_over_all_measures() -> None:
    failed = Measure("m", "s", {"a": [1.0]}, {"a": 2, "b": 1})

    assert replace(STARTS, measures=[*STARTS.measures, failed]).failures == 3


def test_a_row_has_the_ratio_to_the_reference() -> None:
    runc, boxlite = text.rows(STARTS.measures[0], "runc")

    assert runc == ["runc", "2", "0.300", "0.390", "0.200", "0.400", ""]
    assert boxlite == ["boxlite", "2", "0.600", "0.690", "0.500", "0.700", "2.00"]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(1.23456, "s", "1.235"), (12.34, "MiB", "12.3"), (1234.5, "1/s", "1234")],
)
def test_a_value_has_the_digits_that_mean_something(
    value: float, unit: str, shown: str
) -> None:
    assert text.number(value, unit) == shown


def test_the_text_tells_values_phases_and_notes() -> None:
    told = text.told(STARTS).splitlines()

    assert told[0] == "docker run --rm … true, one at a time [s]"
    assert told[1].split() == ["runs", "median", "p95", "min", "max", "ratio"]
    assert told[3].endswith("2.00")
    assert "phases of 2 starts, from a template [ms]" in told
    assert told[-1] == "skipped: runsc"


def test_a_column_without_ratios_is_left_out() -> None:
    assert "ratio" not in text.told(MEMORY)
    assert "Ratio" not in page.page([MEMORY])


def test_a_field_nobody_knows_yet_is_told_at_the_end() -> None:
    rows = text.phase_rows({"new": [0.002], "plan": [0.001]})

    assert [row[0] for row in rows] == ["plan", "new"]
    assert rows[1][2:] == ["2.0", "2.0"]


def test_the_page_has_every_record_and_one_column_for_one_host() -> None:
    made = page.page([STARTS, MEMORY], "phases.svg")

    assert "| CPU | A CPU |\n| Date | 2026-01-02 |" in made
    assert made.count("A CPU") == 1
    assert "![Parts of a start](phases.svg)" in made
    assert "| `docker run --rm … true`, one at a time, s | runc | 2 | 0.300" in made
    assert "|  | boxlite | 2 | 0.600 | 0.690 | 0.500 | 0.700 | 2.00 |" in made
    assert "| shim, MiB | boxlite | 2 | 3.2 |" in made
    assert "Engine docker, rounds 2, at once 1, load before 0.1." in made


def test_two_records_of_a_kind_have_headings_of_their_own() -> None:
    many = replace(STARTS, method={"engine": "docker", "at once": "20"})

    made = page.page([STARTS, many])

    assert "### With engine docker, rounds 2, at once 1" in made
    assert "### With engine docker, at once 20" in made


def test_what_a_person_wrote_stays_on_the_page() -> None:
    older = f"# Old\n\n{page.BY_HAND}\n\n## Why\n\nBecause.\n"

    kept = page.kept(older, "# New\n")

    assert kept == f"# New\n\n{page.BY_HAND}\n\n## Why\n\nBecause.\n"
    assert page.kept(kept, "# New\n") == kept
    assert page.kept("# Old\n", "# New\n") == "# New\n"


def test_only_single_starts_are_drawn_and_only_known_parts() -> None:
    many = replace(STARTS, method={"at once": "20"})

    runc, boxlite = picture.bars([many, STARTS, MEMORY])

    assert (runc.label, runc.parts) == ("runc", ())
    assert runc.seconds == pytest.approx(0.3)
    assert sum(part.seconds for part in boxlite.parts) == pytest.approx(0.6)
    assert {part.name for part in boxlite.parts} == set(picture.COLOURS)


def test_two_engines_are_named_beside_the_runtimes() -> None:
    other = replace(STARTS, engine="ctr")

    labels = [bar.label for bar in picture.bars([STARTS, other])]

    assert labels == ["docker, runc", "docker, boxlite", "ctr, runc", "ctr, boxlite"]


def test_the_bars_are_as_long_as_their_seconds() -> None:
    drawing = picture.drawn(
        [
            picture.Bar("a <b>", 0.2),
            picture.Bar("c", 0.4, (Part("first process", 0.1), Part("rest", 0.3))),
        ]
    )

    bars = [
        float(rect.attrib["width"])
        for rect in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}rect")
        if rect.attrib["height"] == str(picture.BAR)
    ]
    whole = picture.WIDTH - picture.LEFT - picture.RIGHT
    assert bars == pytest.approx([whole / 2, whole / 4, whole * 3 / 4], abs=0.01)
    assert "a &lt;b&gt;" in drawing
    assert "prefers-color-scheme: dark" in drawing


@pytest.mark.parametrize(
    ("longest", "step"), [(0.5, 0.1), (1.3, 0.5), (0.0061, 0.002), (60.0, 10.0)]
)
def test_the_axis_has_few_round_marks(longest: float, step: float) -> None:
    assert picture.step_of(longest) == pytest.approx(step)


def test_report_writes_page_and_picture_beside_each_other(tmp_path: Path) -> None:
    file, output = tmp_path / "record.json", tmp_path / "performance.md"
    file.write_text(record.written(STARTS))

    group.main(["report", str(file), "--output", str(output)], standalone_mode=False)

    assert "(performance-start.svg)" in output.read_text()
    ET.parse(tmp_path / "performance-start.svg")


def test_report_without_starts_has_no_picture(tmp_path: Path) -> None:
    file, output = tmp_path / "record.json", tmp_path / "performance.md"
    file.write_text(record.written(MEMORY))

    group.main(["report", str(file), "--output", str(output)], standalone_mode=False)

    assert ".svg" not in output.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [output.name, file.name]
