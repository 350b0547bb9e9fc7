# SPDX-License-Identifier: Apache-2.0
"""What ``install/packages.sh`` asks a distribution for, on several of them.

Each host is a shell in which the functions that look at one answer for another;
what would be run is printed instead.
"""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: ``asked`` holds the candidates of apt, one ``name version`` a line.
HOST = """\
set -euo pipefail
. install/steps.sh
. install/packages.sh
candidate() { sed -n "s/^$1 //p" <<<"$asked"; }
have_package() { [[ " ${installed:-} " == *" $1 "* ]]; }
have_engine() { [[ -n ${engine:-} ]]; }
is_ubuntu() { [[ -n ${ubuntu:-} ]]; }
refuse_old_docker_ce() { :; }
apt-get() { :; }
use_trixie() { echo "use trixie"; asked+=$'\\nlinux-source-6.12 6.12.117-1'; }
long() { shift 2; echo "run: $*"; }
begin() { shift 2; echo "run: $*"; }
finish() { return "${fails:-0}"; }
"""
BOOKWORM = """\
qemu-system-x86 1:7.2+dfsg-7
docker.io 20.10.24+dfsg1-1
docker-cli (none)
linux-source-6.12 (none)
linux-source-6.1 6.1.192-2
cpio 2.13
"""
TRIXIE = """\
qemu-system-x86 1:10.0.13+ds-0
docker.io 26.1.5+dfsg1-9
docker-cli 26.1.5+dfsg1-9
linux-source-6.12 6.12.117-1
linux-source-6.1 (none)
cpio 2.15
"""
#: The next Debian has a kernel of its own.
FORKY = TRIXIE.replace("linux-source-6.12 6.12.117-1", "linux-source-6.12 (none)")
NOBLE = """\
qemu-system-x86 1:8.2.2+ds-0ubuntu1
docker.io 28.2.2-0ubuntu1
"""
JAMMY = NOBLE.replace("1:8.2.2+ds-0ubuntu1", "1:6.2+dfsg-2ubuntu6")

ENGINES = "apt-get install --yes --no-install-recommends"
ALL = "linux-source-6.12 qemu-system-x86 virtiofsd containerd docker-cli docker.io runc"


def on(asked: str, call: str, **variables: str) -> tuple[int, list[str]]:
    """Call a function on a host; return its exit code and what it would do."""
    done = subprocess.run(
        ["bash", "-c", f"{HOST}{call}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "logs": "/nonexistent", "asked": asked}
        | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def engines(asked: str, **variables: str) -> tuple[int, list[str]]:
    """Return what installing engines comes to, the build tools being there."""
    return on(
        asked, 'installed+=" ${build_packages[*]}"; install_packages', **variables
    )


def test_debian_13_has_everything_itself() -> None:
    assert engines(TRIXIE) == (0, ["run: apt-get update", f"run: {ENGINES} {ALL}"])


def test_debian_12_takes_engines_and_qemu_from_13() -> None:
    code, does = engines(BOOKWORM)

    assert code == 0
    assert does[1:] == ["use trixie", f"run: {ENGINES} --target-release trixie {ALL}"]


def test_a_later_debian_takes_the_kernels_source_alone_from_13() -> None:
    code, does = engines(FORKY)

    assert code == 0
    assert does[1:] == ["use trixie", f"run: {ENGINES} {ALL}"]


def test_ubuntu_has_the_docker_command_in_docker_io() -> None:
    code, does = engines(NOBLE, ubuntu="yes")

    assert code == 0
    assert does[1:] == [
        "use trixie",
        f"run: {ENGINES} {ALL.replace(' docker-cli', '')}",
    ]


def test_an_old_ubuntu_is_refused_before_debians_libc_gets_there() -> None:
    code, does = engines(JAMMY, ubuntu="yes")

    assert code == 3
    assert does[-1] == "Ubuntu has them from 24.04 on."
    assert "use trixie" not in does


def test_a_host_that_has_everything_asks_nothing() -> None:
    assert engines(TRIXIE, installed=ALL, engine="yes") == (0, [])


def for_tests(asked: str, **variables: str) -> tuple[int, list[str]]:
    """Return what is installed for tests, by root or by somebody else."""
    return on(asked, "install_test_packages", **variables)


def test_what_tests_need_is_installed_where_the_distribution_has_it() -> None:
    for asked, packages in (
        (BOOKWORM, "cpio linux-source-6.1"),
        (TRIXIE, "cpio"),
        (NOBLE, None),
    ):
        _, does = for_tests(asked)

        if os.geteuid() == 0 and packages:
            assert does[-1].endswith(f" apt-get {packages}")
        elif packages:
            assert does == [f"Not installed, so tests may be skipped: {packages}"]
        else:
            assert does == []


def test_what_tests_need_and_cannot_be_installed_is_a_failure_in_ci_alone() -> None:
    for ci, code in (("", 0), ("true", 3)):
        ended, does = for_tests(TRIXIE, fails="1", CI=ci)

        assert ended == code
        assert does[-1] == "Not installed, so tests may be skipped: cpio"


#: A cargo that is as old as Debian 13's unless another toolchain is chosen.
RUST = """
cargo() { case ${RUSTUP_TOOLCHAIN:-} in "$rust_toolchain") echo "cargo $rust_toolchain";;
    *) echo "cargo ${cargo:-1.85.0}";; esac; }
rustup() { echo "${toolchains:-}"; }
install_rust
"""


def test_a_rust_that_is_too_old_is_not_replaced_by_whatever_is_stable_today() -> None:
    code, does = on("", RUST)

    assert code == 0
    (install,) = does
    assert install.startswith("run: rustup toolchain install 1.")
    assert on("", RUST, cargo="1.99.0") == (0, [])
    assert on("", RUST, toolchains=f"{install.split()[4]}-x86_64") == (0, [])
