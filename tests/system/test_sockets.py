# SPDX-License-Identifier: Apache-2.0
"""A Unix socket of the host's that is a volume answers inside the container."""

import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import images, servers, settings
from tests.engines.docker import IDLE, Docker
from tests.engines.images import IMAGE
from tests.engines.waiting import until
from tests.system.both import Both, Inside

#: The test image's user that is not root.
TESTER = "1000:1000"
#: Where the container has the socket.
INSIDE = "/srv/service.sock"
NOT_STARTED = 125


def tell_peer(peer: socket.socket) -> None:
    """Say who asked, and the digest of what was said."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, gid = struct.unpack("3i", credentials)
    digest = hashlib.sha256(servers.everything(peer)).hexdigest()
    peer.sendall(f"{uid}:{gid} {digest}\n".encode())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Path]:
    """A service at a socket anybody may use."""
    path = tmp_path / "service.sock"
    with servers.unix(path, tell_peer):
        path.chmod(0o666)
        yield path


@pytest.fixture
def inside(both: Both, service: Path) -> Iterator[Inside]:
    """A container with the service under each runtime."""
    with both.containers(("--volume", f"{service}:{INSIDE}")) as running:
        yield running


@pytest.mark.core
def test_it_carries_every_byte_and_the_end_of_one_side(inside: Inside) -> None:
    # The service answers only once it has seen the end of what was said.
    result = inside.exec("probe", "unix", INSIDE, options=["-i"], stdin=images.blob())
    digest = hashlib.sha256(images.blob()).hexdigest()
    assert result.ok().text == f"0:0 {digest}"


def test_it_carries_every_byte_back(both: Both, tmp_path: Path) -> None:
    path = tmp_path / "blob.sock"
    with servers.unix(path, lambda peer: peer.sendall(images.blob())):
        result = both.sh(
            f"probe unix {INSIDE} </dev/null | sha256sum",
            "--mount", f"type=bind,source={path},target={INSIDE},readonly",
        )  # fmt: skip
    digest = hashlib.sha256(images.blob()).hexdigest()
    assert result.ok().text == f"{digest}  -"


def test_fifty_connections_at_once_are_apart(inside: Inside) -> None:
    script = (
        f"for i in $(seq 50); do echo $i | probe unix {INSIDE} >/tmp/$i & done; wait;"
        "for i in $(seq 50); do cat /tmp/$i; done"
    )
    lines = inside.sh(script).ok().lines
    digests = [hashlib.sha256(f"{i}\n".encode()).hexdigest() for i in range(1, 51)]
    assert lines == [f"0:0 {digest}" for digest in digests]


def test_the_service_sees_who_asks(inside: Inside) -> None:
    result = inside.exec("probe", "unix", INSIDE, options=["-i", "--user", TESTER])
    assert result.ok().text.startswith("1000:1000 ")


def test_owner_and_mode_decide_who_may_ask(inside: Inside, service: Path) -> None:
    def facts(docker: Docker, container: str) -> str:
        return docker.exec(container, "stat", "-c", "%F %u:%g %a", INSIDE).ok().text

    assert inside.same(facts) == "socket 0:0 666"
    del service


def test_a_socket_for_root_alone_refuses_others(both: Both, tmp_path: Path) -> None:
    path = tmp_path / "root.sock"
    with servers.unix(path, tell_peer):
        path.chmod(0o600)
        result = both.sh(
            f"probe unix {INSIDE} </dev/null",
            "--volume", f"{path}:{INSIDE}", "--user", TESTER,
        )  # fmt: skip
    assert result.code == 1 and "Permission denied" in result.errors


def test_a_group_may_ask_whose_socket_it_is(both: Both, tmp_path: Path) -> None:
    path = tmp_path / "group.sock"
    with servers.unix(path, tell_peer):
        os.chown(path, 0, 4321)
        path.chmod(0o660)
        result = both.sh(
            f"probe unix {INSIDE} </dev/null",
            "--volume", f"{path}:{INSIDE}", "--user", TESTER, "--group-add", "4321",
        )  # fmt: skip
    assert result.ok().text.startswith("1000:1000 ")


def test_a_service_that_is_gone_is_not_there(both: Both, tmp_path: Path) -> None:
    def scenario(docker: Docker) -> bool:
        path = tmp_path / f"{docker.runtime}.sock"
        with servers.unix(path, tell_peer):
            container = docker.start("--volume", f"{path}:{INSIDE}", argv=IDLE)
        with docker.removal(container):
            # Another service at the same path is not the one that was bound.
            path.unlink()
            with servers.unix(path, tell_peer):
                answer = docker.exec(container, "probe", "unix", INSIDE)
        return b":" in answer.stdout

    assert both.same(scenario) is False


def test_connections_end_with_the_container(both: Both, tmp_path: Path) -> None:
    began, ended = threading.Event(), threading.Event()

    def listen(peer: socket.socket) -> None:
        began.set()
        servers.everything(peer)
        ended.set()

    def scenario(docker: Docker) -> bool:
        began.clear()
        ended.clear()
        path = tmp_path / f"{docker.runtime}.sock"
        with servers.unix(path, listen):
            argv = ("sh", "-c", f"sleep 1000 | probe unix {INSIDE}")
            with docker.container("--volume", f"{path}:{INSIDE}", argv=argv) as name:
                until("it is connected", began.is_set)
                docker("kill", name).ok()
                until("the service sees it", ended.is_set)
        return True

    assert both.same(scenario)


@pytest.mark.boxlite_only
def test_a_socket_of_datagrams_is_refused_in_words(
    docker: Docker, tmp_path: Path
) -> None:
    path = tmp_path / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
        here.bind(str(path))
        result = docker.run("--rm", "--volume", f"{path}:/dev/log", IMAGE, "true")
    assert result.code == NOT_STARTED
    assert str(path) in result.errors and "datagrams" in result.errors


@pytest.mark.boxlite_only
def test_an_engines_socket_needs_the_configurations_word(docker: Docker) -> None:
    socket_of_engine = docker.pair.docker_socket
    request = r"printf 'GET /_ping HTTP/1.0\r\n\r\n' | probe unix /srv/docker.sock"
    words = ("--rm", "--volume", f"{socket_of_engine}:/srv/docker.sock", IMAGE)
    result = docker.run(*words, "sh", "-c", request)
    assert result.code == NOT_STARTED
    assert "root on the host" in result.errors and "[sockets]" in result.errors
    allowed = docker.using(settings.ENGINE_SOCKETS)
    assert allowed.run(*words, "sh", "-c", request).ok().text.endswith("OK")
