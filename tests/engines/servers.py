# SPDX-License-Identifier: Apache-2.0
"""Servers for containers to reach, most on a pair's bridge; and clients of theirs.

Owns: threads that answer until the block is over. Internet sockets belong to the
pair's network namespace, where the bridge address is the only one listened on.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.engines.netns import NetworkNamespace
from tests.engines.waiting import allowed

#: Seconds a peer may say nothing.
PATIENCE = 20.0


@contextmanager
def tcp(
    network: NetworkNamespace, address: str, talk: Callable[[socket.socket], None]
) -> Iterator[int]:
    """Serve TCP at ``address`` with ``talk`` per connection; yield the port."""
    with network.socket() as listener:
        listener.bind((address, 0))
        listener.listen()

        def accept() -> None:
            with suppress(OSError):  # the listener was shut down: the test is over
                while True:
                    peer, _ = listener.accept()
                    peer.settimeout(allowed(PATIENCE))
                    with peer:
                        talk(peer)

        with _thread(accept, listener):
            yield listener.getsockname()[1]


@contextmanager
def udp(
    network: NetworkNamespace,
    address: str,
    answer: Callable[[bytes], bytes],
    port: int = 0,
) -> Iterator[int]:
    """Answer each datagram at ``address``; yield the port."""
    with network.socket(socket.SOCK_DGRAM) as here:
        here.bind((address, port))
        here.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    data, peer = here.recvfrom(65536)
                    here.sendto(answer(data), peer)

        thread = threading.Thread(target=serve, name="udp")
        thread.start()
        try:
            yield here.getsockname()[1]
        finally:
            over.set()
            thread.join()


@contextmanager
def _thread(target: Callable[[], None], listener: socket.socket) -> Iterator[None]:
    thread = threading.Thread(target=target, name="tcp")
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def everything(peer: socket.socket) -> bytes:
    """Read until the peer has no more to say."""
    parts = []
    while part := peer.recv(65536):
        parts.append(part)
    return b"".join(parts)


def send_back(peer: socket.socket) -> None:
    """Answer with all that was said, once it was all said."""
    peer.sendall(everything(peer))


def dns_answer(address: str) -> Callable[[bytes], bytes]:
    """Return what answers every question about a name with ``address``."""

    def answer(query: bytes) -> bytes:
        question = query[12 : query.index(b"\0", 12) + 5]
        # Answers for AAAA hold no record: the name has an IPv4 address only.
        is_a = question[-4:-2] == b"\0\1"
        header = query[:2] + struct.pack(">HHHHH", 0x8580, 1, int(is_a), 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)
        return header + question + (record if is_a else b"")

    return answer


def dns_denial(query: bytes) -> bytes:
    """Answer that there is no such name, whatever it is."""
    question = query[12 : query.index(b"\0", 12) + 5]
    return query[:2] + struct.pack(">HHHHH", 0x8583, 1, 0, 0, 0) + question


@contextmanager
def unix(path: Path, talk: Callable[[socket.socket], None]) -> Iterator[None]:
    """Serve a Unix socket at ``path`` with ``talk`` per connection, side by side."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)

        def serve(peer: socket.socket) -> None:
            peer.settimeout(allowed(PATIENCE))
            with peer:
                talk(peer)

        def accept() -> None:
            with suppress(OSError):  # the listener was shut down: the test is over
                while True:
                    peer, _ = listener.accept()
                    threading.Thread(target=serve, args=(peer,)).start()

        with _thread(accept, listener):
            yield


def ask(
    network: NetworkNamespace,
    peer: tuple[str, int],
    data: bytes,
    kind: socket.SocketKind,
) -> bytes:
    """Send ``data`` to a container's published port and return the answer."""
    with network.socket(kind) as here:
        here.settimeout(allowed(PATIENCE))
        here.connect(peer)
        here.sendall(data)
        if kind == socket.SOCK_DGRAM:
            return here.recv(65536)
        here.shutdown(socket.SHUT_WR)
        return everything(here)
