// SPDX-License-Identifier: Apache-2.0
//! Tells that a namespace's links, addresses or routes have changed. Not what: [`crate::scan`] tells how it is now.
//!
//! Order: [`Changes::watch`] before the scan whose result is to be kept up to date; when the descriptor is readable,
//! [`Changes::forget`] and then a new scan. A change during that scan makes it readable again.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::error::NetError;
use crate::namespace::Namespace;

/// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`; linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
const WHAT: &str = "watch a network namespace";

/// The watch. It ends when dropped.
#[derive(Debug)]
pub struct Changes {
    fd: OwnedFd,
}

impl Changes {
    /// Begins to watch.
    pub fn watch(ns: &Namespace) -> Result<Self, NetError> {
        ns.run(|| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // Protocol 0 is NETLINK_ROUTE. The socket stays in this namespace, whoever reads it.
            let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None);
            let fd = fd.map_err(|errno| NetError::from_errno(WHAT, errno))?;
            bind(&fd, &SocketAddrNetlink::new(0, GROUPS))
                .map_err(|errno| NetError::from_errno(WHAT, errno))?;
            Ok(Self { fd })
        })?
    }

    /// Takes note of all changes so far; whether there were any.
    pub fn forget(&self) -> Result<bool, NetError> {
        let mut any = false;
        let mut buffer = [0; 4096];
        loop {
            match recv(&self.fd, &mut buffer, RecvFlags::empty()) {
                // More were told than were kept for us: all the same, something changed.
                Ok(_) | Err(Errno::NOBUFS) => any = true,
                Err(Errno::AGAIN) => return Ok(any),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(NetError::from_errno(WHAT, errno)),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::open_tap;

    #[test]
    fn a_new_device_is_a_change_and_noted_once() {
        let ns = Namespace::create().unwrap();
        let changes = Changes::watch(&ns).unwrap();
        assert!(!changes.forget().unwrap());
        let _tap = open_tap(&ns, 0).unwrap();
        assert!(changes.forget().unwrap());
        assert!(!changes.forget().unwrap());
    }
}
