// SPDX-License-Identifier: Apache-2.0
//! Repeats in the guest what the engine built in the container's network namespace.
//!
//! Does not own which device stands for which interface ([`super::cards`]). Order: devices, then routes (those that
//! need no gateway first), then neighbours.

use std::collections::BTreeMap;

use boxlite_linux::netlink::numbers::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_BROADCAST, IFA_FLAGS, IFA_LOCAL, IFF_UP, IFLA_ADDRESS, IFLA_MTU,
    LOOPBACK, NDA_DST, NDA_LLADDR, NLM_F_CREATE, NLM_F_REPLACE, NUD_PERMANENT, RT_TABLE_MAIN, RTA_DST,
    RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTM_NEWLINK, RTN_UNICAST, RTNH_F_ONLINK,
};
use boxlite_linux::netlink::{Failed, Message, Socket, link_header};
use boxlite_protocol::network::{Address, Interface, Neighbor, Network, Route};
use libc::{IFA_F_NODAD, RTM_NEWADDR, RTM_NEWNEIGH, RTM_NEWROUTE, RTPROT_BOOT};
use rustix::io::Errno;

use super::link::{Device, Place, rename};
use crate::error::{Fault, Trying};

/// Addresses, routes and neighbours, on devices that are there.
pub(super) fn apply(
    socket: &mut Socket,
    network: &Network,
    devices: &mut BTreeMap<Place, Device>,
) -> Result<(), Fault> {
    let mut indices = BTreeMap::from([("lo", LOOPBACK)]);
    for interface in &network.interfaces {
        let device = devices.get_mut(&Place::of(interface)).ok_or_else(|| {
            Fault::refused(format!("the machine has no NIC {} for {}", interface.nic, interface.name))
        })?;
        indices.insert(&interface.name, device.index);
        take_over(socket, interface, device)?;
    }
    let index_of = |name: &str| {
        let index = indices.get(name).copied();
        index.ok_or_else(|| Fault::refused(format!("route over an unknown interface {name:?}")))
    };
    for route in in_order(&network.routes) {
        // A route that drops what takes it goes by no interface.
        let index = if route.interface.is_empty() { None } else { Some(index_of(&route.interface)?) };
        let message = route_message(route, index);
        add(socket, message).trying(|| format!("add route over {}", route.interface))?;
    }
    for neighbor in &network.neighbors {
        let message = neighbor_message(neighbor, index_of(&neighbor.interface)?);
        add(socket, message).trying(|| format!("add neighbour on {}", neighbor.interface))?;
    }
    Ok(())
}

/// The kernel makes some entries by itself, when an address comes: there already is as good as added.
fn add(socket: &mut Socket, message: Message) -> Result<(), Failed> {
    match socket.apply(&[message]) {
        Err(Failed::Kernel(Errno::EXIST)) => Ok(()),
        other => other,
    }
}

/// Name, address and size of the interface, up; then its addresses.
fn take_over(socket: &mut Socket, interface: &Interface, device: &mut Device) -> Result<(), Fault> {
    let index = device.index;
    if device.name != interface.name {
        rename(socket, device, &interface.name)?;
    }
    if !interface.ipv6 {
        device.allow_ipv6(false)?;
    }
    let mut message = Message::new(RTM_NEWLINK, 0, &link_header(index, IFF_UP, IFF_UP));
    if !interface.mac.is_empty() {
        message = message.bytes(IFLA_ADDRESS, &interface.mac);
    }
    if interface.mtu != 0 {
        message = message.word(IFLA_MTU, interface.mtu);
    }
    socket.apply(&[message]).trying(|| format!("set up {}", interface.name))?;
    // Not before: the link-local address is made from the hardware's.
    if interface.ipv6 {
        device.allow_ipv6(true)?;
    }
    for address in &interface.addresses {
        add(socket, address_message(address, index))
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

/// `struct ifaddrmsg` and attributes.
fn address_message(address: &Address, index: u32) -> Message {
    let family = family(&address.ip);
    let mut body = [family, low_byte(address.prefix), 0, low_byte(address.scope), 0, 0, 0, 0];
    body[4..].copy_from_slice(&index.to_ne_bytes());
    let message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body)
        .bytes(IFA_LOCAL, &address.ip)
        .bytes(IFA_ADDRESS, &address.ip);
    if family == AF_INET6 {
        // No duplicate address detection: the engine has seen to it, and the address is usable at once.
        return message.word(IFA_FLAGS, IFA_F_NODAD);
    }
    if address.broadcast.is_empty() { message } else { message.bytes(IFA_BROADCAST, &address.broadcast) }
}

/// `struct rtmsg` and attributes.
fn route_message(route: &Route, index: Option<u32>) -> Message {
    let family = family(&route.destination);
    let kind = if route.type_ == 0 { RTN_UNICAST } else { low_byte(route.type_) };
    let mut body = [0; 12];
    body[..8].copy_from_slice(&[
        family,
        low_byte(route.prefix),
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        low_byte(route.scope),
        kind,
    ]);
    body[8..].copy_from_slice(&(if route.onlink { RTNH_F_ONLINK } else { 0 }).to_ne_bytes());
    // Replacing a route of the second family could take another interface's away.
    let replace = if family == AF_INET { NLM_F_REPLACE } else { 0 };
    let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | replace, &body);
    if let Some(index) = index {
        message = message.word(RTA_OIF, index);
    }
    if route.prefix != 0 {
        message = message.bytes(RTA_DST, &route.destination);
    }
    for (kind, value) in [(RTA_GATEWAY, &route.gateway), (RTA_PREFSRC, &route.preferred_source)] {
        if !value.is_empty() {
            message = message.bytes(kind, value);
        }
    }
    if route.metric == 0 { message } else { message.word(RTA_PRIORITY, route.metric) }
}

/// `struct ndmsg` and attributes.
fn neighbor_message(neighbor: &Neighbor, index: u32) -> Message {
    let mut body = [0; 12];
    body[0] = family(&neighbor.ip);
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    Message::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &body)
        .bytes(NDA_DST, &neighbor.ip)
        .bytes(NDA_LLADDR, &neighbor.mac)
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
