# SPDX-License-Identifier: Apache-2.0
"""With what machines run on this host, why, and when that is asked again."""

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from boxlite_runtime.doctor import host
from boxlite_runtime.installer import probe
from boxlite_runtime.paths import Layout, host_layout
from tests.engines import processes
from tests.engines.docker import Docker
from tests.engines.pair import Pair

pytestmark = pytest.mark.boxlite_only

#: What there may be to say of a host without a KVM that can be tried.
WITHOUT = {
    "no-virtualization",
    "off-in-firmware",
    "not-passed-on",
    "module-not-loaded",
    "no-device",
    "no-rights",
}


@pytest.fixture(scope="module")
def layout(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The installation, with a place of its own for the answer."""
    return replace(host_layout(), var=tmp_path_factory.mktemp("answer"))


@pytest.fixture(scope="module")
def answer(layout: Layout) -> probe.Answer:
    """What the shim finds out on this host."""
    return probe.ask(layout)


def kinds() -> set[str]:
    """Return what this host may be, seen without the shim."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return WITHOUT
    flags = Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0]
    hardware = {"kvm_amd", "kvm_intel"} & {
        path.name for path in Path("/sys/module").iterdir()
    }
    if not hardware:
        return {"para-virtual"}
    return {"nested"} if "hypervisor" in flags.split() else {"hardware"}


@pytest.mark.core
@pytest.mark.kvm
def test_the_host_is_told_by_its_kind(answer: probe.Answer) -> None:
    assert answer.kind in kinds()
    assert answer.accel == "kvm" or answer.hint
    if Path("/sys/module/kvm_pvm").exists():
        assert "kvm_pvm" in answer.message


@pytest.mark.kvm
def test_machines_run_with_what_was_found(
    docker: Docker, pair: Pair, answer: probe.Answer
) -> None:
    text = (pair.directory / "config/boxlite.toml").read_text()
    named = tomllib.loads(text).get("machine", {}).get("accel", "auto")
    accel = answer.accel if named == "auto" else named
    with docker.container() as container:
        machine = processes.machine(container)
        links = [link.readlink() for link in Path(f"/proc/{machine.pid}/fd").iterdir()]
    assert f"accel={accel}," in machine.command
    processors = [link for link in links if "anon_inode:kvm-vcpu:" in str(link)]
    assert len(processors) == (1 if accel == "kvm" else 0)


def test_the_answer_is_one_line_and_qemus_words_are_its_detail(
    answer: probe.Answer,
) -> None:
    assert answer.message.isprintable()
    assert "MSR" not in answer.message
    if answer.kind == "para-virtual" and answer.accel == "tcg":
        assert answer.detail


def test_doctor_says_what_an_installation_says(
    layout: Layout, answer: probe.Answer
) -> None:
    found = host.accelerator(layout)

    assert (found.says, found.cure) == (answer.says, answer.hint)


def test_an_answer_does_not_hold_under_another_kernel(
    layout: Layout, answer: probe.Answer
) -> None:
    assert probe.look(layout) == probe.Remembered(answer, None)
    text = layout.accel.read_text()
    under_another_kernel(layout.accel)

    stale = probe.look(layout).stale

    layout.accel.write_text(text)
    assert stale is not None
    assert stale.startswith("the host's kernel is another: 0.0 then, ")


@pytest.fixture
def stale(pair: Pair) -> Iterator[Layout]:
    """The installation, whose answer was found under another kernel."""
    layout = host_layout()
    machine = tomllib.loads(layout.config.read_text()).get("machine", {})
    if machine.get("accel", "auto") != "auto":
        pytest.skip(f"{layout.config} names an accelerator")
    probe.ask(layout)
    under_another_kernel(layout.accel)
    yield layout


def test_a_start_asks_again_where_the_answer_does_not_hold(
    docker: Docker, stale: Layout, answer: probe.Answer
) -> None:
    docker.sh("true").ok()

    found = probe.look(stale)

    assert found.stale is None
    assert found.answer is not None
    assert (found.answer.accel, found.answer.kind) == (answer.accel, answer.kind)


def under_another_kernel(file: Path) -> None:
    """Make an answer that of a kernel that does not run."""
    fields = json.loads(file.read_text())
    fields["host"]["kernel"] = "0.0"
    file.write_text(json.dumps(fields))
