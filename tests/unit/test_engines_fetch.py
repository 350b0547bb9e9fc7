# SPDX-License-Identifier: Apache-2.0
"""How engine pairs are got on hosts that lack something, and from suites that move."""

import shutil
from pathlib import Path

import pytest

from tests.engines import fetch, programs
from tests.engines.command import Word
from tests.engines.programs import Unavailable


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a build cache of the test's own."""
    monkeypatch.setenv("BOXLITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let packages be had without a network; return the programs that were tried."""
    tried: list[str] = []

    def run(*argv: Word, **_: object) -> None:
        words = [str(word) for word in argv]
        if "download" in words:
            for package in words[words.index("download") + 1 :]:
                (Path(words[2]) / f"{package}_1_amd64.deb").touch()
        elif words[0] not in {"apt-get", "dpkg"}:
            tried.append(words[0].partition(".part/")[2])
            if words[0].endswith("/containerd"):
                raise Unavailable("version `GLIBC_2.99' not found")

    monkeypatch.setattr("tests.engines.debian.run", run)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return tried


def test_engines_that_do_not_run_here_are_not_kept(
    cache: Path, debian: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch.main(["forky"]) == 0

    assert debian == ["usr/sbin/dockerd", "usr/bin/containerd"]
    assert not programs.cache_directory("forky").exists()
    assert "cannot be had: forky: version `GLIBC_2.99'" in capsys.readouterr().err


@pytest.mark.parametrize("version", ["1.27.1", "1.26.0", "1.24.4", "1.19", None])
def test_the_next_debians_go_serves_where_the_hosts_is_too_old(
    version: str | None,
    cache: Path,
    debian: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if version is not None:
        (tmp_path / "go").write_text(
            f"#!/bin/sh\necho go version go{version} linux/x\n"
        )
        (tmp_path / "go").chmod(0o755)
    found = {"go": version and str(tmp_path / "go"), "dpkg": "/usr/bin/dpkg"}
    monkeypatch.setattr(shutil, "which", lambda name: found.get(name, "/bin/x"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    go = fetch._go()

    own = version in {"1.27.1", "1.26.0"}
    assert go == (
        "go" if own else cache / "engines/golang-1.26-go/usr/lib/go-1.26/bin/go"
    )
    assert debian == ([] if own else ["usr/lib/go-1.26/bin/go"])
