// SPDX-License-Identifier: Apache-2.0
//! As much of rtnetlink as the guest's network needs: build a message, send it, read the kernel's answers.
//!
//! Knows no interface and no address; [`super::network`] does.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// A request under construction.
#[derive(Debug)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// `kind` is an RTM_*, `flags` NLM_F_* beyond request and acknowledge, `body` the kind's own structure.
    pub(super) fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let acknowledge = if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST | acknowledge).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(body);
        Self { bytes }
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.pad();
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.pad();
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        self.bytes[..4].copy_from_slice(&length);
        self.bytes
    }
}

/// A socket to the kernel.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> Result<Self, Errno> {
        // No protocol is protocol 0, which is NETLINK_ROUTE.
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends a request and waits for its acknowledgement.
    pub(super) fn request(&self, message: Message) -> Result<(), Errno> {
        self.exchange(message, |_, _| ())
    }

    /// Sends a request and shows `see` the kind and body of each message of the answer.
    pub(super) fn exchange(&self, message: Message, mut see: impl FnMut(u16, &[u8])) -> Result<(), Errno> {
        rustix::net::send(&self.0, &message.finish(), SendFlags::empty())?;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let (count, _) = rustix::net::recv(&self.0, &mut *buffer, RecvFlags::empty())?;
            for (kind, body) in messages(&buffer[..count]) {
                match (kind, body) {
                    (NLMSG_DONE, _) => return Ok(()),
                    (NLMSG_ERROR, &[a, b, c, d, ..]) => {
                        return match i32::from_ne_bytes([a, b, c, d]) {
                            0 => Ok(()),
                            error => Err(Errno::from_raw_os_error(-error)),
                        };
                    }
                    _ => see(kind, body),
                }
            }
        }
    }
}

fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    blocks(bytes, |head| {
        let &[a, b, c, d, k0, k1, ..] = head else { return None };
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).ok()?;
        Some((u16::from_ne_bytes([k0, k1]), length, HEADER))
    })
}

/// Kind and value of each attribute.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    blocks(bytes, |head| {
        let &[l0, l1, k0, k1, ..] = head else { return None };
        Some((u16::from_ne_bytes([k0, k1]), usize::from(u16::from_ne_bytes([l0, l1])), 4))
    })
}

/// Splits blocks that say their own length and start at multiples of four; stops at nonsense.
fn blocks(
    mut bytes: &[u8],
    head: impl Fn(&[u8]) -> Option<(u16, usize, usize)>,
) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (kind, length, start) = head(bytes)?;
        let body = bytes.get(start..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_laid_out_for_the_kernel() {
        let bytes = Message::new(16, NLM_F_CREATE, &[9; 4]).with(3, b"eth").with(4, &[1]).finish();
        assert_eq!(bytes.len(), 36);
        assert_eq!(bytes[..4], 36u32.to_ne_bytes());
        assert_eq!(bytes[6..8], (NLM_F_CREATE | 5).to_ne_bytes());
        let found: Vec<_> = attributes(&bytes[20..]).collect();
        assert_eq!(found, [(3, &b"eth"[..]), (4, &[1][..])]);
    }

    #[test]
    fn truncated_answer_ends() {
        assert_eq!(attributes(&[9, 0, 1, 0, 7]).count(), 0);
        assert_eq!(messages(&[0; 7]).count(), 1 - 1);
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
    }

    #[test]
    fn kernel_answers_a_dump() {
        let netlink = Netlink::open().unwrap();
        let mut links = 0;
        netlink
            .exchange(Message::new(18, NLM_F_DUMP, &[0; 16]), |kind, _| links += usize::from(kind == 16))
            .unwrap();
        assert!(links > 0);
    }
}
