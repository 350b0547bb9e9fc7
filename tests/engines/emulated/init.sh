#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of an emulated host, in its initrd: puts this host's files, read only,
# under a layer in memory, and goes on in them with start.sh.
set -u
export PATH=/bin
/bin/busybox --install -s /bin

fail() {
    echo "emulated host: $*"
    poweroff -f
}

# share TAG DIRECTORY OPTIONS: a directory of the host that emulates this one
share() {
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2" ||
        fail "cannot mount $1"
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "$module" || fail "cannot load $module"
done </modules/order

# Nothing changes there meanwhile, so it may be kept for good.
share files /below ro,cache=loose
mount -t tmpfs -o size=50% layer /layer
mkdir /layer/changed /layer/work
mount -t overlay -o lowerdir=/below,upperdir=/layer/changed,workdir=/layer/work \
    files /files || fail "cannot put a layer over the files"

for directory in proc sys dev; do
    mount --move "/$directory" "/files/$directory"
done
mount -t tmpfs -o mode=755 run /files/run
# Engines' data, which is no layer of a layer, and what the emulating host knows of itself.
for directory in tmp var/lib/docker var/lib/containerd var/lib/boxlite; do
    mkdir -p "/files/$directory"
    mount -t tmpfs -o size=75% data "/files/$directory"
done
chmod 1777 /files/tmp
chmod 700 /files/var/lib/boxlite
mkdir /files/run/below /files/run/handed
mount --move /below /files/run/below
share handed /files/run/handed rw
exec switch_root /files /bin/bash /run/handed/start.sh
