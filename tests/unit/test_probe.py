# SPDX-License-Identifier: Apache-2.0
"""How the shim is asked for the accelerator. Its answers are played by scripts."""

import json
from pathlib import Path
from typing import Any

import pytest

from boxlite_runtime.errors import BoxliteError
from boxlite_runtime.installer import probe
from boxlite_runtime.paths import Layout

#: What a shim says on a host with kvm_pvm.
FIELDS: dict[str, Any] = {
    "accel": "tcg",
    "kind": "para-virtual",
    "message": "/dev/kvm is that of kvm_pvm",
    "hint": "run on another host",
    "detail": "failed to set MSR 0x10a",
    "asked": 1,
    "host": {"kernel": "6.1"},
}
ANSWER = probe.Answer(
    "tcg",
    "para-virtual",
    "/dev/kvm is that of kvm_pvm",
    "run on another host",
    "failed to set MSR 0x10a",
    1,
)


def shim(root: Path, body: str) -> Layout:
    """Return an installation below ``root`` whose shim is a shell script."""
    layout = Layout(root=root)
    layout.shim.parent.mkdir(parents=True)
    layout.shim.write_text(f"#!/bin/sh\n{body}\n")
    layout.shim.chmod(0o755)
    return layout


def saying(root: Path, document: object) -> Layout:
    """Return an installation whose shim says one document."""
    return shim(root, f"cat <<'END'\n{json.dumps(document)}\nEND")


def test_the_shim_is_asked_by_its_words(tmp_path: Path) -> None:
    said = json.dumps(FIELDS).replace("'", "")
    layout = shim(tmp_path, f"echo \"$@\" >{tmp_path}/words; echo '{said}'")
    layout.config.parent.mkdir(parents=True)
    layout.config.touch()

    assert probe.ask(layout) == ANSWER
    assert (tmp_path / "words").read_text() == (
        f"probe --answer {layout.accel} --config {layout.config}\n"
    )


def test_a_look_says_what_is_remembered(tmp_path: Path) -> None:
    fresh = saying(tmp_path / "fresh", {"answer": FIELDS, "stale": None})
    stale = saying(tmp_path / "stale", {"answer": FIELDS, "stale": "another kernel"})
    none = saying(tmp_path / "none", {"answer": None, "stale": "no guest was booted"})

    assert probe.look(fresh) == probe.Remembered(ANSWER, None)
    assert probe.look(stale) == probe.Remembered(ANSWER, "another kernel")
    assert probe.look(none) == probe.Remembered(None, "no guest was booted")


@pytest.mark.parametrize(
    ("kind", "stale", "asked"),
    [
        ("hardware", None, False),
        ("para-virtual", None, False),
        ("no-rights", None, False),
        # What failed once for no reason of the host's kind may not again.
        ("failed", None, True),
        ("hardware", "the host's kernel is another", True),
    ],
)
def test_an_installation_asks_where_the_answer_may_be_another(
    kind: str, stale: str | None, asked: bool
) -> None:
    answer = probe.Answer("kvm", kind, "m", None, None, 1)

    assert probe.Remembered(answer, stale).to_be_asked is asked
    assert probe.Remembered(None, "there is none").to_be_asked


def test_a_guest_that_boots_nowhere_is_an_error(tmp_path: Path) -> None:
    layout = saying(tmp_path, {"boots": False, "why": "it hung"})

    with pytest.raises(BoxliteError, match="does not boot on this host: it hung"):
        probe.ask(layout)


def test_a_shim_that_cannot_probe_is_quoted(tmp_path: Path) -> None:
    layout = shim(
        tmp_path, "echo 'containerd-shim-boxlite-v1: no virtiofsd' >&2; exit 1"
    )

    for call in (probe.ask, probe.look):
        with pytest.raises(BoxliteError, match=r"^no virtiofsd$"):
            call(layout)


@pytest.mark.parametrize(
    "answer", ["", "{}", "up", '{"up": true}', '{"accel": "kvm", "reason": "booted"}']
)
def test_an_answer_of_another_release_is_none(tmp_path: Path, answer: str) -> None:
    layout = shim(tmp_path, f"echo '{answer}'")

    for call in (probe.ask, probe.look):
        with pytest.raises(BoxliteError, match="does not speak of the probe"):
            call(layout)


def test_a_shim_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "ASKING", 0.2)

    with pytest.raises(BoxliteError, match=r"gave up after 0\.2 s on: "):
        probe.ask(shim(tmp_path, "sleep 60"))


def test_pages_read_what_the_shim_wrote_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "accel.json"
    assert probe.read(file) is None
    file.write_text(json.dumps(FIELDS))
    assert probe.read(file) == ANSWER
    for text in ("", "{}", '{"accel": "kvm", "reason": "booted"}'):
        file.write_text(text)
        assert probe.read(file) is None
