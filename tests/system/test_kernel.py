# SPDX-License-Identifier: Apache-2.0
"""What a container may ask of the guest's kernel, where it asked the host's.

Owns: firewalls, networks and disks made inside, beside runc. Does not own: the many
small features (boxlite_runtime/conformance/cases/kernel.yaml).
"""

import pytest

from tests.engines.docker import Docker
from tests.system.both import Both

#: The host's programs in a container: the image has no firewall.
HOSTS_PROGRAMS = (
    "--volume", "/usr:/usr:ro",
    "--volume", "/usr/lib:/lib:ro",
    "--volume", "/usr/lib64:/lib64:ro",
)  # fmt: skip


@pytest.mark.core
def test_a_firewall_redirects_and_refuses(both: Both) -> None:
    def scenario(docker: Docker) -> list[str]:
        script = """
            iptables() { /usr/sbin/xtables-nft-multi iptables "$@"; }
            set -e
            iptables -t nat -A OUTPUT -d 127.0.0.9 -p tcp --dport 81 \
                -j REDIRECT --to-ports 80
            iptables -A INPUT -p tcp --dport 82 -j REJECT --reject-with tcp-reset
            iptables -t nat -A POSTROUTING -s 10.9.0.0/16 ! -o br9 -j MASQUERADE
            iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
            echo redirected | nc -l -p 80 &
            until grep -q ":0050 .* 0A " /proc/net/tcp /proc/net/tcp6; do :; done
            nc 127.0.0.9 81 </dev/null
            nc 127.0.0.1 82 </dev/null 2>/dev/null || echo refused
            iptables -t nat -S; iptables -S
        """
        return docker.sh(script, "--cap-add", "NET_ADMIN", *HOSTS_PROGRAMS).ok().lines

    seen = both.same(scenario)
    assert seen[:2] == ["redirected", "refused"]


@pytest.mark.core
@pytest.mark.kvm
def test_a_privileged_container_makes_and_mounts_a_disk(both: Both) -> None:
    def scenario(docker: Docker) -> list[str]:
        script = """
            set -e
            dd if=/dev/zero of=/tmp/disk bs=1M count=16 2>/dev/null
            mke2fs -F /tmp/disk >/dev/null
            mount -o loop -t ext4 /tmp/disk /mnt
            cp /srv/blob /mnt; umount /mnt
            mount -o loop,ro -t ext4 /tmp/disk /mnt
            cmp /srv/blob /mnt/blob && grep -o " /mnt ext4 ro" /proc/mounts; umount /mnt
            losetup -a | grep -c /tmp/disk || true
        """
        return docker.sh(script, "--privileged").ok().lines

    assert both.same(scenario) == [" /mnt ext4 ro", "0"]
