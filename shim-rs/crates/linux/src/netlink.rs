// SPDX-License-Identifier: Apache-2.0
//! Just enough rtnetlink for host and guest: acknowledged changes, dumps, and single questions.
//!
//! [`Message`] and [`Attributes`] are bytes (pure), [`numbers`] are the kernel's names, this file owns the socket. What
//! is asked for and changed is the callers' affair. Some 40 attributes are used in all; a general library decodes
//! several hundred and refuses a message for any of them it finds malformed.
//!
//! Order of calls: [`Socket::open`] in the namespace that is meant; then any of the others, one at a time.

mod message;
pub mod numbers;

use std::os::fd::OwnedFd;
use std::{fmt, io};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

pub use message::{Attributes, Header, Message, number, split};

/// `NLMSG_ERROR`, also the acknowledgement (with error 0); `NLMSG_DONE` ends a dump. linux/netlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

/// The kernel fills at most 32 KiB of a dump into one answer.
const BUFFER: usize = 64 * 1024;
/// How often a dump that changed under the reader is asked for anew before that is called an error.
const DUMP_ATTEMPTS: u32 = 5;

/// Why a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// What the kernel said.
    Kernel(Errno),
    /// The kernel's answer could not be read.
    Malformed,
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(errno) => errno.fmt(formatter),
            Self::Malformed => formatter.write_str("the kernel's answer is malformed"),
        }
    }
}

impl std::error::Error for Failed {}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Kernel(errno) => errno.into(),
            Failed::Malformed => Self::new(io::ErrorKind::InvalidData, failed),
        }
    }
}

/// A socket to the kernel's rtnetlink, of the namespace its opener was in.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Socket {
    /// Opens one, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> Result<Self, Errno> {
        // Protocol 0 is NETLINK_ROUTE. Unbound and unconnected: it talks to the kernel.
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { fd, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// Sends changes in one go. The kernel carries out each, whatever became of those before it.
    ///
    /// # Errors
    /// The outer one is that of talking to the kernel, the inner ones are its answers, in the order of `messages`.
    pub fn batch(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Errno>>, Failed> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            bytes.extend_from_slice(&message.encode(NLM_F_REQUEST | NLM_F_ACK, self.sequence));
        }
        self.send(&bytes)?;
        let mut answers = vec![None; messages.len()];
        while answers.iter().any(Option::is_none) {
            let received = self.receive()?;
            for (header, body) in split(&self.buffer[..received]) {
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
    ///
    /// # Errors
    /// The first there is.
    pub fn apply(&mut self, messages: &[Message]) -> Result<(), Failed> {
        for answer in self.batch(messages)? {
            answer?;
        }
        Ok(())
    }

    /// The bodies (fixed header and attributes) of everything the dump `request` gives.
    ///
    /// A dump the kernel marks as interrupted by a change is inconsistent and is asked for again, as rtnetlink wants it.
    ///
    /// # Errors
    /// The kernel's; EINTR where the dump never came out consistent.
    pub fn dump(&mut self, request: &Message) -> Result<Vec<Vec<u8>>, Failed> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(request)? {
                return Ok(found);
            }
        }
        Err(Failed::Kernel(Errno::INTR))
    }

    fn dump_once(&mut self, request: &Message) -> Result<Option<Vec<Vec<u8>>>, Failed> {
        self.sequence += 1;
        self.send(&request.encode(NLM_F_REQUEST | NLM_F_DUMP, self.sequence))?;
        let mut found = Vec::new();
        let mut interrupted = false;
        loop {
            let received = self.receive()?;
            for (header, body) in split(&self.buffer[..received]) {
                if header.sequence != self.sequence {
                    continue;
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                if header.kind != NLMSG_DONE && header.kind != NLMSG_ERROR {
                    found.push(body.to_vec());
                    continue;
                }
                // Both carry a code; DONE's is absent in old kernels.
                verdict(number(body.get(..4)).unwrap_or(0))?;
                return Ok((!interrupted).then_some(found));
            }
        }
    }

    /// The body of the one answer to `request`.
    ///
    /// # Errors
    /// The kernel's, also where it answers with one.
    pub fn ask(&mut self, request: &Message) -> Result<Vec<u8>, Failed> {
        self.sequence += 1;
        self.send(&request.encode(NLM_F_REQUEST, self.sequence))?;
        let received = self.receive()?;
        let (header, body) = split(&self.buffer[..received]).next().ok_or(Failed::Malformed)?;
        if header.kind == NLMSG_ERROR {
            verdict(number(body.get(..4)).ok_or(Failed::Malformed)?)?;
            return Ok(Vec::new());
        }
        Ok(body.to_vec())
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        // A datagram: it is taken whole or not at all.
        send(&self.fd, bytes, SendFlags::empty()).map(drop)
    }

    fn receive(&mut self) -> Result<usize, Failed> {
        loop {
            match recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((received, whole)) if received == whole && received > 0 => return Ok(received),
                Ok(_) => return Err(Failed::Malformed),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
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
#[must_use]
pub fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::numbers::{IFLA_IFNAME, LOOPBACK, RTM_GETLINK, RTM_NEWLINK};
    use super::*;

    fn named(name: &str) -> Message {
        Message::new(RTM_GETLINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name)
    }

    #[test]
    fn a_dump_gives_a_body_for_each_link() {
        let bodies = Socket::open().unwrap().dump(&Message::new(RTM_GETLINK, 0, &link_header(0, 0, 0)));
        let names: Vec<_> = bodies.unwrap();
        let names: Vec<_> = names.iter().map(|body| Attributes(&body[16..]).text(IFLA_IFNAME)).collect();
        assert!(names.contains(&Some("lo")), "{names:?}");
    }

    #[test]
    fn a_question_has_one_answer_or_the_kernels_error() {
        let mut socket = Socket::open().unwrap();
        let body = socket.ask(&named("lo")).unwrap();
        assert_eq!(number(body.get(4..8)), Some(LOOPBACK));
        assert_eq!(socket.ask(&named("no-such-link")), Err(Failed::Kernel(Errno::NODEV)));
    }

    #[test]
    fn each_change_of_a_batch_has_its_own_answer() {
        let mut socket = Socket::open().unwrap();
        let nothing = |index| Message::new(RTM_NEWLINK, 0, &link_header(index, 0, 0));
        let changes = [nothing(LOOPBACK), nothing(i32::MAX.cast_unsigned()), nothing(LOOPBACK)];
        let answers = socket.batch(&changes).unwrap();
        assert_eq!(answers, [Ok(()), Err(Errno::NODEV), Ok(())]);
        assert_eq!(socket.apply(&changes), Err(Failed::Kernel(Errno::NODEV)));
        assert_eq!(socket.apply(&changes[2..]), Ok(()), "what was answered before is not taken for this");
    }

    #[test]
    fn a_failure_keeps_the_kernels_number() {
        let error = io::Error::from(Failed::Kernel(Errno::EXIST));
        assert_eq!(error.raw_os_error(), Some(Errno::EXIST.raw_os_error()));
        assert_eq!(io::Error::from(Failed::Malformed).kind(), io::ErrorKind::InvalidData);
    }
}
