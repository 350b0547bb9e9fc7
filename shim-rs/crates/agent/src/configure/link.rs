// SPDX-License-Identifier: Apache-2.0
//! One network device: up, called something, with IPv6 or without. Which stands for what is [`super::cards`]'s.

use std::fs;

use boxlite_linux::netlink::numbers::{IFF_UP, IFLA_IFNAME, RTM_NEWLINK};
use boxlite_linux::netlink::{Failed, Message, Socket, link_header};

use crate::error::{Fault, Trying};

pub(super) fn raise(socket: &mut Socket, index: u32) -> Result<(), Failed> {
    socket.apply(&[Message::new(RTM_NEWLINK, 0, &link_header(index, IFF_UP, IFF_UP))])
}

/// A NIC with its driver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) index: u32,
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
pub(super) fn rename(socket: &mut Socket, device: &mut Device, name: &str) -> Result<(), Fault> {
    let what = || format!("rename {} to {name}", device.name);
    let down = Message::new(RTM_NEWLINK, 0, &link_header(device.index, 0, IFF_UP));
    socket.apply(&[down]).trying(what)?;
    let named = Message::new(RTM_NEWLINK, 0, &link_header(device.index, 0, 0)).text(IFLA_IFNAME, name);
    socket.apply(&[named]).trying(what)?;
    device.name = name.to_owned();
    Ok(())
}
