# SPDX-License-Identifier: Apache-2.0
"""In a network of one's own the engine answers for names, as for any container.

Docker listens at 127.0.0.11 in the container's network namespace, knows the
names of the network, and asks a server outside for all others.
"""

from collections.abc import Iterator

import pytest

from tests.engines import servers
from tests.engines.docker import Docker
from tests.engines.pair import Pair
from tests.engines.waiting import until
from tests.system.both import Both

NETWORK = "named"
GATEWAY = "10.211.8.1"
#: Where Docker answers.
RESOLVER = "127.0.0.11"
#: Serves a word over HTTP.
SERVE = ("sh", "-c", "mkdir /w; echo by name >/w/index.html; exec httpd -f -p 80 -h /w")
#: Asks for web's address by the wire's own bytes: identifier 7, one question, A.
QUERY = b"\0\7\1\0\0\1\0\0\0\0\0\0\3web\0\0\1\0\1"
#: The address Docker gives to the first container of the network.
FIRST = bytes([10, 211, 8, 2])


@pytest.fixture(scope="module")
def network(both: Both) -> Iterator[str]:
    """A network of its own."""
    docker = both.reference
    docker("network", "create", "--subnet", "10.211.8.0/24", NETWORK).ok()
    try:
        yield NETWORK
    finally:
        docker("network", "rm", NETWORK).ok()


@pytest.fixture(params=["reference", "boxlite"])
def web(both: Both, network: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server called web in that network, under either runtime."""
    docker: Docker = getattr(both, request.param)
    options = ("--network", network, "--name", "web", "--network-alias", "www")
    with docker.container(*options, argv=SERVE) as container:
        asked = ("wget", "-q", "-O", "-", "http://127.0.0.1/")
        until("it serves", lambda: docker.exec(container, *asked).code == 0)
        yield container


@pytest.mark.core
def test_containers_are_reached_by_name_and_alias(
    both: Both, network: str, web: str
) -> None:
    del web
    script = "for name in web www; do wget -q -O - http://$name/; done"
    result = both.sh(script, "--network", network)
    assert result.ok().lines == ["by name", "by name"]


def test_an_unknown_name_is_unknown_at_once(
    both: Both, network: str, pair: Pair
) -> None:
    with servers.udp(pair.network, GATEWAY, servers.dns_denial, port=53):
        result = both.sh(
            "nslookup nonesuch.test 2>&1 | grep -c NXDOMAIN",
            "--network", network, "--dns", GATEWAY,
        )  # fmt: skip
    assert int(result.ok().text) > 0


def test_names_outside_are_asked_of_the_given_server(
    both: Both, network: str, pair: Pair
) -> None:
    answer = servers.dns_answer("192.0.2.99")
    with servers.udp(pair.network, GATEWAY, answer, port=53):
        script = (
            "for i in 1 2 3; do nslookup name$i.test | grep -o 192.0.2.99; done;"
            # One's own question to the same server is not the engine's.
            f"nslookup direct.test {GATEWAY} | grep -o 192.0.2.99"
        )
        result = both.sh(script, "--network", network, "--dns", GATEWAY)
    assert result.ok().lines == ["192.0.2.99"] * 4


def test_an_answer_comes_from_where_it_was_asked(both: Both, network: str) -> None:
    # By a socket that is not connected: the kernel does not look at the sender.
    with both.reference.container("--network", network, "--name", "web"):
        options = ("-i", "--network", network)
        command = f"probe udp-send {RESOLVER} 53"
        result = both.sh(command, *options, stdin=QUERY)
    assert result.ok().stdout[:2] == b"\0\7" and result.stdout.endswith(FIRST)


def test_names_are_answered_over_tcp(both: Both, network: str) -> None:
    framed = len(QUERY).to_bytes(2) + QUERY
    with both.reference.container("--network", network, "--name", "web"):
        result = both.sh(
            f"nc -w 5 {RESOLVER} 53", "-i", "--network", network, stdin=framed
        )
    assert result.stdout[2:4] == b"\0\7" and result.stdout.endswith(FIRST)


def test_port_53_is_free_for_the_container(both: Both, network: str) -> None:
    script = "probe udp-echo 53 & sleep 1; printf echo | probe udp-send 127.0.0.1 53"
    assert both.sh(script, "--network", network).ok().text == "echo"


def test_a_hundred_questions_at_once_are_answered(both: Both, network: str) -> None:
    script = (
        "for i in $(seq 100); do nslookup web. >/tmp/$i 2>&1 & done; wait;"
        "grep -l 10.211.8.2 /tmp/* | wc -l"
    )
    with both.reference.container("--network", network, "--name", "web"):
        result = both.sh(script, "--network", network)
    assert result.ok().text == "100"


def test_the_plain_bridge_has_no_resolver(both: Both) -> None:
    script = f"nc -w 2 {RESOLVER} 53 </dev/null; echo $?; grep -c {RESOLVER} /etc/resolv.conf"
    assert both.sh(script).lines == ["1", "0"]
