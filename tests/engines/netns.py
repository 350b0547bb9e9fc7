# SPDX-License-Identifier: Apache-2.0
"""A network namespace per engine pair, and sockets inside it.

Each dockerd owns a bridge, addresses and iptables chains under fixed names;
in a namespace of its own it cannot meet the host's or another pair's, and
everything it made goes away with the namespace. For its containers this
namespace is "the host".
"""

import ctypes
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.engines import command

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NetworkNamespace:
    """A named network namespace with its loopback up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name

    def inside(self, action: Callable[[], T]) -> T:
        """Call ``action`` in a thread that has entered the namespace.

        A socket stays in the namespace it was made in, so what ``action``
        returns can be used from anywhere.
        """
        values: list[T] = []
        failures: list[BaseException] = []

        def enter() -> None:
            try:
                with self.path.open("rb") as file:
                    if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns", str(self.path))
                values.append(action())
            except BaseException as failure:  # carried over to the caller
                failures.append(failure)

        thread = threading.Thread(target=enter, name=f"netns-{self.name}")
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return values[0]

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Return an IPv4 socket of this namespace."""
        return self.inside(lambda: socket.socket(socket.AF_INET, kind))

    def links(self) -> set[str]:
        """Return the names of the network interfaces in the namespace."""
        return set(self.inside(lambda: [name for _, name in socket.if_nameindex()]))

    def argv(self) -> list[str]:
        """Return the words that start a program inside, in our mount namespace."""
        return ["nsenter", f"--net={self.path}", "--"]


@contextmanager
def network_namespace(name: str) -> Iterator[NetworkNamespace]:
    """Make a network namespace; delete it when the block is over."""
    namespace = NetworkNamespace(name)
    command.run(["ip", "netns", "add", name]).ok()
    try:
        command.run([*namespace.argv(), "ip", "link", "set", "lo", "up"]).ok()
        yield namespace
    finally:
        command.run(["ip", "netns", "delete", name]).ok()
