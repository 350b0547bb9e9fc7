# SPDX-License-Identifier: Apache-2.0
"""A container's network is what Docker made of it, seen from both ends."""

import hashlib
import socket
from collections.abc import Iterator

import pytest

from tests.engines import images, servers
from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.engines.pair import Pair
from tests.engines.waiting import until
from tests.system.both import Both, Inside

#: Docker's bridge in the pair's namespace.
GATEWAY = "172.17.0.1"

#: What a container serves on its own side: files over TCP, echo over UDP.
SERVE = (
    "sh", "-c",
    "httpd -p 8080 -h /srv; trap 'exit 0' TERM; probe udp-echo 8081 & wait",
)  # fmt: skip


@pytest.fixture(scope="module")
def inside(both: Both) -> Iterator[Inside]:
    """A serving container with two published ports under each runtime."""
    options = ("--publish", "8080/tcp", "--publish", "8081/udp")
    with both.containers(options, argv=SERVE) as running:
        yield running


@pytest.mark.core
@pytest.mark.kvm
def test_the_interface_is_as_docker_made_it(inside: Inside) -> None:
    def scenario(docker: Docker, container: str) -> list[str]:
        network = docker.inspect(container)["NetworkSettings"]
        script = (
            "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu;"
            "ip -o -4 addr show dev eth0 | awk '{print $4, $6}'; ip route"
        )
        found = docker.exec(container, "sh", "-c", script).ok().lines
        address = network["IPAddress"]
        assert found == [
            network["MacAddress"],
            "1500",
            f"{address}/{network['IPPrefixLen']} 172.17.255.255",
            f"default via {network['Gateway']} dev eth0 ",
            f"172.17.0.0/16 dev eth0 scope link  src {address} ",
        ]
        links = docker.exec(container, "sh", "-c", "ip -o link | awk '{print $2, $3}'")
        return [line.partition("@")[0].partition(":")[0] for line in links.ok().lines]

    assert inside.same(scenario)[:1] == ["lo"]


def test_loopback_is_up(inside: Inside) -> None:
    assert inside.sh("ping -c 1 -W 5 127.0.0.1 >/dev/null && echo up").text == "up"


def test_icmp_reaches_the_gateway(inside: Inside) -> None:
    script = f"ping -c 2 -W 5 {GATEWAY} | grep -o '2 packets received'"
    assert inside.sh(script).ok().text == "2 packets received"


@pytest.mark.core
def test_tcp_carries_every_byte_out_and_back(inside: Inside, pair: Pair) -> None:
    with servers.tcp(pair.network, GATEWAY, servers.send_back) as port:
        result = inside.sh(f"nc {GATEWAY} {port} </srv/blob | sha256sum")
    assert result.ok().text == f"{hashlib.sha256(images.blob()).hexdigest()}  -"


@pytest.mark.parametrize("size", [1, pytest.param(1472, marks=pytest.mark.core), 9000])
def test_udp_carries_a_datagram_out_and_back(
    inside: Inside, pair: Pair, size: int
) -> None:
    data = images.blob()[:size]
    with servers.udp(pair.network, GATEWAY, lambda asked: asked[::-1]) as port:
        result = inside.exec(
            "probe", "udp-send", GATEWAY, str(port), options=["-i"], stdin=data
        )
    assert result.ok().stdout == data[::-1]


def test_a_closed_port_refuses_at_once(inside: Inside) -> None:
    result = inside.sh(f"nc -w 5 {GATEWAY} 9 </dev/null")
    assert result.code == 1 and "Connection refused" in result.errors


def published(docker: Docker, container: str, port: str) -> int:
    """Return the host's port for a container's."""
    ports = docker.inspect(container)["NetworkSettings"]["Ports"]
    return int(ports[port][0]["HostPort"])


@pytest.mark.core
@pytest.mark.parametrize(
    "address", [pytest.param("127.0.0.1", marks=pytest.mark.kvm), GATEWAY]
)
def test_a_published_tcp_port_serves_the_host(
    inside: Inside, pair: Pair, address: str
) -> None:
    def scenario(docker: Docker, container: str) -> bool:
        peer = (address, published(docker, container, "8080/tcp"))
        request = b"GET /blob HTTP/1.0\r\n\r\n"
        answer = servers.ask(pair.network, peer, request, socket.SOCK_STREAM)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return body == images.blob()

    assert inside.same(scenario)


@pytest.mark.core
def test_a_published_udp_port_serves_the_host(inside: Inside, pair: Pair) -> None:
    def scenario(docker: Docker, container: str) -> bytes:
        peer = (GATEWAY, published(docker, container, "8081/udp"))
        return servers.ask(pair.network, peer, b"datagram", socket.SOCK_DGRAM)

    assert inside.same(scenario) == b"datagram"


def test_containers_reach_each_other(inside: Inside) -> None:
    def scenario(docker: Docker, container: str) -> str:
        address = docker.inspect(container)["NetworkSettings"]["IPAddress"]
        script = f"wget -q -O - http://{address}:8080/blob | sha256sum"
        return docker.sh(script).ok().text

    assert inside.same(scenario) == f"{hashlib.sha256(images.blob()).hexdigest()}  -"


@pytest.mark.core
def test_names_are_asked_of_the_given_server(both: Both, pair: Pair) -> None:
    with servers.udp(pair.network, GATEWAY, servers.dns_answer("192.0.2.99"), port=53):
        result = both.sh("nslookup some.name.test", "--dns", GATEWAY)
    assert "Address: 192.0.2.99" in result.ok().text


@pytest.mark.core
def test_network_none_has_a_loopback_and_nothing_else(both: Both) -> None:
    script = (
        "ls /sys/class/net | grep -v -e tunl -e sit -e gre -e ip6tnl -e ifb;"
        "ip -4 -o addr | awk '{print $2, $4}'; ip route | wc -l;"
        "ping -c 1 127.0.0.1 >/dev/null && echo up"
    )
    result = both.sh(script, "--network", "none")
    assert result.ok().lines == ["lo", "lo 127.0.0.1/8", "0", "up"]


@pytest.mark.core
def test_a_network_of_ones_own_gives_mtu_mac_and_address(both: Both) -> None:
    docker = both.reference
    made = docker(
        "network", "create", "--subnet", "10.211.7.0/24",
        "--opt", "com.docker.network.driver.mtu=1400", "own",
    )  # fmt: skip
    try:
        made.ok()
        result = both.sh(
            "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu;"
            "ip -o -4 addr show dev eth0 | awk '{print $4}'; ip route;"
            "ping -c 1 -W 5 10.211.7.1 >/dev/null && echo reached",
            "--network", "own",
            "--ip", "10.211.7.77",
            "--mac-address", "02:42:0a:d3:07:4d",
        )  # fmt: skip
    finally:
        docker("network", "rm", "own").ok()
    assert result.ok().lines == [
        "02:42:0a:d3:07:4d",
        "1400",
        "10.211.7.77/24",
        "default via 10.211.7.1 dev eth0 ",
        "10.211.7.0/24 dev eth0 scope link  src 10.211.7.77 ",
        "reached",
    ]


def test_a_port_is_free_again_after_its_container(both: Both, pair: Pair) -> None:
    def scenario(docker: Docker) -> bytes:
        options = ("--publish", f"{GATEWAY}:18080:8080")
        with docker.container(*options, argv=SERVE):
            peer = (GATEWAY, 18080)
            request = b"GET /readonly HTTP/1.0\r\n\r\n"

            def answer() -> bytes:
                try:
                    return servers.ask(pair.network, peer, request, socket.SOCK_STREAM)
                except OSError:  # httpd is not there yet
                    return b""

            return until("httpd answers", answer).partition(b"\r\n\r\n")[2]

    assert both.same(scenario) == both.same(scenario) == b"not a program\n"


@pytest.mark.core
def test_twice_the_same_container_has_a_network_twice(both: Both) -> None:
    script = f"ping -c 1 -W 5 {GATEWAY} >/dev/null && echo reached"

    def scenario(docker: Docker) -> list[str]:
        created = docker(
            "create", "--runtime", docker.runtime, IMAGE, "sh", "-c", script
        )
        with docker.removal(created.ok().text) as container:
            return [docker("start", "-a", container).ok().text for _ in range(2)]

    assert both.same(scenario) == ["reached", "reached"]


@pytest.fixture
def later(both: Both) -> Iterator[str]:
    """A network 10.211.9.0/24, for containers that run already."""
    name = "later"
    both.reference("network", "create", "--subnet", "10.211.9.0/24", name).ok()
    yield name
    both.reference("network", "rm", name).ok()


def test_a_network_attached_to_a_running_container_is_there(
    both: Both, later: str
) -> None:
    script = "ip -o -4 addr | awk '{print $2, $4}'; ip route | sort"

    def scenario(docker: Docker) -> list[list[str]]:
        def links(count: int) -> list[str]:
            def look() -> list[str]:
                lines = docker.exec(container, "sh", "-c", script).ok().lines
                found = [line for line in lines if line.startswith(("lo ", "eth"))]
                return lines if len(found) == count else []

            return until(f"{count} links", look)

        with docker.container("--network", "none") as container:
            docker("network", "disconnect", "none", container).ok()
            told = [links(1)]
            for network in ("bridge", later):
                docker("network", "connect", network, container).ok()
                told.append(links(len(told) + 1))
            ping = f"ping -c 1 -W 5 10.211.9.1 && ping -c 1 -W 5 {GATEWAY}"
            docker.exec(container, "sh", "-c", ping).ok()
            docker("network", "disconnect", "bridge", container).ok()
            told.append(links(2))
            docker.exec(container, "ping", "-c", "1", "-W", "5", "10.211.9.1").ok()
        return told

    both.same(scenario)


def test_a_network_attached_during_a_pause_is_there_after_it(
    both: Both, later: str
) -> None:
    def scenario(docker: Docker) -> list[str]:
        def attached() -> list[str]:
            script = "ip -o -4 addr | awk '/10.211.9/ {print $2, $4}'"
            return docker.exec(container, "sh", "-c", script).ok().lines

        with docker.container() as container:
            docker("pause", container).ok()
            docker("network", "connect", later, container).ok()
            docker("unpause", container).ok()
            return until("the network is there", attached)

    both.same(scenario)


def test_a_connection_outlives_a_network_attached_beside_it(
    both: Both, pair: Pair, later: str
) -> None:
    def scenario(docker: Docker) -> bytes:
        talk = f"{{ cat /srv/readonly; sleep 2; cat /srv/readonly; }} | nc {GATEWAY}"
        with servers.tcp(pair.network, GATEWAY, servers.send_back) as port:
            argv = ("sh", "-c", f"{talk} {port}")
            with docker.container(argv=argv) as container:
                docker("network", "connect", later, container).ok()
                docker.wait(container)
                return docker("logs", container).ok().stdout

    assert both.same(scenario) == b"not a program\n" * 2


def test_a_place_that_was_given_up_is_as_new_for_the_next_network(both: Both) -> None:
    # The second and the third share a card, and the fourth takes the second's place.
    names = ("first", "second", "third", "fourth")
    docker = both.reference
    for number, name in enumerate(names):
        subnet = f"10.211.{20 + number}.0/24"
        docker("network", "create", "--subnet", subnet, name).ok()

    wanted = ["10.211.20", "10.211.22", "10.211.23"]

    def scenario(docker: Docker) -> list[str]:
        def left() -> list[str]:
            script = "ip -o -4 addr | awk '/eth/ {print $2, $4}'"
            lines = docker.exec(container, "sh", "-c", script).ok().lines
            subnets = [line.split()[1].rpartition(".")[0] for line in lines]
            return lines if sorted(subnets) == wanted else []

        with docker.container("--network", "first") as container:
            for name in names[1:]:
                if name == "fourth":
                    docker("network", "disconnect", "second", container).ok()
                docker("network", "connect", name, container).ok()
            return until("all networks but the second", left)

    try:
        both.same(scenario)
    finally:
        for name in names:
            docker("network", "rm", name).ok()
