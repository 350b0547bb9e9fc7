# SPDX-License-Identifier: Apache-2.0
"""Runs a command that has a time limit, for a part of ``install/test``.

    python -m tests.limit SECONDS COMMAND...

Owns: the process group of the command, and whatever comes of it. Tests start
daemons, shims and machines, each in a session of its own, which a signal to the
group does not reach. This process is the subreaper of them all: an orphan becomes
its child, and none is left when it has no child. Does not own: what is run, and
how long it may take.

Order when the time is up, or a signal asks for the end: SIGTERM to the group,
on which tests take down what they brought up -> the group is gone, or has had
``GRACE`` -> SIGKILL to all that is left. The last line says why and of what.

The exit code is the command's, ``EXPIRED``, or 128 and the signal.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

#: Exit code of a command whose time was up, as coreutils' timeout has it.
EXPIRED = 124
#: Seconds that tests have to take down what they brought up.
GRACE = 60.0
#: Seconds in which the kernel ends what was killed, unless it hangs itself.
KILLED = 30.0
#: What asks for the end, here and at the terminal.
ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WATCHED = {signal.SIGCHLD, *ASKED}
#: From linux/prctl.h.
PR_SET_CHILD_SUBREAPER = 36


class Family:
    """A command, and all processes that come of it."""

    def __init__(self, argv: list[str]) -> None:
        """Start the command in a group of its own."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "cannot become a subreaper")
        # Blocked, and waited for: none can come between a look and the wait.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        self.leader = os.posix_spawnp(
            argv[0], argv, os.environ, setpgroup=0, setsigmask=mask
        )
        self.code: int | None = None
        self.childless = False

    def reap(self) -> None:
        """Take the exit codes of all that has ended."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == self.leader:
                    self.code = os.waitstatus_to_exitcode(status)
                if pid == 0:
                    return
        self.childless = True

    def has_no_group(self) -> bool:
        """Tell whether the command's group is gone."""
        try:
            os.killpg(self.leader, 0)
        except ProcessLookupError:
            return True
        return False

    def wait(self, done: Callable[[], bool], seconds: float) -> int | None:
        """Wait for ``done``; return a signal that came instead, 0 if none did."""
        deadline = time.monotonic() + seconds
        while True:
            self.reap()
            if done():
                return None
            left = deadline - time.monotonic()
            info = signal.sigtimedwait(WATCHED, left) if left > 0 else None
            if info is None:
                return 0
            if info.si_signo in ASKED:
                return info.si_signo

    def end(self) -> list[str]:
        """End all of them; return which did not end of themselves."""
        with suppress(ProcessLookupError):
            os.killpg(self.leader, signal.SIGTERM)
        self.wait(self.has_no_group, GRACE)
        stubborn = [name(pid) for pid in descendants()]

        # Whoever dies may leave an orphan that was not seen: looked at again.
        def killed() -> bool:
            for pid in descendants():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return self.childless

        self.wait(killed, KILLED)
        return stubborn


def main(words: list[str]) -> int:
    """Run the command; return the exit code."""
    if len(words) < 2:
        sys.stderr.write("usage: python -m tests.limit SECONDS COMMAND...\n")
        return 2
    seconds, argv = float(words[0]), words[1:]
    family = Family(argv)
    came = family.wait(lambda: family.code is not None, seconds)
    if came is None:
        code = family.code or 0
        return code if code >= 0 else 128 - code
    running = [name(pid) for pid in descendants()]
    stubborn = family.end()
    why = signal.Signals(came).name if came else f"not over after {seconds:g} s"
    lines = [f"at work then: {line}" for line in running]
    lines += [f"had to be killed: {line}" for line in stubborn]
    left = [name(pid) for pid in descendants()]
    lines += [f"cannot be killed: {line}" for line in left]
    sys.stderr.write("\n".join([*lines, f"gave up: {why}", ""]))
    return 128 + came if came else EXPIRED


def descendants() -> list[int]:
    """Return the processes below this one, zombies too, parents first."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents():
        children.setdefault(parent, []).append(pid)
    found = list(children.get(os.getpid(), ()))
    for pid in found:
        found += children.get(pid, ())
    return found


def parents() -> Iterator[tuple[int, int]]:
    """Yield each process of this host with its parent."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # One that ends meanwhile is gone, or refuses to be read.
            with suppress(FileNotFoundError, ProcessLookupError):
                stat = (entry / "stat").read_text()
                # Behind the name, which is in brackets and may hold brackets.
                yield int(entry.name), int(stat.rpartition(")")[2].split()[1])


def name(pid: int) -> str:
    """Return what a process is called, on one line."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return f"{pid}"
    words = line.replace(b"\0", b" ").decode(errors="replace").split()
    return f"{pid} {' '.join(words)[:100]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
