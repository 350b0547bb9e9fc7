// SPDX-License-Identifier: Apache-2.0
//! Just enough rtnetlink for this crate: four dumps, and changes of links, qdiscs and filters.
//!
//! `message` builds and reads bytes (pure), this file owns the socket. Some 30 attributes are used here; a general
//! library decodes several hundred and refuses a message for any of them it finds malformed.

mod message;

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use message::split;
pub(crate) use message::{Attributes, Message, number};

use crate::error::NetError;

/// `NLMSG_ERROR`, also the acknowledgement (with error 0); `NLMSG_DONE` ends a dump. linux/netlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const AF_INET6: u16 = 10;
pub(crate) const IFF_UP: u32 = 1;
/// The loopback is the first device of every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// The kernel fills at most 32 KiB of a dump into one answer.
const BUFFER: usize = 64 * 1024;
/// How often a dump that changed under the reader is asked for anew before that is called an error.
const DUMP_ATTEMPTS: u32 = 5;

/// A socket to the kernel's rtnetlink, of the namespace its opener was in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Socket {
    pub(crate) fn open() -> Result<Self, NetError> {
        let what = "open a netlink socket";
        // Protocol 0 is NETLINK_ROUTE. Unbound and unconnected: it talks to the kernel.
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(|errno| NetError::from_errno(what, errno))?;
        Ok(Self { fd, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// Sends changes in one go. The kernel carries out each, whatever became of those before it.
    ///
    /// The outer error is that of talking to the kernel, the inner ones are its answers, in the order of `messages`.
    pub(crate) fn batch(
        &mut self,
        what: &'static str,
        messages: &[Message],
    ) -> Result<Vec<Result<(), Errno>>, NetError> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            bytes.extend(message.encode(NLM_F_REQUEST | NLM_F_ACK, self.sequence));
        }
        self.send(what, &bytes)?;
        let mut answers = vec![None; messages.len()];
        while answers.iter().any(Option::is_none) {
            let received = self.receive(what)?;
            for (header, body) in message::split(&self.buffer[..received]) {
                let (NLMSG_ERROR, Some(code)) = (header.kind, number(body.get(..4))) else { continue };
                let position = header.sequence.checked_sub(first).and_then(|n| usize::try_from(n).ok());
                if let Some(answer) = position.and_then(|position| answers.get_mut(position)) {
                    *answer = Some(verdict(code));
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// As [`Socket::batch`], where each change must succeed.
    pub(crate) fn apply(&mut self, what: &'static str, messages: &[Message]) -> Result<(), NetError> {
        for answer in self.batch(what, messages)? {
            answer.map_err(|errno| NetError::from_errno(what, errno))?;
        }
        Ok(())
    }

    /// The bodies (fixed header and attributes) of everything the dump `request` gives.
    ///
    /// A dump the kernel marks as interrupted by a change is inconsistent and is asked for again, as rtnetlink wants it.
    pub(crate) fn dump(&mut self, what: &'static str, request: &Message) -> Result<Vec<Vec<u8>>, NetError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(what, request)? {
                return Ok(found);
            }
        }
        Err(NetError::from_errno(what, Errno::INTR))
    }

    fn dump_once(&mut self, what: &'static str, request: &Message) -> Result<Option<Vec<Vec<u8>>>, NetError> {
        self.sequence += 1;
        let bytes = request.encode(NLM_F_REQUEST | NLM_F_DUMP, self.sequence);
        self.send(what, &bytes)?;
        let mut found = Vec::new();
        let mut interrupted = false;
        loop {
            let received = self.receive(what)?;
            for (header, body) in message::split(&self.buffer[..received]) {
                if header.sequence != self.sequence {
                    continue;
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                if header.kind != NLMSG_DONE && header.kind != NLMSG_ERROR {
                    found.push(body.to_vec());
                    continue;
                }
                // Both carry a code; DONE's is absent in old kernels.
                verdict(number(body.get(..4)).unwrap_or(0))
                    .map_err(|errno| NetError::from_errno(what, errno))?;
                return Ok((!interrupted).then_some(found));
            }
        }
    }

    /// The body of the one answer to `request`.
    pub(crate) fn ask(
        &mut self,
        what: &'static str,
        request: &Message,
    ) -> Result<Result<Vec<u8>, Errno>, NetError> {
        self.sequence += 1;
        let bytes = request.encode(NLM_F_REQUEST, self.sequence);
        self.send(what, &bytes)?;
        let received = self.receive(what)?;
        let (header, body) =
            message::split(&self.buffer[..received]).next().ok_or(NetError::Malformed { what })?;
        if header.kind == NLMSG_ERROR {
            let code = number(body.get(..4)).ok_or(NetError::Malformed { what })?;
            return Ok(verdict(code).map(|()| Vec::new()));
        }
        Ok(Ok(body.to_vec()))
    }

    fn send(&self, what: &'static str, bytes: &[u8]) -> Result<(), NetError> {
        // A datagram: it is taken whole or not at all.
        send(&self.fd, bytes, SendFlags::empty()).map_err(|errno| NetError::from_errno(what, errno))?;
        Ok(())
    }

    fn receive(&mut self, what: &'static str) -> Result<usize, NetError> {
        loop {
            match recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((received, whole)) if received == whole && received > 0 => return Ok(received),
                Ok(_) => return Err(NetError::Malformed { what }),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(NetError::from_errno(what, errno)),
            }
        }
    }
}

/// The kernel's code in an answer: 0, or an errno with a minus.
fn verdict(code: u32) -> Result<(), Errno> {
    match code.wrapping_neg() {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno.cast_signed())),
    }
}

/// `struct ifinfomsg` for link `index` (0: named by an attribute), with `flags` changed to set where `change` has a bit.
pub(crate) fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Brings the loopback up.
pub(crate) fn loopback_up() -> Message {
    Message::new(RTM_NEWLINK, 0, &link_header(LOOPBACK, IFF_UP, IFF_UP))
}

/// Lets the link have no IPv6 link-local address, and so nothing to say when it comes up.
pub(crate) fn no_ipv6_address(name: &str) -> Message {
    Message::new(RTM_NEWLINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name).nest(IFLA_AF_SPEC, |spec| {
        spec.nest(AF_INET6, |inet6| inet6.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]))
    })
}
