// SPDX-License-Identifier: Apache-2.0
//! One network device: up, called something, with IPv6 or without. Which stands for what is [`super::cards`]'s.

use std::fs;

use rustix::io::Errno;

use super::netlink::{Message, Netlink};
use crate::error::{Fault, Trying};

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFF_UP: u32 = 1;
/// The index of lo in every namespace.
pub(super) const LOOPBACK: i32 = 1;

pub(super) fn raise(netlink: &Netlink, index: i32) -> Result<(), Errno> {
    netlink.request(Message::new(RTM_NEWLINK, 0, &link_body(index, IFF_UP, IFF_UP)))
}

/// A NIC with its driver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) index: i32,
    pub(super) name: String,
    pub(super) ipv6: bool,
}

impl Device {
    /// Has an effect only when something changes.
    pub(super) fn allow_ipv6(&mut self, allowed: bool) -> Result<(), Fault> {
        if self.ipv6 != allowed {
            let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", self.name);
            fs::write(&path, if allowed { "0" } else { "1" }).trying(|| format!("write {path}"))?;
            self.ipv6 = allowed;
        }
        Ok(())
    }
}

/// Some kernels rename no device that is up (before 6.3).
pub(super) fn rename(netlink: &Netlink, device: &mut Device, name: &str) -> Result<(), Fault> {
    let what = || format!("rename {} to {name}", device.name);
    let message = Message::new(RTM_NEWLINK, 0, &link_body(device.index, 0, IFF_UP));
    netlink.request(message).trying(what)?;
    let message = Message::new(RTM_NEWLINK, 0, &link_body(device.index, 0, 0));
    netlink.request(message.with(IFLA_IFNAME, format!("{name}\0").as_bytes())).trying(what)?;
    device.name = name.to_owned();
    Ok(())
}

/// `struct ifinfomsg`.
pub(super) fn link_body(index: i32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}
