// SPDX-License-Identifier: Apache-2.0
//! Repeats in the guest what the engine built in the container's network namespace.
//!
//! Does not own which device stands for which interface ([`super::cards`]). Order: devices, then routes (those that
//! need no gateway first), then neighbours.

use std::collections::BTreeMap;

use boxlite_protocol::network::{Address, Interface, Neighbor, Network, Route};
use rustix::io::Errno;

use super::link::{Device, IFF_UP, LOOPBACK, RTM_NEWLINK, link_body, rename};
use super::netlink::{Message, NLM_F_CREATE, NLM_F_REPLACE, Netlink};
use crate::error::{Fault, Trying};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
/// No duplicate address detection: the engine has seen to it, and the address is usable at once.
const IFA_F_NODAD: u32 = 2;
const NUD_PERMANENT: u16 = 0x80;

/// Addresses, routes and neighbours, on devices that are there.
pub(super) fn apply(
    netlink: &Netlink,
    network: &Network,
    devices: &mut BTreeMap<u32, Device>,
) -> Result<(), Fault> {
    let mut indices = BTreeMap::from([("lo", LOOPBACK)]);
    for interface in &network.interfaces {
        let device = devices.get_mut(&interface.nic).ok_or_else(|| {
            Fault::refused(format!("the machine has no NIC {} for {}", interface.nic, interface.name))
        })?;
        indices.insert(&interface.name, device.index);
        take_over(netlink, interface, device)?;
    }
    let index_of = |name: &str| {
        let index = indices.get(name).copied();
        index.ok_or_else(|| Fault::refused(format!("route over an unknown interface {name:?}")))
    };
    for route in in_order(&network.routes) {
        // A route that drops what takes it goes by no interface.
        let index = if route.interface.is_empty() { None } else { Some(index_of(&route.interface)?) };
        let message = route_message(route, index);
        add(netlink, message).trying(|| format!("add route over {}", route.interface))?;
    }
    for neighbor in &network.neighbors {
        let message = neighbor_message(neighbor, index_of(&neighbor.interface)?);
        add(netlink, message).trying(|| format!("add neighbour on {}", neighbor.interface))?;
    }
    Ok(())
}

/// The kernel makes some entries by itself, when an address comes: there already is as good as added.
fn add(netlink: &Netlink, message: Message) -> Result<(), Errno> {
    match netlink.request(message) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Name, address and size of the interface, up; then its addresses.
fn take_over(netlink: &Netlink, interface: &Interface, device: &mut Device) -> Result<(), Fault> {
    let index = device.index;
    if device.name != interface.name {
        rename(netlink, device, &interface.name)?;
    }
    if !interface.ipv6 {
        device.allow_ipv6(false)?;
    }
    let mut message = Message::new(RTM_NEWLINK, 0, &link_body(index, IFF_UP, IFF_UP));
    if !interface.mac.is_empty() {
        message = message.with(IFLA_ADDRESS, &interface.mac);
    }
    if interface.mtu != 0 {
        message = message.with(IFLA_MTU, &interface.mtu.to_ne_bytes());
    }
    netlink.request(message).trying(|| format!("set up {}", interface.name))?;
    // Not before: the link-local address is made from the hardware's.
    if interface.ipv6 {
        device.allow_ipv6(true)?;
    }
    for address in &interface.addresses {
        add(netlink, address_message(address, index))
            .trying(|| format!("add address to {}", interface.name))?;
    }
    Ok(())
}

/// Those that say how gateways are reached come before those that name one.
fn in_order(routes: &[Route]) -> impl Iterator<Item = &Route> {
    let direct = routes.iter().filter(|route| route.gateway.is_empty());
    direct.chain(routes.iter().filter(|route| !route.gateway.is_empty()))
}

fn family(ip: &[u8]) -> u8 {
    if ip.len() == 16 { AF_INET6 } else { AF_INET }
}

fn low_byte(number: u32) -> u8 {
    number.to_le_bytes()[0]
}

/// `struct ifaddrmsg` and attributes: IFA_LOCAL 2, IFA_ADDRESS 1, IFA_BROADCAST 4, IFA_FLAGS 8.
fn address_message(address: &Address, index: i32) -> Message {
    let family = family(&address.ip);
    let mut body = [family, low_byte(address.prefix), 0, low_byte(address.scope), 0, 0, 0, 0];
    body[4..].copy_from_slice(&index.to_ne_bytes());
    let message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body)
        .with(2, &address.ip)
        .with(1, &address.ip);
    if family == AF_INET6 {
        return message.with(8, &IFA_F_NODAD.to_ne_bytes());
    }
    if address.broadcast.is_empty() { message } else { message.with(4, &address.broadcast) }
}

/// `struct rtmsg` and attributes: RTA_DST 1, RTA_OIF 4, RTA_GATEWAY 5, RTA_PRIORITY 6, RTA_PREFSRC 7.
fn route_message(route: &Route, index: Option<i32>) -> Message {
    const TABLE_MAIN: u8 = 254;
    const PROTOCOL_BOOT: u8 = 3;
    const ONLINK: u32 = 4;
    let family = family(&route.destination);
    let kind = if route.type_ == 0 { 1 } else { low_byte(route.type_) };
    let mut body = [0; 12];
    body[..8].copy_from_slice(&[
        family,
        low_byte(route.prefix),
        0,
        0,
        TABLE_MAIN,
        PROTOCOL_BOOT,
        low_byte(route.scope),
        kind,
    ]);
    body[8..].copy_from_slice(&(if route.onlink { ONLINK } else { 0 }).to_ne_bytes());
    // Replacing a route of the second family could take another interface's away.
    let replace = if family == AF_INET { NLM_F_REPLACE } else { 0 };
    let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | replace, &body);
    if let Some(index) = index {
        message = message.with(4, &index.to_ne_bytes());
    }
    if route.prefix != 0 {
        message = message.with(1, &route.destination);
    }
    for (kind, value) in [(5, &route.gateway), (7, &route.preferred_source)] {
        if !value.is_empty() {
            message = message.with(kind, value);
        }
    }
    if route.metric == 0 { message } else { message.with(6, &route.metric.to_ne_bytes()) }
}

/// `struct ndmsg` and attributes: NDA_DST 1, NDA_LLADDR 2.
fn neighbor_message(neighbor: &Neighbor, index: i32) -> Message {
    let mut body = [0; 12];
    body[0] = family(&neighbor.ip);
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    Message::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &body)
        .with(1, &neighbor.ip)
        .with(2, &neighbor.mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_come_after_what_reaches_them() {
        let route = |gateway: &[u8]| Route { gateway: gateway.to_vec(), ..Route::default() };
        let routes = [route(&[10, 0, 0, 1]), route(&[]), route(&[10, 0, 0, 2]), route(&[])];
        let order: Vec<usize> = in_order(&routes).map(|route| route.gateway.len()).collect();
        assert_eq!(order, [0, 0, 4, 4]);
    }
}
