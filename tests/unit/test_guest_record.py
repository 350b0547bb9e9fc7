# SPDX-License-Identifier: Apache-2.0
"""When a recorded configuration holds: on its point release, and on others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from boxlite_runtime import cli
from boxlite_runtime.errors import BoxliteError, ExitCode
from boxlite_runtime.guest import catalogue, kernel, record
from boxlite_runtime.guest.fragments import Request
from boxlite_runtime.guest.record import Comparison, Difference, Record

ASKED = [
    Request("CONFIG_NET", "y", "sockets", Path("core.config"), 1),
    Request("CONFIG_MODULES", "n", "nothing is loaded", Path("core.config"), 2),
]
RECORDED = Record("6.12.107", {"CONFIG_NET": "y", "CONFIG_GENERIC_PTDUMP": "y"})


def now(release: str, **options: str) -> Record:
    return Record(release, {f"CONFIG_{name}": value for name, value in options.items()})


def judge(resolved: Record) -> Comparison:
    return record.compare(RECORDED, resolved, ASKED)


def test_what_comes_out_as_recorded_holds() -> None:
    assert judge(now("6.12.107", NET="y", GENERIC_PTDUMP="y")) == Comparison()
    assert judge(now("6.12.117", NET="y", GENERIC_PTDUMP="y")) == Comparison()


def test_on_the_recorded_release_every_difference_is_a_failure() -> None:
    comparison = judge(now("6.12.107", NET="y", ARCH_HAS_PTDUMP="y"))

    assert comparison.failures == (
        "CONFIG_ARCH_HAS_PTDUMP: recorded n, now y",
        "CONFIG_GENERIC_PTDUMP: recorded y, now n",
    )
    assert comparison.differences == ()


@pytest.mark.parametrize("release", ["6.12.106", "6.12.117", "6.12.117-rc1"])
def test_on_another_release_what_nobody_asks_for_may_differ(release: str) -> None:
    comparison = judge(now(release, NET="y", ARCH_HAS_PTDUMP="y"))

    assert comparison.failures == ()
    assert comparison.differences == (
        Difference("CONFIG_ARCH_HAS_PTDUMP", "n", "y"),
        Difference("CONFIG_GENERIC_PTDUMP", "y", "n"),
    )


@pytest.mark.parametrize("release", ["6.12.107", "6.12.117"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "CONFIG_NET: asked for y, got n  (core.config:1)"),
        ({"NET": "y", "MODULES": "y"}, "CONFIG_MODULES: asked for n, got y"),
    ],
)
def test_a_request_holds_on_every_release(
    release: str, options: dict[str, str], says: str
) -> None:
    failures = judge(now(release, GENERIC_PTDUMP="y", **options)).failures

    assert any(failure.startswith(says) for failure in failures)


def test_a_record_without_a_request_is_out_of_date_on_every_release() -> None:
    new = Request("CONFIG_INET", "y", "internet", Path("core.config"), 3)
    resolved = now("6.12.117", NET="y", GENERIC_PTDUMP="y", INET="y")

    comparison = record.compare(RECORDED, resolved, [*ASKED, new])

    assert comparison.failures == ("CONFIG_INET: recorded n, now y",)


def test_a_record_of_another_series_says_nothing() -> None:
    (failure,) = judge(now("6.13.1", NET="y", GENERIC_PTDUMP="y")).failures

    assert failure == "recorded of Linux 6.12.107, which is no 6.13"


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "some.config"
    path.write_text(record.render(RECORDED))

    assert record.read(path) == RECORDED


def test_the_programs_of_this_host_are_not_recorded() -> None:
    config = (
        'CONFIG_NET=y\nCONFIG_CC_VERSION_TEXT="gcc"\nCONFIG_GCC_VERSION=120200\n'
        "CONFIG_AS_AVX512=y\nCONFIG_PAHOLE_VERSION=130\nCONFIG_RUSTC_VERSION=108501\n"
        "CONFIG_RUST_IS_AVAILABLE=y\n# CONFIG_RUST is not set\n"
        "CONFIG_CC_OPTIMIZE_FOR_SIZE=y\n"
    )

    kept = record.portable("6.12.117", config).options

    assert list(kept) == ["CONFIG_NET", "CONFIG_CC_OPTIMIZE_FOR_SIZE"]


@pytest.mark.parametrize("text", [None, "# Written by: hand\nCONFIG_NET=y\n"])
def test_what_is_no_record_is_refused_with_the_cure(
    text: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "some.config"
    if text is not None:
        path.write_text(text)

    with pytest.raises(BoxliteError) as refused:
        record.read(path)

    assert "boxlite kernel config --write" in (refused.value.hint or "")


@pytest.fixture
def resolved_as(source: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return what makes Kconfig answer with the record and one more option.

    Its argument goes behind the recorded point release, which it returns.
    """
    declared = catalogue.load(source / "guest-kernel-config")
    path = declared.resolved_path(declared.select())

    def answer(suffix: str) -> str:
        recorded = record.read(path).release
        config = path.read_text() + "CONFIG_NEW=y\n"
        resolved = kernel.Resolved(recorded + suffix, config)
        monkeypatch.setattr(kernel, "configuration", lambda *_: resolved)
        return recorded

    monkeypatch.setenv("BOXLITE_SOURCE", str(source))
    return answer


def check() -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["kernel", "config", "--check"])
    return int(left.value.code or 0)


def test_check_fails_with_what_differs_on_the_recorded_release(
    resolved_as: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    resolved_as("")

    assert check() == ExitCode.FAILURE
    assert "as recorded:\n  CONFIG_NEW: recorded n, now y\n" in capsys.readouterr().err


def test_check_prints_what_differs_on_another_release(
    resolved_as: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = resolved_as(".1")

    assert check() == ExitCode.OK
    out, err = capsys.readouterr()
    assert out == "CONFIG_NEW: recorded n, now y\n"
    assert f"recorded of Linux {recorded}, this is {recorded}.1: " in err
