# SPDX-License-Identifier: Apache-2.0
"""containerd without Docker, through ``ctr``.

Owns: the translation of Docker's words into ctr's, as far as ctr has them. A
run has a containerd namespace of its own, so that all in it is the run's. ctr
gives containers no network but the loopback and no writable copies of the
host's files.
"""

import re
import time
from collections.abc import Sequence
from typing import ClassVar

from boxlite_runtime import process
from boxlite_runtime.conformance import terminal
from boxlite_runtime.conformance.case import Step
from boxlite_runtime.conformance.engines.engine import (
    TIMEOUT,
    Outcome,
    Translate,
    Unknown,
    lines,
    split_flags,
)
from boxlite_runtime.conformance.images import Archive
from boxlite_runtime.errors import BoxliteError

NAMESPACE = "boxlite-conformance-"
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _size(text: str) -> str:
    number, unit = re.fullmatch(r"(\d+)([kmg]?)", text.lower()).groups()  # type: ignore[union-attr]
    return str(int(number) * UNITS[unit])


def _capability(name: str) -> str:
    upper = name.upper()
    if upper == "ALL":
        raise Unknown("all capabilities at once")
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"


def _bind(text: str) -> list[str]:
    source, target, *options = text.split(":")
    if not source.startswith("/") or not target:
        raise Unknown("a named volume")
    how = ":".join(["rbind", "ro" if "ro" in options else "rw"])
    return ["--mount", f"type=bind,src={source},dst={target},options={how}"]


def _tmpfs(text: str) -> list[str]:
    target, _, options = text.partition(":")
    how = ":".join(["noexec", "nosuid", "nodev", *filter(None, options.split(","))])
    return ["--mount", f"type=tmpfs,src=tmpfs,dst={target},options={how}"]


#: Docker's flag -> how many words it takes, and what it is with ctr.
RUN: dict[str, tuple[int, Translate]] = {
    "--rm": (0, lambda _: ["--rm"]),
    "-d": (0, lambda _: ["--detach"]),
    "--detach": (0, lambda _: ["--detach"]),
    "-t": (0, lambda _: ["--tty"]),
    "-i": (0, lambda _: []),
    "-it": (0, lambda _: ["--tty"]),
    "-e": (1, lambda value: ["--env", value]),
    "--env": (1, lambda value: ["--env", value]),
    "-w": (1, lambda value: ["--cwd", value]),
    "--workdir": (1, lambda value: ["--cwd", value]),
    "-u": (1, lambda value: ["--user", value]),
    "--user": (1, lambda value: ["--user", value]),
    "--hostname": (1, lambda value: ["--hostname", value]),
    "--read-only": (0, lambda _: ["--read-only"]),
    "--privileged": (0, lambda _: ["--privileged"]),
    "--cap-add": (1, lambda value: ["--cap-add", _capability(value)]),
    "--cap-drop": (1, lambda value: ["--cap-drop", _capability(value)]),
    "--memory": (1, lambda value: ["--memory-limit", _size(value)]),
    "--cpus": (1, lambda value: ["--cpus", value]),
    "--label": (1, lambda value: ["--label", value]),
    "--annotation": (1, lambda value: ["--annotation", value]),
    "-v": (1, _bind),
    "--volume": (1, _bind),
    "--tmpfs": (1, _tmpfs),
}
EXEC: dict[str, tuple[int, Translate]] = {
    "-d": (0, lambda _: ["--detach"]),
    "-t": (0, lambda _: ["--tty"]),
    "-i": (0, lambda _: []),
    "-it": (0, lambda _: ["--tty"]),
    "-w": (1, lambda value: ["--cwd", value]),
    "-u": (1, lambda value: ["--user", value]),
}
VERBS = {"run", "exec", "kill", "pause", "unpause", "state", "rm", "wait", "host"}

#: ctr may close an exec's output before it has read it, with runc as well: what
#: is executed stays until it was fetched.
LINGER = '"$@"; code=$?; sleep 0.3; exit $code'


def translated(
    flags: Sequence[str], table: dict[str, tuple[int, Translate]]
) -> list[str]:
    """Return Docker's flags as ctr's. Raises ``Unknown``."""
    arity = {name: words for name, (words, _) in table.items()}
    return [
        word
        for name, value in split_flags(flags, arity)
        for word in table[name][1](value)
    ]


class Ctr:
    """One containerd at ``address``, or where ctr looks by itself."""

    name = "ctr"
    known_as: ClassVar = {"runc": "io.containerd.runc.v2"}

    def __init__(self, address: str | None, run: str) -> None:
        self._address = ["--address", address] if address else []
        self._namespace = NAMESPACE + run
        self._references: dict[str, str] = {}
        self._execs = 0

    def argv(self, *words: str, namespace: str | None = None) -> list[str]:
        """Return the command line of ``ctr WORDS``."""
        where = namespace or self._namespace
        return ["ctr", *self._address, "--namespace", where, *words]

    def call(
        self,
        *words: str,
        input: str | None = None,
        timeout: float = TIMEOUT,
        namespace: str | None = None,
    ) -> Outcome:
        """Run ``ctr WORDS`` to its end, whatever it is."""
        argv = self.argv(*words, namespace=namespace)
        try:
            done = process.run(argv, input=input, check=False, timeout=timeout)
        except BoxliteError as late:
            return Outcome(-1, "", late.message)
        # ctr's own log stands between what the container writes.
        said = [
            line
            for line in done.stderr.splitlines(keepends=True)
            if not line.startswith('time="')
        ]
        return Outcome(done.returncode, done.stdout, "".join(said))

    def missing(self) -> str | None:
        """Return why no containerd can be asked, or ``None``."""
        said = self.call("version", timeout=30)
        if said.exit == 0:
            return None
        reason = (lines(said.stderr) or ["no answer"])[-1]
        return f"ctr: {reason} (apt-get install containerd, and start it)"

    def version(self) -> str:
        """Return containerd's version."""
        found = re.findall(r"Version:\s+(\S+)", self.call("version").stdout)
        return f"containerd {found[-1]}" if found else "containerd"

    def known(self, runtime: str) -> str:
        """Return the name of the shim, the only one containerd knows."""
        if "." in runtime:
            return runtime
        return self.known_as.get(runtime, f"io.containerd.{runtime}.v1")

    def load(self, name: str, archive: Archive) -> None:
        """Import an archive into the run's namespace."""
        process.run(self.argv("image", "import", str(archive.path)))
        self._references[name] = f"docker.io/{archive.reference}"

    def lacks(self, step: Step) -> str | None:
        """Return the verb or flag ctr has no word for."""
        if step.verb not in VERBS:
            return f"ctr has no {step.verb}"
        if step.keys:
            return "ctr is not typed into"
        if step.stdin is not None:
            # An end that it reads before the task is there is not passed on.
            return "ctr may lose the end of stdin"
        try:
            if step.verb == "run":
                translated(step.flags, RUN)
            elif step.verb == "exec":
                translated(step.flags, EXEC)
            elif step.verb == "kill":
                _signal(step.words)
        except Unknown as unknown:
            return f"ctr has no {unknown}"
        if step.verb == "run" and not step.words:
            return "ctr has no command of the image's beside flags"
        return None

    def volume(self, name: str) -> None:
        """containerd has no volumes; ``lacks`` keeps the cases away."""
        raise BoxliteError("containerd has no volumes")

    def network(self, name: str) -> None:
        """containerd has no networks; ``lacks`` keeps the cases away."""
        raise BoxliteError("containerd has no networks")

    def do(self, step: Step, container: str, runtime: str) -> Outcome:
        """Type one step in ctr's words."""
        if step.verb in {"run", "exec"}:
            start = self._run if step.verb == "run" else self._exec
            return start(step, container, runtime)
        if step.verb == "kill":
            signal = _signal(step.words)
            return self.call("task", "kill", "--signal", signal, container)
        if step.verb in {"rm", "wait"}:
            return (self._rm if step.verb == "rm" else self._wait)(container)
        if step.verb == "state":
            return Outcome(0, f"{self._status(container)}\n")
        verb = "resume" if step.verb == "unpause" else step.verb
        return self.call("task", verb, container)

    def _run(self, step: Step, container: str, runtime: str) -> Outcome:
        flags = translated(step.flags, RUN)
        image = self._references[step.image]
        words = ["run", "--runtime", runtime, *flags, image, container, *step.words]
        if "--tty" in flags:
            return terminal.converse(self.argv(*words), ())
        return self.call(*words, input=step.stdin)

    def _exec(self, step: Step, container: str, _: str) -> Outcome:
        self._execs += 1
        flags = translated(step.flags, EXEC)
        words = ["task", "exec", "--exec-id", f"e{self._execs}", *flags, container]
        if "--detach" in flags:
            return self.call(*words, *step.words)
        if "--tty" in flags:
            return terminal.converse(self.argv(*words, *step.words), ())
        return self.call(
            *words, "sh", "-c", LINGER, "sh", *step.words, input=step.stdin
        )

    def _status(self, container: str) -> str:
        for line in self.call("task", "list").stdout.splitlines()[1:]:
            name, _, status = line.split()
            if name == container:
                return status
        return "absent"

    def _wait(self, container: str) -> Outcome:
        deadline = time.monotonic() + TIMEOUT
        while self._status(container) not in {"STOPPED", "absent"}:
            if time.monotonic() > deadline:
                return Outcome(-1, "", "it did not end")
            time.sleep(0.2)
        argv = self.argv("task", "delete", container)
        said = process.run(argv, check=False, timeout=TIMEOUT).stderr
        code = re.search(r"exit with non-zero exit code (\d+)", said)
        return Outcome(0, f"{code[1] if code else 0}\n")

    def _rm(self, container: str) -> Outcome:
        self.call("task", "kill", "--signal", "KILL", container)
        self.call("task", "delete", "--force", container)
        return self.call("container", "delete", container)

    def remove(
        self,
        containers: Sequence[str],
        volume: str | None,
        network: str | None,
        image: str | None,
    ) -> None:
        """Remove a unit's containers, whatever of them there is."""
        for container in containers:
            self._rm(container)

    def sweep(self, run: str) -> None:
        """Empty a run's namespace and remove it."""
        namespace = NAMESPACE + run
        listed = self.call("container", "list", "--quiet", namespace=namespace)
        for container in lines(listed.stdout):
            for words in (
                ("task", "kill", "--signal", "KILL", container),
                ("task", "delete", "--force", container),
                ("container", "delete", container),
            ):
                self.call(*words, namespace=namespace)
        images = lines(self.call("image", "list", "-q", namespace=namespace).stdout)
        if images:
            self.call("image", "rm", "--sync", *images, namespace=namespace)
        self.call("namespace", "remove", namespace, namespace=namespace)

    def runs(self) -> set[str]:
        """Return the runs whose namespace is there."""
        listed = lines(self.call("namespace", "list", "-q").stdout)
        return {n.removeprefix(NAMESPACE) for n in listed if n.startswith(NAMESPACE)}


def _signal(words: Sequence[str]) -> str:
    flags = dict(split_flags(words, {"--signal": 1, "-s": 1}))
    return flags.get("--signal") or flags.get("-s") or "KILL"
