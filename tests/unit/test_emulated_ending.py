# SPDX-License-Identifier: Apache-2.0
"""How an emulated host ended, and what follows for the tests that it ran."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.emulated import __main__ as alone
from tests.engines.emulated import host, suite
from tests.engines.emulated.ending import LAST, Ending, Kind, tell

BOOTED = "Loading modules\r\n\x1b[1mstarting\x1b[0m\r\n"
PANIC = (
    f"{BOOTED}[   62.1] BUG: stack guard page was hit at 00000000a5a5 (stack is x)\r\n"
    "[   62.1] Call Trace:\r\n[   62.1]  error_entry+0x5/0x130\r\n"
    "[   62.2] Kernel panic - not syncing: Fatal exception in interrupt\r\n"
)


def ending(
    status: str = "started\n",
    console: str = BOOTED,
    qemu: str = "",
    *,
    expired: bool = False,
) -> Ending:
    return tell(status=status, console=console, qemu=qemu, expired=expired)


@pytest.mark.parametrize("code", [0, 1, 137])
def test_a_job_that_ended_has_its_own_code(code: int) -> None:
    ended = ending(f"started\nended {code}\n")

    assert (ended.kind, ended.code) == (Kind.JOB, code)
    assert not ended.host_failed


def test_a_job_that_ended_is_not_undone_by_how_its_host_goes_off() -> None:
    for console, expired in ((PANIC, False), (BOOTED, True)):
        ended = ending("started\nended 1\n", console, expired=expired)
        assert (ended.kind, ended.code) == (Kind.JOB, 1)


def test_half_a_word_of_a_host_is_none() -> None:
    assert ending("started\nende").kind is Kind.GONE


def test_a_panic_of_the_hosts_kernel_is_told_with_what_led_to_it() -> None:
    for expired in (False, True):
        ended = ending(console=PANIC, expired=expired)

        assert ended.kind is Kind.PANICKED and ended.host_failed
        assert ended.words[0].startswith("Kernel panic - not syncing: Fatal")
        assert any("stack guard page" in line for line in ended.words)


def test_a_panic_of_a_guest_is_none_of_the_host() -> None:
    # A machine's console is quoted by the job, not by the host's console.
    assert ending("started\nended 1\n", BOOTED).kind is Kind.JOB


def test_a_job_past_its_time_is_told_with_the_consoles_last_lines() -> None:
    console = "".join(f"line {n}\n" for n in range(100))

    ended = ending(console=console, expired=True)

    assert ended.kind is Kind.EXPIRED and not ended.host_failed
    assert ended.words == tuple(f"line {n}" for n in range(100 - LAST, 100))


@pytest.mark.parametrize("expired", [False, True])
def test_a_host_that_did_not_boot_says_what_qemu_and_it_said(expired: bool) -> None:
    ended = ending(
        "", "emulated host: cannot mount files\n", "qemu: no", expired=expired
    )

    assert ended.kind is Kind.UNBOOTED and not ended.host_failed
    assert ended.words == ("qemu: no", "emulated host: cannot mount files")


def test_a_host_that_is_gone_failed_and_not_its_job() -> None:
    ended = ending(qemu="qemu: Segmentation fault")

    assert ended.kind is Kind.GONE and ended.host_failed
    assert "qemu: Segmentation fault" in ended.words


#: What KVM traces where a timer's interrupt (0xec) was being taken, and where a kernel
#: that ends its machine has no table of interrupts any more.
INTERRUPTED = """\
 qemu-system-x86-1689  [000] .....  241.4: kvm_exit: vcpu 0 reason shutdown rip \
0xffffffff8156c491 info1 0x0000000000000000 intr_info 0x800000ec error_code 0x00000000
"""
ENDED_ITSELF = INTERRUPTED.replace("0x800000ec", "0x80000603")


@pytest.mark.parametrize(
    ("trace", "machines"),
    [("", 0), (ENDED_ITSELF, 0), (INTERRUPTED, 1), (INTERRUPTED * 2 + ENDED_ITSELF, 2)],
)
def test_machines_that_the_emulation_has_ended_are_told_and_excuse_nothing(
    trace: str, machines: int
) -> None:
    ended = tell(
        status="started\nended 1\n", console="", qemu="", expired=False, shutdowns=trace
    )

    assert (ended.kind, ended.code) == (Kind.JOB, 1) and not ended.host_failed
    assert ("took an interrupt" in ended.told()) == (machines > 0)
    assert not machines or ended.told().endswith(f": {machines}")


def test_what_is_told_holds_no_control_characters() -> None:
    told = ending(console="\x1b[31mred\x07\x1b[0m\n", expired=True).told()

    assert told == "the job was past its time:\n  | red"


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (Ending(Kind.JOB, 3), 3),
        (Ending(Kind.EXPIRED), 124),
        (Ending(Kind.PANICKED), 125),
        (Ending(Kind.UNBOOTED), 125),
        (Ending(Kind.GONE), 125),
    ],
)
def test_a_command_has_its_code_or_one_that_tells_of_the_host(
    ended: Ending, code: int
) -> None:
    assert alone.exit_code(ended) == code


class Hosts:
    """Hosts that end one after the other as was decided before."""

    def __init__(self, *endings: Ending) -> None:
        self._endings: Iterator[Ending] = iter(endings)
        self.booted: list[tuple[str, str]] = []

    def __call__(self, job: host.Job, console: Path) -> Ending:
        self.booted.append((str(job.argv[-1]).split()[-1], console.name))
        return next(self._endings)


def ran(hosts: Hosts, *modules: str) -> int:
    jobs = tuple((module,) for module in modules)
    return suite.run(suite.Plan("kvm", jobs, Path("/logs")), hosts)


PASSED, FAILED = Ending(Kind.JOB, 0), Ending(Kind.JOB, 1)
PANICKED = Ending(Kind.PANICKED, words=("Kernel panic",))


def test_every_job_has_a_host_of_its_own() -> None:
    hosts = Hosts(PASSED, PASSED)

    assert ran(hosts, "a", "b") == 0
    assert hosts.booted == [("a", "kvm-console-1.log"), ("b", "kvm-console-2.log")]


def test_a_job_whose_test_failed_is_not_run_again_and_the_others_still_are() -> None:
    hosts = Hosts(FAILED, PASSED)

    assert ran(hosts, "a", "b") == 1
    assert [name for name, _ in hosts.booted] == ["a", "b"]


@pytest.mark.parametrize("lost", [PANICKED, Ending(Kind.GONE)])
def test_a_job_whose_host_gave_up_is_run_once_more_and_that_is_said(
    lost: Ending, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = Hosts(lost, PASSED)

    assert ran(hosts, "a") == 0
    assert [console for _, console in hosts.booted] == [
        "kvm-console-1.log",
        "kvm-console-2.log",
    ]
    said = capsys.readouterr().out
    assert lost.kind.value in said and "once more" in said


def test_a_host_that_gives_up_twice_is_a_failure() -> None:
    hosts = Hosts(PANICKED, PANICKED, PASSED)

    assert ran(hosts, "a", "b") == 1
    assert [name for name, _ in hosts.booted] == ["a", "a", "b"]


@pytest.mark.parametrize("kind", [Kind.EXPIRED, Kind.UNBOOTED])
def test_a_job_past_its_time_is_a_failure_at_once(kind: Kind) -> None:
    hosts = Hosts(Ending(kind))

    assert ran(hosts, "a") == 1


def test_no_test_at_all_is_a_failure() -> None:
    assert suite.run(suite.Plan("kvm", (), Path("/logs")), Hosts()) == 1


def test_tests_are_divided_by_modules_into_jobs_of_like_sizes() -> None:
    sizes = {"a": 6, "b": 5, "c": 1, "d": 3, "e": 1}
    tests = [
        f"{name}.py::test_{n}[x::y]" for name, n in sizes.items() for n in range(n)
    ]

    assert suite.divided(tests, 10) == (("a.py", "c.py", "e.py"), ("b.py", "d.py"))
    assert suite.divided(tests, 100) == (tuple(f"{name}.py" for name in "abcde"),)
    assert suite.divided([], 10) == ()


def test_a_host_that_cannot_be_had_is_a_skip_and_in_ci_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert suite.without("no kernel") == 0
    assert capsys.readouterr().out.splitlines() == [
        "no emulated host: no kernel",
        "1 skipped in 0.0s",
    ]
    monkeypatch.setenv("CI", "true")
    assert suite.without("no kernel") == 1
    assert capsys.readouterr().err == "no emulated host: no kernel\n"
