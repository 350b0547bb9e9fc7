# SPDX-License-Identifier: Apache-2.0
"""A container with many networks, at its start and attached while it runs."""

import hashlib
import re
from collections.abc import Iterator

import pytest

from tests.engines import images, servers
from tests.engines.docker import IDLE, Docker
from tests.engines.images import IMAGE
from tests.engines.pair import Pair
from tests.engines.waiting import until
from tests.system.both import Both

#: Networks beside the one a container starts with. More than a machine has cards.
MANY = tuple(f"many{number}" for number in range(8))
#: The MTU of the network of each number, where it is not the usual one.
MTUS = {2: 1400, 5: 9000}

#: What of a container's network is the same under both: links, sizes, addresses, routes.
LOOK = (
    "for d in /sys/class/net/eth*; do echo ${d##*/} $(cat $d/mtu $d/address); done;"
    "ip -o -4 addr | awk '{print $2, $4}' | sort; ip route | sort"
)


def gateway(number: int) -> str:
    """Return Docker's address in a network."""
    return f"10.212.{number}.1"


@pytest.fixture(scope="module")
def networks(both: Both) -> Iterator[tuple[str, ...]]:
    """Eight networks 10.212.N.0/24, one with small frames and one with large ones."""
    for number, name in enumerate(MANY):
        mtu = f"com.docker.network.driver.mtu={MTUS.get(number, 1500)}"
        subnet = f"10.212.{number}.0/24"
        both.reference("network", "create", "--subnet", subnet, "--opt", mtu, name).ok()
    yield MANY
    for name in MANY:
        both.reference("network", "rm", name).ok()


def connect(docker: Docker, container: str, number: int) -> None:
    """Attach a container to a network, under an address that is always the same."""
    address = f"10.212.{number}.77"
    docker("network", "connect", "--ip", address, MANY[number], container).ok()


def look(docker: Docker, container: str) -> list[str]:
    """Return what a container sees of its networks.

    A link's address stands as the network for which the engine tells it: since
    Docker 28 it is drawn by lot, and differs from container to container.
    """
    lines = docker.exec(container, "sh", "-c", LOOK).ok().lines
    networks = docker.inspect(container)["NetworkSettings"]["Networks"]
    told = {network["MacAddress"]: name for name, network in networks.items()}
    return [" ".join(told.get(word, word) for word in line.split()) for line in lines]


def by_address(lines: list[str]) -> list[str]:
    """Return what is seen of networks with each link's number taken from its address.

    Which link a network has at the start is drawn by lot since Docker 28.
    """
    text = "\n".join(lines)
    numbers = dict(re.findall(r"(eth\d+) 10\.212\.(\d+)\.77/24", text))
    named = re.sub(r"eth\d+", lambda link: f"link {numbers[link[0]]}", text)
    return sorted(named.splitlines())


def links(docker: Docker, container: str, count: int) -> list[str]:
    """Wait until a container has so many links beside its loopback."""

    def seen() -> list[str]:
        lines = look(docker, container)
        found = [line for line in lines if line.startswith("eth") and "/" in line]
        return lines if len(found) == count else []

    return until(f"{count} links", seen)


def reaches(docker: Docker, container: str, number: int) -> None:
    """Ask the gateway of a network."""
    script = f"ping -c 1 -W 5 {gateway(number)} >/dev/null"
    docker.exec(container, "sh", "-c", script).ok()


@pytest.mark.core
@pytest.mark.kvm
def test_eight_networks_are_attached_to_a_running_container(
    both: Both, networks: tuple[str, ...]
) -> None:
    def scenario(docker: Docker) -> list[list[str]]:
        with docker.container("--ip", "10.212.0.77", "--network", MANY[0]) as container:
            told = [links(docker, container, 1)]
            for number in range(1, 8):
                connect(docker, container, number)
                told.append(links(docker, container, number + 1))
            for number in range(8):
                reaches(docker, container, number)
        return told

    both.same(scenario)


@pytest.mark.core
def test_networks_come_and_go_and_come_back(
    both: Both, networks: tuple[str, ...]
) -> None:
    def scenario(docker: Docker) -> list[list[str]]:
        def without(number: int) -> list[str]:
            docker("network", "disconnect", MANY[number], container).ok()
            left.remove(number)
            told = links(docker, container, len(left))
            for each in left:
                reaches(docker, container, each)
            return told

        with docker.container("--ip", "10.212.0.77", "--network", MANY[0]) as container:
            for number in range(1, 5):
                connect(docker, container, number)
            links(docker, container, 5)
            left = set(range(5))
            # One in the middle; then the one it started with, too.
            told = [without(2), without(0)]
            for number in (0, 2):
                connect(docker, container, number)
            links(docker, container, 5)
            for number in range(5):
                reaches(docker, container, number)
        return told

    both.same(scenario)


@pytest.mark.core
def test_a_container_starts_with_many_networks(
    both: Both, networks: tuple[str, ...]
) -> None:
    def scenario(docker: Docker) -> list[str]:
        made = docker(
            "create", "--runtime", docker.runtime, "--network", MANY[0],
            "--ip", "10.212.0.77", IMAGE, *IDLE,
        )  # fmt: skip
        with docker.removal(made.ok().text) as container:
            for number in range(1, 8):
                connect(docker, container, number)
            docker("start", container).ok()
            for number in range(8):
                reaches(docker, container, number)
            return by_address(look(docker, container))

    seen = both.same(scenario)
    for number, name in enumerate(MANY):
        assert f"link {number} {MTUS.get(number, 1500)} {name}" in seen


@pytest.mark.core
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_later_network_carries_every_byte_out_and_back(
    both: Both, pair: Pair, networks: tuple[str, ...], number: int
) -> None:
    def scenario(docker: Docker) -> list[str]:
        with (
            docker.container("--network", MANY[0]) as container,
            servers.tcp(pair.network, gateway(number), servers.send_back) as port,
        ):
            connect(docker, container, 3)
            connect(docker, container, number)
            links(docker, container, 3)
            script = f"nc {gateway(number)} {port} </srv/blob | sha256sum"
            return docker.exec(container, "sh", "-c", script).ok().lines

    digest = hashlib.sha256(images.blob()).hexdigest()
    assert both.same(scenario) == [f"{digest}  -"]


def test_a_datagram_larger_than_a_frame_goes_by_a_later_network(
    both: Both, pair: Pair, networks: tuple[str, ...]
) -> None:
    data = images.blob()[:8900]

    def scenario(docker: Docker) -> bytes:
        with docker.container("--network", MANY[0]) as container:
            connect(docker, container, 5)
            links(docker, container, 2)
            with servers.udp(
                pair.network, gateway(5), lambda asked: asked[::-1]
            ) as port:
                sent = docker.exec(
                    "-i", container, "probe", "udp-send", gateway(5), str(port),
                    stdin=data,
                )  # fmt: skip
            return sent.ok().stdout

    assert both.same(scenario) == data[::-1]


def test_names_are_known_in_a_later_network(
    both: Both, networks: tuple[str, ...]
) -> None:
    def scenario(docker: Docker) -> str:
        with (
            docker.container("--network", MANY[0]) as container,
            docker.container("--network", MANY[3], "--network-alias", "peer"),
        ):
            connect(docker, container, 1)
            connect(docker, container, 3)
            script = "ping -c 1 -W 5 peer >/dev/null && echo reached"
            return until(
                "the name", lambda: docker.exec(container, "sh", "-c", script).text
            )

    assert both.same(scenario) == "reached"


@pytest.mark.boxlite_only
def test_what_carries_the_networks_is_not_seen(
    docker: Docker, networks: tuple[str, ...]
) -> None:
    with docker.container("--network", MANY[0]) as container:
        for number in (1, 2):
            connect(docker, container, number)
        links(docker, container, 3)
        docker("network", "disconnect", MANY[0], container).ok()
        links(docker, container, 2)
        shown = docker.exec(container, "ls", "/sys/class/net").ok().lines
        assert shown == ["eth1", "eth2", "lo"]
