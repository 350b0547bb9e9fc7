// SPDX-License-Identifier: Apache-2.0
//! Two namespaces with a veth between: `guest` is the container's, its tap played by the test; `host` is the engine's
//! side, whose kernel answers as any peer on the network would.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use boxlite_net::{Layout, Namespace, scan};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) const GUEST_MAC: [u8; 6] = [0x02, 0x42, 0xac, 0x11, 0, 2];
pub(crate) const HOST_MAC: [u8; 6] = [0x02, 0x42, 0, 0, 0, 1];
pub(crate) const GUEST_IP: [u8; 4] = [172, 30, 0, 2];
pub(crate) const HOST_IP: [u8; 4] = [172, 30, 0, 1];
pub(crate) const ARP_REQUEST: u8 = 1;
pub(crate) const ARP_REPLY: u8 = 2;
/// `struct virtio_net_hdr` before each frame.
const VNET_HEADER: usize = 10;

pub(crate) struct Pair {
    pub(crate) guest: Namespace,
    pub(crate) host: Namespace,
}

impl Pair {
    /// What an engine leaves behind: `eth0` with addresses and a default route, and its other end on the host.
    pub(crate) fn new() -> Self {
        let pair = Self { guest: Namespace::create().unwrap(), host: Namespace::create().unwrap() };
        let host = Resident::of(&pair.host);
        ip(
            &pair.guest,
            "link add eth0 address 02:42:ac:11:00:02 mtu 1400 type veth peer name out address 02:42:00:00:00:01",
        );
        ip(&pair.guest, &format!("link set out mtu 1400 netns {}", host.0.id()));
        ip(&pair.host, "addr add 172.30.0.1/24 dev out");
        ip(&pair.host, "link set out up");
        for command in [
            "addr add 172.30.0.2/24 broadcast 172.30.0.255 dev eth0",
            "-6 addr add fd00:30::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add 10.9.0.0/16 via 172.30.0.1 dev eth0 metric 7",
            "route add default via 172.30.0.1",
            "-6 route add default via fd00:30::1 dev eth0",
            "route add 169.254.1.1 dev eth0 scope link",
            "route add unreachable 10.8.0.0/16",
            "route add 10.7.0.0/16 dev eth0 table 77",
            "neigh add 172.30.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
            "link add idle type bridge",
        ] {
            ip(&pair.guest, command);
        }
        pair
    }

    /// Gives the link to the guest of another pair, under a name, without addresses.
    pub(crate) fn attach_to(&self, other: &Self, name: &str) {
        let there = Resident::of(&other.guest);
        for command in ["link set eth0 down", &format!("link set eth0 name {name} netns {}", there.0.id())] {
            ip(&self.guest, command);
        }
        ip(&other.guest, &format!("link set {name} up"));
    }
}

/// A process that sits in a namespace, so that `ip` can name it.
struct Resident(Child);

impl Resident {
    fn of(ns: &Namespace) -> Self {
        Self(ns.run(|| Command::new("sleep").arg("60").spawn().unwrap()).unwrap())
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(crate) fn ip(ns: &Namespace, arguments: &str) -> String {
    run(ns, "ip", arguments)
}

pub(crate) fn run(ns: &Namespace, program: &str, arguments: &str) -> String {
    let output = ns.run(|| Command::new(program).args(arguments.split(' ')).output().unwrap()).unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn layout(pair: &Pair) -> Layout {
    scan(&pair.guest).unwrap()
}

pub(crate) fn arp(
    operation: u8,
    to: [u8; 6],
    from: ([u8; 6], [u8; 4]),
    about: ([u8; 6], [u8; 4]),
) -> Vec<u8> {
    let mut frame = [to.as_slice(), &from.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    frame.extend([from.0.as_slice(), &from.1, &about.0, &about.1].concat());
    frame
}

/// The guest: writes and reads frames as QEMU does.
pub(crate) struct Guest(pub(crate) File);

impl Guest {
    pub(crate) fn new(tap: OwnedFd) -> Self {
        Self(tap.into())
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.0.write_all(&[[0; VNET_HEADER].as_slice(), frame].concat()).unwrap();
    }

    /// The first frame `wanted` says yes to, within a second.
    pub(crate) fn expect(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut buffer = vec![0; 70_000];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            if poll(&mut [PollFd::new(&self.0.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap() == 0 {
                return None;
            }
            let size = self.0.read(&mut buffer).unwrap();
            let frame = &buffer[VNET_HEADER..size];
            if wanted(frame) {
                return Some(frame.to_vec());
            }
        }
    }
}

pub(crate) fn is_arp(operation: u8) -> impl Fn(&[u8]) -> bool {
    move |frame| frame.len() >= 42 && frame[12..14] == [8, 6] && frame[21] == operation
}

/// The checksum over an IPv4 frame's pseudo header and UDP datagram: all ones if it is right.
pub(crate) fn udp_sum(frame: &[u8]) -> u16 {
    let datagram = &frame[34..];
    let length = u16::try_from(datagram.len()).unwrap().to_be_bytes();
    let bytes = [&frame[26..34], &[0, 17], &length, datagram].concat();
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

/// How many frames have come to the host.
pub(crate) fn received(host: &Namespace) -> u64 {
    let shown = host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
    let line = shown.lines().find_map(|line| line.trim().strip_prefix("out:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
