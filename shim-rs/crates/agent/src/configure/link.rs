// SPDX-License-Identifier: Apache-2.0
//! One network device: where it is, up, called something, with IPv6 or without. Which stands for what is
//! [`super::cards`]'s.

use std::fs;

use boxlite_linux::netlink::numbers::{IFF_UP, IFLA_IFNAME, RTM_GETLINK, RTM_NEWLINK};
use boxlite_linux::netlink::{Attributes, Failed, Message, Socket, link_header, number};
use boxlite_protocol::NIC_MAC_PREFIX;
use boxlite_protocol::network::Interface;

use crate::error::{Fault, Trying};

const LINK_HEADER: usize = 16;
const IFLA_PERM_ADDRESS: u16 = 54;

pub(super) fn raise(socket: &mut Socket, index: u32) -> Result<(), Failed> {
    socket.apply(&[Message::new(RTM_NEWLINK, 0, &link_header(index, IFF_UP, IFF_UP))])
}

/// Which device an interface takes: a card of the machine, or the one that bears a tag on a shared card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) nic: u32,
    /// 0: the card itself.
    pub(super) tag: u32,
}

impl Place {
    pub(super) fn of(interface: &Interface) -> Self {
        Self { nic: interface.nic, tag: interface.tag }
    }

    pub(super) fn card(nic: u32) -> Self {
        Self { nic, tag: 0 }
    }

    /// What a device is called that has no other name. No engine calls one so.
    pub(super) fn name(self) -> String {
        if self.tag == 0 { format!("nic{}", self.nic) } else { format!("nic{}.{}", self.nic, self.tag) }
    }
}

/// A NIC with its driver, or a device on one.
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

/// Each NIC that has a driver and is in the socket's namespace.
pub(super) fn cards(socket: &mut Socket) -> Result<Vec<(Place, Device)>, Fault> {
    let links = socket.dump(&Message::new(RTM_GETLINK, 0, &link_header(0, 0, 0)));
    let links = links.trying(|| "list network devices".to_owned())?;
    Ok(links.iter().filter_map(|link| nic(link)).collect())
}

/// A device, when it is one of the machine's NICs.
fn nic(link: &[u8]) -> Option<(Place, Device)> {
    let index = number(link.get(4..8))?;
    let attributes = Attributes(link.get(LINK_HEADER..)?);
    let &[nic] = attributes.find(IFLA_PERM_ADDRESS)?.strip_prefix(&NIC_MAC_PREFIX)? else { return None };
    let name = attributes.text(IFLA_IFNAME)?.to_owned();
    Some((Place::card(nic.into()), Device { index, name, ipv6: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nic_is_known_by_its_permanent_address() {
        let mut link = link_header(7, 0, 0).to_vec();
        link.extend_from_slice(&[9, 0, 3, 0, b'e', b't', b'h', b'1', 0, 0, 0, 0]);
        link.extend_from_slice(&[10, 0, 54, 0, 0x52, 0x58, 0x4c, 0, 0, 3, 0, 0]);
        let device = Device { index: 7, name: "eth1".into(), ipv6: true };
        assert_eq!(nic(&link), Some((Place { nic: 3, tag: 0 }, device)));
        link[32] = 0x02;
        assert_eq!(nic(&link), None);
    }
}
