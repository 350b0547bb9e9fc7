// SPDX-License-Identifier: Apache-2.0
//! The engine's resolver in a namespace: whether there is one, and how the answers it waits for get through to it.
//!
//! In a network of the user's own, Docker listens at 127.0.0.11 in the container's namespace (moby,
//! libnetwork/resolver.go), knows the names of that network, and asks a server outside for any other, from within the
//! namespace. Those answers come in on a link whose frames all go to the guest ([`crate::redirect`]), so [`let_answers_in`]
//! makes three exceptions: what a name server sends to a port of a range set apart for the host's side of the
//! namespace, by UDP and by TCP; and ARP replies, which both sides get, for either may have asked.
//!
//! The range is small and at the end, where a guest's kernel takes no ports by itself. IPv4 alone: a server that is
//! reached over IPv6 from within the namespace does not answer.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::error::NetError;
use crate::layout::{Lane, Link};
use crate::namespace::Namespace;
use crate::netlink::{Message, NLM_F_CREATE, NLM_F_EXCL, Socket};
use crate::redirect::{
    Mirred, RTM_NEWTFILTER, TC_U32_TERMINAL, TCA_KIND, TCA_OPTIONS, TCA_U32_ACT, TCA_U32_SEL, index_of,
    mirred_action, tc_filter_header,
};
use crate::tap::tap_name;
use crate::trunk;

/// Where Docker's resolver is, whatever the network (moby, libnetwork/sandbox_dns_unix.go).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// As /proc/net/udp writes it: an IPv4 address as one number of the host's byte order.
const ADDRESS_IN_PROC: &str = "0B00007F:";
/// UDP sockets of the calling thread's namespace.
const UDP_SOCKETS: &str = "/proc/thread-self/net/udp";

/// From which ports the namespace's own sockets ask: 65024 to 65535, the ports whose first seven bits are set.
const PORT_MASK: u16 = 0xfe00;
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const DNS: u16 = 53;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const UDP: u8 = 17;
const TCP: u8 = 6;
/// Before the filter that takes every frame. A priority is of one protocol.
const IP_PRIORITY: u16 = 1;
const ARP_PRIORITY: u16 = 2;
const WHAT: &str = "let a name server's answers in";

/// Where a resolver answers in the calling thread's namespace.
pub(crate) fn find() -> Result<Option<Ipv4Addr>, NetError> {
    match fs::read_to_string(UDP_SOCKETS) {
        Ok(sockets) => Ok(listens(&sockets).then_some(ADDRESS)),
        Err(error) => Err(NetError::from_io("list the sockets of a network namespace", error)),
    }
}

/// Whether a line of /proc/net/udp is a socket at the resolver's address.
fn listens(sockets: &str) -> bool {
    let local = |line: &str| line.split_whitespace().nth(1).is_some_and(|at| at.starts_with(ADDRESS_IN_PROC));
    sockets.lines().skip(1).any(local)
}

/// Lets answers to the namespace's own questions through on `link`, which was joined to its lane's tap before.
///
/// # Errors
/// What the kernel lacks or refuses. Names of the network itself are answered all the same.
pub fn let_answers_in(ns: &Namespace, link: &Link, lane: Lane) -> Result<(), NetError> {
    ns.run(|| {
        let range = format!("{PORT_MASK} {}", u16::MAX);
        fs::write(PORT_RANGE, range).map_err(|error| NetError::from_io(WHAT, error))?;
        let mut socket = Socket::open()?;
        let tap = index_of(&mut socket, &tap_name(lane.tap))?;
        let mut messages = answers(link.index);
        let program =
            lane.tag.map(|tag| trunk::load(&trunk::program::copy_arp_replies(tag, tap))).transpose()?;
        messages.push(match &program {
            None => filter(link.index, ARP_PRIORITY, ETH_P_ARP, &ARP_REPLY, Some(tap)),
            Some(program) => {
                let header = tc_filter_header(link.index, 0, ARP_PRIORITY, ETH_P_ARP);
                trunk::filter_on(&header, NLM_F_EXCL, program)
            }
        });
        for answer in socket.batch(WHAT, &messages)? {
            match answer {
                Ok(_) => {}
                Err(errno @ (Errno::NOENT | Errno::OPNOTSUPP)) => {
                    return Err(NetError::Unsupported {
                        what: "tell frames apart; it needs CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED",
                        source: io::Error::from(errno),
                    });
                }
                Err(errno) => return Err(NetError::from_errno(WHAT, errno)),
            }
        }
        Ok(())
    })?
}

/// A word of a packet, as `struct tc_u32_key` compares it: `(packet[offset..offset + 4] & mask) == value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    mask: u32,
    value: u32,
    /// From the start of the network header.
    offset: u32,
}

/// A datagram or segment from port 53 to a port of the range, unfragmented, without IP options.
fn answer_keys(protocol: u8) -> [Key; 4] {
    [
        // Version 4, five words of header.
        Key { mask: 0xff00_0000, value: 0x4500_0000, offset: 0 },
        // Not a later fragment: those have no ports.
        Key { mask: 0x0000_1fff, value: 0, offset: 4 },
        Key { mask: 0x00ff_0000, value: u32::from(protocol) << 16, offset: 8 },
        Key {
            mask: 0xffff_0000 | u32::from(PORT_MASK),
            value: u32::from(DNS) << 16 | u32::from(PORT_MASK),
            offset: 20,
        },
    ]
}

/// An ARP reply for IPv4 over Ethernet.
const ARP_REPLY: [Key; 1] = [Key { mask: 0x0000_ffff, value: 2, offset: 4 }];

fn answers(link: u32) -> Vec<Message> {
    vec![
        filter(link, IP_PRIORITY, ETH_P_IP, &answer_keys(UDP), None),
        filter(link, IP_PRIORITY, ETH_P_IP, &answer_keys(TCP), None),
    ]
}

/// A filter that hands what matches to the namespace's IP stack, and a copy to `copy_to`.
fn filter(link: u32, priority: u16, protocol: u16, keys: &[Key], copy_to: Option<u32>) -> Message {
    let header = tc_filter_header(link, 0, priority, protocol);
    let message = Message::new(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &header);
    message.text(TCA_KIND, "u32").nest(TCA_OPTIONS, |options| {
        let options = options.bytes(TCA_U32_SEL, &selector(keys));
        match copy_to {
            Some(tap) => {
                options.nest(TCA_U32_ACT, |actions| mirred_action(actions, Mirred::CopyAndPass, tap))
            }
            // Without an action a match is the end, and the frame goes its way.
            None => options,
        }
    })
}

/// `struct tc_u32_sel`: flags, offset shift, number of keys, offsets (16 bytes), and the keys.
fn selector(keys: &[Key]) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes[0] = TC_U32_TERMINAL;
    bytes[2] = u8::try_from(keys.len()).unwrap_or(0);
    for key in keys {
        bytes.extend(key.mask.to_be_bytes());
        bytes.extend(key.value.to_be_bytes());
        bytes.extend(key.offset.to_ne_bytes());
        bytes.extend([0; 4]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";

    #[test]
    fn a_resolver_is_known_by_its_address() {
        assert!(!listens(HEAD));
        assert!(!listens(&format!("{HEAD}  12: 00000000:0035 00000000:0000 07 00000000:00000000\n")));
        assert!(listens(&format!("{HEAD}  12: 0B00007F:9C41 00000000:0000 07 00000000:00000000\n")));
        assert!(!listens("  12: 0B00007F:9C41 00000000:0000 07\n"), "the first line is the heading");
    }

    fn matches(keys: &[Key], packet: &[u8]) -> bool {
        keys.iter().all(|key| {
            let at = key.offset as usize;
            let word = u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            word & key.mask == key.value
        })
    }

    fn packet(protocol: u8, fragment: u16, from: u16, to: u16) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 60, 1, 2];
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, protocol, 0xab, 0xcd]);
        bytes.extend([10, 0, 0, 53, 172, 18, 0, 2]);
        bytes.extend(from.to_be_bytes());
        bytes.extend(to.to_be_bytes());
        bytes.extend([0; 16]);
        bytes
    }

    #[test]
    fn answers_are_told_from_the_guests_own() {
        for protocol in [UDP, TCP] {
            let keys = answer_keys(protocol);
            assert!(matches(&keys, &packet(protocol, 0, 53, 65_024)));
            assert!(matches(&keys, &packet(protocol, 0x4000, 53, 65_535)), "do not fragment");
            assert!(!matches(&keys, &packet(protocol, 0, 53, 65_023)), "the guest asked");
            assert!(!matches(&keys, &packet(protocol, 0, 53, 40_000)));
            assert!(!matches(&keys, &packet(protocol, 0, 5353, 65_024)));
            assert!(!matches(&keys, &packet(protocol, 7, 53, 65_024)), "a later fragment");
            assert!(!matches(&keys, &packet(1, 0, 53, 65_024)));
        }
    }

    #[test]
    fn only_arp_replies_are_copied() {
        assert!(matches(&ARP_REPLY, &[0, 1, 8, 0, 6, 4, 0, 2]));
        assert!(!matches(&ARP_REPLY, &[0, 1, 8, 0, 6, 4, 0, 1]));
    }

    #[test]
    fn a_selector_holds_its_keys() {
        let bytes = selector(&answer_keys(UDP));
        assert_eq!((bytes.len(), bytes[0], bytes[2]), (16 + 4 * 16, TC_U32_TERMINAL, 4));
        assert_eq!(bytes[16..28], [0xff, 0, 0, 0, 0x45, 0, 0, 0, 0, 0, 0, 0]);
    }
}
