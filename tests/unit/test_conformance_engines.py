# SPDX-License-Identifier: Apache-2.0
"""Docker's words in the words of other engines, and what these lack."""

import pytest

from boxlite_runtime.conformance.case import Keystroke, Step
from boxlite_runtime.conformance.engines import sdk_flags
from boxlite_runtime.conformance.engines.ctr import EXEC, RUN, Ctr, translated
from boxlite_runtime.conformance.engines.engine import Unknown


def test_flags_become_ctrs() -> None:
    flags = ["--memory", "40m", "--cap-add=net_admin", "-v", "/a:/b:ro", "--rm"]

    assert translated(flags, RUN) == [
        "--memory-limit", "41943040", "--cap-add", "CAP_NET_ADMIN",
        "--mount", "type=bind,src=/a,dst=/b,options=rbind:ro", "--rm",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "flags", [["--ipc", "host"], ["--cap-drop", "ALL"], ["-v", "named:/b"]]
)
def test_what_ctr_has_no_word_for_is_unknown(flags: list[str]) -> None:
    with pytest.raises(Unknown):
        translated(flags, RUN)
    with pytest.raises(Unknown):
        translated(["--env", "A=1"], EXEC)


def test_ctr_lacks_what_it_cannot_do_and_nothing_else() -> None:
    ctr = Ctr(None, "p1t1")

    assert ctr.lacks(Step("attach"))
    assert ctr.lacks(Step("run", words=("cat",), stdin="x"))
    assert ctr.lacks(Step("run", words=("sh",), keys=(Keystroke("", "x"),)))
    assert ctr.lacks(Step("run", words=()))
    assert ctr.lacks(Step("run", words=("true",), flags=("--rm",))) is None
    assert ctr.known("runc") == "io.containerd.runc.v2"
    assert ctr.known("boxlite") == "io.containerd.boxlite.v1"


def test_flags_become_words_of_the_sdk() -> None:
    flags = ["--cpus", "1.5", "-e", "A=1", "-e", "B=2", "--sysctl", "a.b=c", "--init"]

    assert sdk_flags.keywords(flags, sdk_flags.FLAGS) == {
        "nano_cpus": 1_500_000_000,
        "environment": ["A=1", "B=2"],
        "sysctls": {"a.b": "c"},
        "init": True,
    }
    with pytest.raises(Unknown):
        sdk_flags.keywords(["--cidfile", "x"], sdk_flags.FLAGS)
