#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of an emulated host once it has its files: what a host's own start does,
# as far as engines need it, then the job that was handed over. Its output and its
# end go into files of the host that emulates this one.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
handed=/run/handed
modules='' kept=() writable=()
# shellcheck source=/dev/null
. "$handed/settings.sh"

end() {
    # No process 1 may end, and no host that is switched off goes on.
    echo o >/proc/sysrq-trigger
    while :; do sleep 60; done
}

fail() {
    echo "emulated host: $*"
    end
}

mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -sfn /proc/self/fd /dev/fd
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# Where systemd would put an engine: the root has no files for limits.
cgroup=/sys/fs/cgroup
for below in system.slice system.slice/job.service; do
    sed 's/[^ ]*/+&/g' "$cgroup/cgroup.controllers" >"$cgroup/cgroup.subtree_control"
    mkdir "/sys/fs/cgroup/$below"
    cgroup=/sys/fs/cgroup/$below
done
echo $$ >"$cgroup/cgroup.procs"
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing
# What was below a directory that has a filesystem of its own now.
for path in "${kept[@]}"; do
    mkdir -p "$path"
    mount --bind "/run/below$path" "$path" || fail "cannot show $path"
done
for number in "${!writable[@]}"; do
    mkdir -p "${writable[number]}"
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 "writable$number" \
        "${writable[number]}" || fail "cannot mount ${writable[number]}"
done

mkdir -p /lib/modules
ln -sfn "$modules" "/lib/modules/$(uname -r)"
modprobe -a kvm_amd tun veth bridge br_netfilter || fail "modules are missing"
[[ -c /dev/kvm ]] || fail "there is no /dev/kvm"
hostname emulated
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
mkdir -p /etc/boxlite
cp "$handed/config.toml" /etc/boxlite/config.toml

# A processor that is shut down has failed three times to take what happened to it.
kvm_exit=/sys/kernel/tracing/events/kvm/kvm_exit
echo "exit_reason == 0x7f" >"$kvm_exit/filter"
echo 1 >"$kvm_exit/enable"

echo started >"$handed/status"
bash "$handed/job.sh" </dev/null >>"$handed/output" 2>&1
code=$?
grep -v '^#' /sys/kernel/tracing/trace >"$handed/shutdowns"
echo "ended $code" >>"$handed/status"
end
