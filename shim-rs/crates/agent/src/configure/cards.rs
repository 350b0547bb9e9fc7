// SPDX-License-Identifier: Apache-2.0
//! The guest's network devices: which have a driver, which stands for which interface, and what they are called.
//!
//! Device n is the one whose permanent address ends in n. Order: [`Cards::prepare`] at boot; [`Cards::connect`] gives
//! drivers to the cards that are needed and none to others, frees names, and has [`network`] do the rest. It may be
//! called again when the engine's network has changed: what is as it was is left as it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use boxlite_linux::netlink::numbers::{IFLA_IFNAME, LOOPBACK, RTM_GETLINK};
use boxlite_linux::netlink::{Attributes, Message, Socket, link_header, number};
use boxlite_protocol::NIC_MAC_PREFIX;
use boxlite_protocol::network::{Interface, Network};

use super::link::{Device, raise, rename};
use super::{network, nics};
use crate::error::{Fault, Trying};

const LINK_HEADER: usize = 16;
const IFLA_PERM_ADDRESS: u16 = 54;

/// The guest's network devices, and the socket they are set up by.
#[derive(Debug)]
pub(crate) struct Cards(Mutex<Held>);

#[derive(Debug)]
struct Held {
    socket: Socket,
    /// Those that have a driver, by number.
    known: BTreeMap<u32, Device>,
}

impl Cards {
    /// Raises lo, which every guest has, and the first card, which nearly every container takes over; the others wait
    /// without a driver. The card is silent: without IPv6 and addresses it has nothing to say.
    pub(crate) fn prepare() -> Result<Self, Fault> {
        let mut socket = Socket::open().trying(|| "open netlink".to_owned())?;
        raise(&mut socket, LOOPBACK).trying(|| "raise lo".to_owned())?;
        nics::park(Some(0))?;
        let mut known = devices(&mut socket)?;
        for (number, device) in &mut known {
            device.allow_ipv6(false)?;
            raise(&mut socket, device.index).trying(|| format!("raise NIC {number}"))?;
        }
        Ok(Self(Mutex::new(Held { socket, known })))
    }

    /// Everything in `network`.
    pub(crate) fn connect(&self, network: &Network) -> Result<(), Fault> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { socket, known } = &mut *held;
        if network.interfaces.is_empty() {
            known.clear();
            return nics::park(None);
        }
        find(socket, network, known)?;
        free_names(socket, network, known)?;
        network::apply(socket, network, known)
    }
}

/// Gives a driver to each NIC that an interface needs, and takes it off the others.
fn find(socket: &mut Socket, network: &Network, known: &mut BTreeMap<u32, Device>) -> Result<(), Fault> {
    let wanted = |number: &u32| network.interfaces.iter().any(|interface| interface.nic == *number);
    let idle: Vec<u32> = known.keys().copied().filter(|number| !wanted(number)).collect();
    for number in idle {
        if let Some(device) = known.remove(&number) {
            nics::release(&device.name)?;
        }
    }
    let missing = |known: &BTreeMap<u32, Device>| {
        network.interfaces.iter().any(|interface| !known.contains_key(&interface.nic))
    };
    if !missing(known) {
        return Ok(());
    }
    for name in nics::parked()? {
        nics::bind(&name)?;
        let mut fresh = devices(socket)?;
        fresh.retain(|number, _| !known.contains_key(number));
        if fresh.keys().all(wanted) {
            known.append(&mut fresh);
        } else {
            nics::unbind(&name)?;
        }
        if !missing(known) {
            break;
        }
    }
    Ok(())
}

/// Takes names out of the way that the kernel gave to one device and the engine to another.
fn free_names(
    socket: &mut Socket,
    network: &Network,
    devices: &mut BTreeMap<u32, Device>,
) -> Result<(), Fault> {
    let taken = |interface: &Interface| {
        let holder = devices.iter().find(|(_, device)| device.name == interface.name);
        holder.is_some_and(|(number, _)| *number != interface.nic)
    };
    if !network.interfaces.iter().any(taken) {
        return Ok(());
    }
    for (number, device) in devices {
        rename(socket, device, &format!("nic{number}"))?;
    }
    Ok(())
}

/// Each NIC that has a driver, by its number.
fn devices(socket: &mut Socket) -> Result<BTreeMap<u32, Device>, Fault> {
    let links = socket.dump(&Message::new(RTM_GETLINK, 0, &link_header(0, 0, 0)));
    let mut devices = BTreeMap::new();
    for link in links.trying(|| "list network devices".to_owned())? {
        devices.extend(nic(&link));
    }
    Ok(devices)
}

/// Number of a device, when it is one of the machine's NICs.
fn nic(link: &[u8]) -> Option<(u32, Device)> {
    let index = number(link.get(4..8))?;
    let attributes = Attributes(link.get(LINK_HEADER..)?);
    let &[nic] = attributes.find(IFLA_PERM_ADDRESS)?.strip_prefix(&NIC_MAC_PREFIX)? else { return None };
    let name = attributes.text(IFLA_IFNAME)?.to_owned();
    Some((u32::from(nic), Device { index, name, ipv6: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nic_is_known_by_its_permanent_address() {
        let mut link = link_header(7, 0, 0).to_vec();
        link.extend_from_slice(&[9, 0, 3, 0, b'e', b't', b'h', b'1', 0, 0, 0, 0]);
        link.extend_from_slice(&[10, 0, 54, 0, 0x52, 0x58, 0x4c, 0, 0, 3, 0, 0]);
        assert_eq!(nic(&link), Some((3, Device { index: 7, name: "eth1".into(), ipv6: true })));
        link[32] = 0x02;
        assert_eq!(nic(&link), None);
    }
}
