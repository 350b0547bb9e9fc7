# SPDX-License-Identifier: Apache-2.0
"""What a container's first process is given."""

import pytest

from tests.engines.images import EXTRA_GROUP, IMAGE, TESTER
from tests.system.both import Both

SHOW = (
    r"""printf '<%s>' "$0" "$@"; echo; pwd; id; env | sort; echo $$; umask; hostname"""
)


def test_arguments_environment_directory_user_and_groups_are_as_asked(
    both: Both,
) -> None:
    result = both.run(
        "--entrypoint", "/bin/sh",
        "--hostname", "named",
        "--env", "ONE=1",
        "--env", "TWO=with space\nand line",
        "--env", "EMPTY=",
        "--workdir", "/srv/made/here",
        "--user", TESTER,
        "--group-add", "extra",
        "--group-add", "777",
        IMAGE,
        "-c", SHOW, "zero", "", "two words", "ünïcode\n", "*", "$HOME",
    )  # fmt: skip
    lines = result.ok().lines
    assert lines[0] == "<zero><><two words><ünïcode"
    assert lines[2] == "/srv/made/here"
    assert lines[3].startswith("uid=1000(tester) gid=1000(tester) groups=")
    assert f"{EXTRA_GROUP}(extra)" in lines[3] and "777" in lines[3]
    assert lines[-3:] == ["1", "0022", "named"]


def test_without_options_it_is_root_in_the_root_directory(both: Both) -> None:
    lines = both.sh(SHOW, "--hostname", "x").ok().lines
    assert lines[1] == "/"
    assert lines[2].startswith("uid=0(root) gid=0(root)")
    assert "HOME=/root" in lines


@pytest.mark.parametrize(
    "user",
    # The engine looks names up in the image's files.
    ["1234", "1234:5678", pytest.param("tester:users", marks=pytest.mark.storage)],
)
def test_a_user_may_be_a_number_and_name_its_group(both: Both, user: str) -> None:
    lines = both.sh("id; echo $HOME", "--user", user).ok().lines
    assert lines[0].startswith("uid=")


@pytest.mark.parametrize("user", ["root", TESTER])
def test_signals_capabilities_and_descriptors_are_clean(both: Both, user: str) -> None:
    # As PID 1 and without a shell, which would set signals of its own.
    pattern = "^(Uid|Gid|Groups|SigBlk|SigIgn|SigCgt|Cap.*|NoNewPrivs|Seccomp):"
    status = both.run("--user", user, IMAGE, "grep", "-E", pattern, "/proc/self/status")
    assert "Seccomp:\t2" in status.ok().lines
    descriptors = both.run("--user", user, IMAGE, "ls", "/proc/self/fd")
    # The fourth is the directory that ls itself opened.
    assert descriptors.ok().lines == ["0", "1", "2", "3"]


def test_an_argument_and_a_variable_of_100_kilobytes_arrive_whole(both: Both) -> None:
    long = "x" * 100_000
    result = both.run(
        "--env", f"LONG={long}", IMAGE, "sh", "-c", "echo ${#1} ${#LONG}", "sh", long
    )
    assert result.ok().text == "100000 100000"
