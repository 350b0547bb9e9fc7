# SPDX-License-Identifier: Apache-2.0
"""A guest in which nothing happens is left asleep by its own kernel.

Counted in the guest, so it holds without KVM too; what that means in exits is
``test_exits``'s.
"""

from itertools import pairwise

import pytest

from tests.engines.docker import Docker
from tests.engines.images import IMAGE

#: Seconds of the guest before timers are counted. A young kernel renews its random
#: numbers often.
REST = 30
#: Seconds of the guest in which timers are counted, and how often that is done.
SECONDS = 30
WINDOWS = 2
#: Seconds for all of it, on a busy host.
LIMIT = 200
#: Timer interrupts of two CPUs in as long, at most. Ours takes 110, of which 60 are
#: averages of pressure and what wakes after them. With the kernel's own settings there
#: are 100 more.
MOST = 150

pytestmark = [pytest.mark.boxlite_only, pytest.mark.timeout(LIMIT + 60)]


def timers(line: str) -> int:
    """Return the sum over the CPUs of the line LOC of /proc/interrupts."""
    return sum(int(word) for word in line.split() if word.isdecimal())


def test_an_idle_guest_is_hardly_ever_woken(docker: Docker) -> None:
    # Nothing but the shell itself: each new process would take timers of its own.
    script = (
        "mkfifo /wait; exec 3<>/wait; "
        "look() { while read -r line; do case $line in LOC:*) echo $line;; esac; done"
        " </proc/interrupts; }; "
        "rest() { read -r -t $1 _ <&3; }; "
        f"rest {REST}; for _ in $(seq {WINDOWS}); do look; rest {SECONDS}; done; look"
    )

    words = ("--rm", "--security-opt=systempaths=unconfined", IMAGE, "sh", "-c", script)
    shown = docker.run(*words, timeout=LIMIT).ok()

    counted = [timers(line) for line in shown.lines]
    each = [after - before for before, after in pairwise(counted)]
    assert len(each) == WINDOWS, shown.text
    # The least: a host that is busy makes the guest take longer over each look.
    assert min(each) <= MOST, f"timer interrupts in each {SECONDS} s: {each}"
