// SPDX-License-Identifier: Apache-2.0
//! rtnetlink with this crate's errors, which name the step, and the two messages that several modules send.
//!
//! Bytes and socket are [`boxlite_linux::netlink`]'s.

use boxlite_linux::netlink::{self, Failed};
use rustix::io::Errno;

pub(crate) use boxlite_linux::netlink::numbers::{
    IFF_UP, IFLA_IFNAME, IFLA_MTU, NLM_F_CREATE, NLM_F_EXCL, RTM_GETLINK, RTM_NEWLINK,
};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use boxlite_linux::netlink::split;
pub(crate) use boxlite_linux::netlink::{Attributes, Message, link_header, number};

use crate::error::NetError;

const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

/// A socket to the kernel's rtnetlink, of the namespace its opener was in. `what` is the step, for errors.
#[derive(Debug)]
pub(crate) struct Socket(netlink::Socket);

impl Socket {
    pub(crate) fn open() -> Result<Self, NetError> {
        let opened = netlink::Socket::open();
        opened.map(Self).map_err(|errno| NetError::from_errno("open a netlink socket", errno))
    }

    /// Sends changes in one go; the kernel's answer to each.
    pub(crate) fn batch(
        &mut self,
        what: &'static str,
        messages: &[Message],
    ) -> Result<Vec<Result<(), Errno>>, NetError> {
        self.0.batch(messages).map_err(failed(what))
    }

    /// As [`Socket::batch`], where each change must succeed.
    pub(crate) fn apply(&mut self, what: &'static str, messages: &[Message]) -> Result<(), NetError> {
        self.0.apply(messages).map_err(failed(what))
    }

    /// The bodies of everything the dump `request` gives.
    pub(crate) fn dump(&mut self, what: &'static str, request: &Message) -> Result<Vec<Vec<u8>>, NetError> {
        self.0.dump(request).map_err(failed(what))
    }

    /// The body of the one answer to `request`, or the kernel's error.
    pub(crate) fn ask(
        &mut self,
        what: &'static str,
        request: &Message,
    ) -> Result<Result<Vec<u8>, Errno>, NetError> {
        match self.0.ask(request) {
            Err(Failed::Kernel(errno)) => Ok(Err(errno)),
            answer => answer.map(Ok).map_err(failed(what)),
        }
    }
}

fn failed(what: &'static str) -> impl FnOnce(Failed) -> NetError {
    move |failed| match failed {
        Failed::Kernel(errno) => NetError::from_errno(what, errno),
        Failed::Malformed => NetError::Malformed { what },
    }
}

/// Brings the loopback up.
pub(crate) fn loopback_up() -> Message {
    Message::new(RTM_NEWLINK, 0, &link_header(netlink::numbers::LOOPBACK, IFF_UP, IFF_UP))
}

/// Lets the link have no IPv6 link-local address, and so nothing to say when it comes up.
pub(crate) fn no_ipv6_address(name: &str) -> Message {
    const AF_INET6: u16 = netlink::numbers::AF_INET6 as u16;
    Message::new(RTM_NEWLINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name).nest(IFLA_AF_SPEC, |spec| {
        spec.nest(AF_INET6, |inet6| inet6.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]))
    })
}
