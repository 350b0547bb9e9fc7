# SPDX-License-Identifier: Apache-2.0
"""The root filesystem, and the files the engine keeps in it."""

import pytest

from tests.engines.docker import Docker
from tests.engines.images import IMAGE
from tests.system.both import Both


@pytest.mark.storage
@pytest.mark.core
def test_a_read_only_root_takes_writes_only_where_mounts_do(both: Both) -> None:
    result = both.sh(
        "touch /x; echo y >/etc/y; mkdir /tmp/z; echo in >/run/in && cat /run/in;"
        "echo s >/dev/shm/s && echo shm; touch /srv/volume/v && echo volume;"
        "echo >/dev/null && echo null; mount -o remount,rw / || true",
        "--read-only",
        "--tmpfs", "/run",
        "--volume", "/srv/volume",
    )  # fmt: skip
    assert result.lines == ["in", "shm", "volume", "null"]
    assert result.errors.count("Read-only file system") >= 3


@pytest.mark.core
def test_hosts_hostname_and_resolv_conf_are_the_engines(both: Both) -> None:
    result = both.sh(
        "hostname; cat /etc/hostname; cat /etc/resolv.conf;"
        "grep -v 172.17 /etc/hosts; grep -c named /etc/hosts",
        "--hostname", "named",
        "--domainname", "example.test",
        "--add-host", "other:192.0.2.7",
        "--dns", "192.0.2.53",
        "--dns-search", "search.test",
        "--dns-option", "ndots:3",
    )  # fmt: skip
    text = result.ok().stdout.decode()
    for line in ("named\n", "nameserver 192.0.2.53\n", "192.0.2.7\tother\n"):
        assert line in text


def test_the_engines_files_change_in_a_running_container(both: Both) -> None:
    """dockerd rewrites these in place; a copy made at the start would be stale.

    A change may be seen a second later: docs/explanation/limits.md, "Files".
    """

    def scenario(docker: Docker) -> object:
        with docker.container() as container:
            hosts = docker.inspect(container)["HostsPath"]
            with open(hosts, "a") as file:  # noqa: PTH123
                file.write("192.0.2.8\tlater\n")
            read = "sleep 1.1; tail -n1 /etc/hosts"
            from_host = docker.exec(container, "sh", "-c", read).ok().text
            docker.exec(container, "sh", "-c", "echo 192.0.2.9 inner >>/etc/hosts").ok()
            with open(hosts) as file:  # noqa: PTH123
                return from_host, file.read().splitlines()[-1]

    assert both.same(scenario) == ("192.0.2.8\tlater", "192.0.2.9 inner")


@pytest.mark.storage
@pytest.mark.core
def test_a_commit_holds_what_the_container_wrote(both: Both) -> None:
    """``docker export`` is left out: Docker 26's own leaves a mount behind."""

    def scenario(docker: Docker) -> object:
        name = f"boxlite.test/committed:{docker.runtime}"
        write = "cp /srv/blob /copy; rm /srv/readonly; chmod 700 /srv/noise"
        with docker.container(argv=("sh", "-c", write)) as container:
            assert docker.wait(container) == 0
            docker("commit", container, name).ok()
        try:
            script = "sha256sum </copy; ls /srv; stat -c %a /srv/noise"
            return docker.run("--rm", name, "sh", "-c", script).ok().lines[1:]
        finally:
            docker("image", "rm", name).ok()

    assert both.same(scenario) == ["blob", "noise", "volume", "700"]


def test_device_files_are_those_every_container_has(both: Both) -> None:
    script = (
        "cd /dev; for f in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' $f;"
        "done; for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done;"
        "head -c 4 /dev/zero | xxd -p; head -c 4 /dev/urandom | wc -c; echo x >/dev/full;"
        "ls -d shm mqueue pts; stat -f -c %T shm mqueue pts"
    )
    result = both.sh(script)
    assert "null character special file 1:3 666" in result.lines


def test_the_root_filesystem_is_not_the_hosts(both: Both) -> None:
    result = both.run(IMAGE, "ls", "/")
    assert "boxlite" not in result.text
