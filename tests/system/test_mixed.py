# SPDX-License-Identifier: Apache-2.0
"""Containers that take all they can do not keep another from answering."""

from contextlib import ExitStack

from tests.engines.docker import Docker
from tests.system.both import Both

#: Seconds a command may take beside them. Alone it takes a third of one.
PATIENCE = 20.0
#: Writes without end; the engine keeps a little of it.
FLOOD = ("--log-opt", "max-size=1m"), ("yes", "flood")
#: Computes without end.
BURN = (), ("sh", "-c", "while :; do :; done")
#: Makes and removes files without end.
CHURN = (), (
    "sh", "-c", "while :; do dd if=/dev/zero of=/f bs=64k count=16 2>/dev/null; done"
)  # fmt: skip


def test_exec_answers_beside_a_flood_a_burner_and_a_churner(both: Both) -> None:
    def scenario(docker: Docker) -> list[tuple[int, bytes]]:
        with ExitStack() as stack:
            for options, argv in (FLOOD, BURN, CHURN):
                stack.enter_context(docker.container(*options, argv=argv))
            third = stack.enter_context(docker.container())
            answers = [
                docker.exec(third, "sh", "-c", f"echo {n}; exit {n}", timeout=PATIENCE)
                for n in range(8)
            ]
        return [(answer.code, answer.stdout) for answer in answers]

    assert both.same(scenario) == [(n, b"%d\n" % n) for n in range(8)]


def test_a_flood_that_is_killed_leaves_the_rest_alone(both: Both) -> None:
    def scenario(docker: Docker) -> tuple[int, bytes]:
        options, argv = FLOOD
        with docker.container() as other, docker.container(*options, argv=argv) as one:
            docker("kill", one).ok()
            code = docker.wait(one)
            return code, docker.exec(other, "echo", "here", timeout=PATIENCE).stdout

    assert both.same(scenario) == (137, b"here\n")
