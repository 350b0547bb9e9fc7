// SPDX-License-Identifier: Apache-2.0
//! Joins a tap to the engine's link: whatever comes in on one leaves by the other, below the namespace's IP stack.
//!
//! Each gets an ingress qdisc with one filter that matches every frame and hands it to the other's egress. A frame is
//! taken before ARP, IP and netfilter of the namespace see it, so the host's kernel answers nothing in the guest's
//! place, though the link still bears the guest's addresses. Checksums and segments left to the hardware are completed
//! by the kernel as the receiving device asks, since a frame leaves by that device's ordinary transmit path.
//!
//! The messages are built by pure functions; `redirect` sends them.

use rustix::io::Errno;

use crate::error::NetError;
use crate::layout::{Lane, Link};
use crate::namespace::Namespace;
use crate::netlink::{
    IFF_UP, IFLA_IFNAME, IFLA_MTU, Message, NLM_F_CREATE, NLM_F_EXCL, RTM_GETLINK, RTM_NEWLINK, Socket,
    link_header, number,
};
use crate::tap::tap_name;
use crate::trunk;

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
pub(crate) const RTM_NEWTFILTER: u16 = 44;
/// `TC_H_INGRESS` as a parent, and the one handle an ingress qdisc has; linux/pkt_sched.h.
const INGRESS_PARENT: u32 = 0xffff_fff1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
pub(crate) const ETH_P_ALL: u16 = 3;
pub(crate) const TCA_KIND: u16 = 1;
pub(crate) const TCA_OPTIONS: u16 = 2;
const TCA_MATCHALL_ACT: u16 = 2;
pub(crate) const TCA_U32_SEL: u16 = 5;
pub(crate) const TCA_U32_ACT: u16 = 7;
pub(crate) const TC_U32_TERMINAL: u8 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const TCA_EGRESS_REDIR: u32 = 1;
const TCA_EGRESS_MIRROR: u32 = 2;
const TC_ACT_OK: u32 = 0;
const TC_ACT_STOLEN: u32 = 4;
/// After the exceptions ([`crate::resolver`]).
pub(crate) const LAST_PRIORITY: u16 = 8;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mirred {
    /// It leaves by the other device.
    Redirect,
    /// A copy leaves by the other device, and the frame goes on to the namespace's own IP stack.
    CopyAndPass,
}

/// Which of the kernel's classifiers matches every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Classifier {
    /// Made for it (Linux 4.8, `CONFIG_NET_CLS_MATCHALL`), and sometimes left out.
    Matchall,
    /// Matches every frame with a selector of no keys (`CONFIG_NET_CLS_U32`).
    U32,
}

/// How many messages of [`joining`] come first and may find nothing to delete.
const CLEARING: usize = 2;
const WHAT: &str = "redirect frames between a link and a tap";

/// Joins `link` and its lane's tap in the namespace, and brings the tap up.
///
/// An ingress qdisc already on the link is replaced: it is what an earlier machine in this namespace left.
pub fn redirect(ns: &Namespace, link: &Link, lane: Lane) -> Result<(), NetError> {
    match lane.tag {
        None => join(ns, link, lane.tap),
        Some(tag) => trunk::join(ns, link, lane.tap, tag),
    }
}

/// Joins a link and a tap that are each other's alone; the tap gets the link's MTU.
fn join(ns: &Namespace, link: &Link, tap_index: u32) -> Result<(), NetError> {
    ns.run(|| {
        let mut socket = Socket::open()?;
        let tap = index_of(&mut socket, &tap_name(tap_index))?;
        let mut missing = Errno::NOENT;
        for classifier in [Classifier::Matchall, Classifier::U32] {
            let answers = socket.batch(WHAT, &joining(link, tap, classifier))?;
            match answers.into_iter().skip(CLEARING).find_map(Result::err) {
                // Only now: before, the guest's frames would reach the namespace's IP stack.
                None => return socket.apply(WHAT, &[Message::new(RTM_NEWLINK, 0, &link_header(tap, IFF_UP, IFF_UP))]),
                Some(Errno::NODEV) => return Err(NetError::LinkGone { link: link.name.clone() }),
                Some(errno @ (Errno::NOENT | Errno::OPNOTSUPP)) => missing = errno,
                Some(errno) => return Err(NetError::from_errno(WHAT, errno)),
            }
        }
        Err(NetError::Unsupported {
            what: "redirect frames between devices; it needs CONFIG_NET_SCH_INGRESS, CONFIG_NET_ACT_MIRRED and \
                   CONFIG_NET_CLS_MATCHALL or CONFIG_NET_CLS_U32",
            source: missing.into(),
        })
    })?
}

/// The number of the device called `name` in the socket's namespace.
pub(crate) fn index_of(socket: &mut Socket, name: &str) -> Result<u32, NetError> {
    let request = Message::new(RTM_GETLINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name);
    match socket.ask(WHAT, &request)? {
        Ok(body) => number(body.get(4..8)).ok_or(NetError::Malformed { what: WHAT }),
        Err(Errno::NODEV) => Err(NetError::LinkGone { link: name.into() }),
        Err(errno) => Err(NetError::from_errno(WHAT, errno)),
    }
}

/// All it takes but bringing the tap up: clear both, an ingress qdisc and a filter on both, and the tap's MTU.
fn joining(link: &Link, tap: u32, classifier: Classifier) -> Vec<Message> {
    vec![
        clearing(link.index),
        clearing(tap),
        ingress(link.index),
        ingress(tap),
        filter(link.index, tap, classifier),
        filter(tap, link.index, classifier),
        Message::new(RTM_NEWLINK, 0, &link_header(tap, 0, 0)).word(IFLA_MTU, link.mtu),
    ]
}

/// Takes a device's ingress qdisc away, and every filter with it.
pub(crate) fn clearing(device: u32) -> Message {
    Message::new(RTM_DELQDISC, 0, &tc_header(device, INGRESS_HANDLE, INGRESS_PARENT, 0))
}

/// An ingress qdisc on a device.
pub(crate) fn ingress(device: u32) -> Message {
    let header = tc_header(device, INGRESS_HANDLE, INGRESS_PARENT, 0);
    Message::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &header).text(TCA_KIND, "ingress")
}

/// A filter that takes every frame coming in on `from` and sends it out by `to`.
fn filter(from: u32, to: u32, classifier: Classifier) -> Message {
    let header = tc_filter_header(from, 0, LAST_PRIORITY, ETH_P_ALL);
    let message = Message::new(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &header);
    match classifier {
        Classifier::Matchall => message.text(TCA_KIND, "matchall").nest(TCA_OPTIONS, |options| {
            options.nest(TCA_MATCHALL_ACT, |actions| mirred_action(actions, Mirred::Redirect, to))
        }),
        Classifier::U32 => message.text(TCA_KIND, "u32").nest(TCA_OPTIONS, |options| {
            // `struct tc_u32_sel`: flags, offset shift, number of keys, then offsets. No key: a key would not match a
            // frame too short to hold it, and that frame would reach the IP stack.
            let mut selector = [0; 16];
            selector[0] = TC_U32_TERMINAL;
            options
                .bytes(TCA_U32_SEL, &selector)
                .nest(TCA_U32_ACT, |actions| mirred_action(actions, Mirred::Redirect, to))
        }),
    }
}

/// The first and only action: `mirred egress`.
pub(crate) fn mirred_action(actions: Message, mirred: Mirred, to: u32) -> Message {
    let (then, what) = match mirred {
        Mirred::Redirect => (TC_ACT_STOLEN, TCA_EGRESS_REDIR),
        Mirred::CopyAndPass => (TC_ACT_OK, TCA_EGRESS_MIRROR),
    };
    // `struct tc_mirred`: index, capabilities, action, two counts, what to do, the device.
    let parameters: Vec<u8> =
        [0, 0, then, 0, 0, what, to].iter().flat_map(|word| word.to_ne_bytes()).collect();
    actions.nest(1, |action| {
        action
            .text(TCA_ACT_KIND, "mirred")
            .nest(TCA_ACT_OPTIONS, |options| options.bytes(TCA_MIRRED_PARMS, &parameters))
    })
}

/// `struct tcmsg` for a filter on frames coming in on a device; of several priorities the lowest decides first. Number 0
/// is the next that is free.
pub(crate) fn tc_filter_header(device: u32, number: u32, priority: u16, protocol: u16) -> Vec<u8> {
    let info = u32::from(priority) << 16 | u32::from(protocol.to_be());
    tc_header(device, number, INGRESS_HANDLE, info)
}

/// `struct tcmsg` for a device.
fn tc_header(device: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    [0, device, handle, parent, info].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Attributes, split};

    /// The same options as iproute2 6.1 sends for `matchall action mirred egress redirect` to device 2, recorded with
    /// strace, but for the flag that says "nested", which it sets on one of them only.
    #[test]
    fn matchall_is_encoded_as_iproute2_encodes_it() {
        let options: Vec<u8> = [
            &[0x38, 0, 2, 0, 0x34, 0, 1, 0, 0x0b, 0, 1, 0][..],
            b"mirred\0\0",
            &[0x24, 0, 2, 0, 0x20, 0, 2, 0],
            &[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0],
        ]
        .concat();
        let bytes = filter(9, 2, Classifier::Matchall).encode(0, 0);
        let (header, body) = split(&bytes).next().unwrap();
        assert_eq!((header.kind, header.flags), (RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL));
        assert_eq!([number(body.get(4..8)), number(body.get(12..16))], [Some(9), Some(INGRESS_HANDLE)]);
        assert_eq!(
            number(body.get(16..20)),
            Some(u32::from(LAST_PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be()))
        );
        assert_eq!(Attributes(&body[20..]).text(TCA_KIND), Some("matchall"));
        let mut ours = Attributes(&body[20..]).find(TCA_OPTIONS).unwrap().to_vec();
        for nested in [0, 4, 20] {
            ours[nested + 3] &= 0x7f;
        }
        assert_eq!(ours, options);
    }

    #[test]
    fn u32_ends_at_a_selector_without_keys() {
        let bytes = filter(9, 2, Classifier::U32).encode(0, 0);
        let attributes = Attributes(&split(&bytes).next().unwrap().1[20..]);
        assert_eq!(attributes.text(TCA_KIND), Some("u32"));
        let options = Attributes(attributes.find(TCA_OPTIONS).unwrap());
        let selector = options.find(TCA_U32_SEL).unwrap();
        assert_eq!((selector.len(), selector[0], selector[2]), (16, TC_U32_TERMINAL, 0));
        let action = Attributes(Attributes(options.find(TCA_U32_ACT).unwrap()).find(1).unwrap());
        assert_eq!(action.text(TCA_ACT_KIND), Some("mirred"));
    }

    #[test]
    fn both_are_cleared_before_and_the_tap_is_not_brought_up_with_the_rest() {
        let link =
            Link { index: 9, name: "eth0".into(), mac: [2; 6], mtu: 1400, ipv6: true, addresses: Vec::new() };
        let messages = joining(&link, 2, Classifier::U32);
        let decoded: Vec<_> = messages
            .iter()
            .map(|message| {
                let bytes = message.encode(0, 0);
                let (header, body) = split(&bytes).next().unwrap();
                (header.kind, number(body.get(4..8)).unwrap(), number(body.get(8..12)).unwrap())
            })
            .collect();
        let qdisc = |kind, device| (kind, device, INGRESS_HANDLE);
        assert_eq!(decoded[..CLEARING], [qdisc(RTM_DELQDISC, 9), qdisc(RTM_DELQDISC, 2)]);
        assert_eq!(decoded[CLEARING..4], [qdisc(RTM_NEWQDISC, 9), qdisc(RTM_NEWQDISC, 2)]);
        assert_eq!(decoded[4..], [(RTM_NEWTFILTER, 9, 0), (RTM_NEWTFILTER, 2, 0), (RTM_NEWLINK, 2, 0)]);
    }
}
