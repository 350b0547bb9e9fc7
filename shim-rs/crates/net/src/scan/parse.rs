// SPDX-License-Identifier: Apache-2.0
//! From the bodies of rtnetlink's dumps to a [`Layout`]. Pure; field offsets are those of linux/rtnetlink.h,
//! if_link.h, if_addr.h and neighbour.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use boxlite_linux::netlink::numbers::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_BROADCAST, IFA_FLAGS, IFA_LOCAL, IFLA_ADDRESS, NDA_DST, NDA_LLADDR,
    NUD_PERMANENT, RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTN_UNICAST,
    RTNH_F_ONLINK,
};

use super::{ADDRESS_HEADER, Dumps, NEIGHBOR_HEADER, ROUTE_HEADER};
use crate::error::NetError;
use crate::layout::{Address, Layout, Link, Neighbor, Route};
use crate::netlink::{Attributes, IFF_UP, IFLA_IFNAME, IFLA_MTU, number};
use crate::tap::is_tap_name;

const LINK_HEADER: usize = 16;
const ARPHRD_ETHER: u16 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFLA_MASTER: u16 = 10;
const IFA_F_PERMANENT: u32 = 0x80;
const RTPROT_REDIRECT: u8 = 1;
const RTPROT_KERNEL: u8 = 2;
const RTPROT_RA: u8 = 9;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_DEAD: u32 = 1;
const RTNH_F_LINKDOWN: u32 = 16;
/// Blackhole, unreachable, prohibit: routes that drop. `throw` means nothing with one table.
const DROPPING: std::ops::RangeInclusive<u8> = 6..=8;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const NEXTHOP_HEADER: usize = 8;
const NTF_PROXY: u8 = 8;

/// Puts the dumps together.
pub(super) fn layout(dumps: &Dumps) -> Result<Layout, NetError> {
    let mut links = Vec::new();
    for body in &dumps.links {
        links.extend(link(body).ok_or(NetError::Malformed { what: "network links" })?);
    }
    for body in &dumps.addresses {
        let (index, found) = address(body).ok_or(NetError::Malformed { what: "network addresses" })?;
        if let Some(link) = links.iter_mut().find(|link: &&mut Link| link.index == index) {
            link.ipv6 |= body[0] == AF_INET6;
            link.addresses.extend(found.filter(|found| !is_made_from_mac(found.ip, link.mac)));
        }
    }
    let mut routes = Vec::new();
    for body in &dumps.routes {
        routes.extend(route(body, &links).ok_or(NetError::Malformed { what: "routes" })?);
    }
    // A gateway must be reachable when its route is added. The kernel's order is that of the destinations.
    routes.sort_by_key(|route: &Route| route.gateway.is_some());
    let mut neighbors = Vec::new();
    for body in &dumps.neighbors {
        neighbors.extend(neighbor(body, &links).ok_or(NetError::Malformed { what: "network neighbours" })?);
    }
    Ok(Layout { links, routes, neighbors, resolver: None })
}

/// Outer None: malformed. Inner None: not for a guest.
fn link(body: &[u8]) -> Option<Option<Link>> {
    let kind = u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?);
    let (index, flags) = (number(body.get(4..8))?, number(body.get(8..12))?);
    let attributes = Attributes(body.get(LINK_HEADER..)?);
    let name = attributes.text(IFLA_IFNAME)?;
    if flags & IFF_LOOPBACK != 0
        || flags & IFF_UP == 0
        || is_tap_name(name)
        || attributes.find(IFLA_MASTER).is_some()
    {
        return Some(None);
    }
    if kind != ARPHRD_ETHER {
        tracing::warn!(link = name, kind, "link is not Ethernet, the guest goes without it");
        return Some(None);
    }
    let mac = attributes.find(IFLA_ADDRESS)?.try_into().ok()?;
    let mtu = attributes.word(IFLA_MTU)?;
    Some(Some(Link { index, name: name.into(), mac, mtu, ipv6: false, addresses: Vec::new() }))
}

/// The link's number, and the address unless the kernel made it for a while (autoconfigured).
fn address(body: &[u8]) -> Option<(u32, Option<Address>)> {
    let &[family, length, flags, scope, ..] = body else { return None };
    let index = number(body.get(4..8))?;
    let attributes = Attributes(body.get(ADDRESS_HEADER..)?);
    let flags = attributes.word(IFA_FLAGS).unwrap_or_else(|| flags.into());
    if family != AF_INET && (family != AF_INET6 || flags & IFA_F_PERMANENT == 0) {
        return Some((index, None));
    }
    let far = attributes.find(IFA_ADDRESS).map(ip);
    let ip = attributes.find(IFA_LOCAL).map(ip).or(far)??;
    // With a peer the length is the peer's, which the kernel's route to it tells.
    let prefix = if far == Some(Some(ip)) || far.is_none() { length } else { bits(ip) };
    let broadcast = match attributes.find(IFA_BROADCAST).and_then(self::ip) {
        Some(IpAddr::V4(broadcast)) => Some(broadcast),
        _ => None,
    };
    Some((index, Some(Address { ip, prefix, broadcast, scope })))
}

/// A route's way out: link, gateway, flags.
#[derive(Debug, Clone, Copy)]
struct Hop {
    link: u32,
    gateway: Option<IpAddr>,
    flags: u32,
}

fn route(body: &[u8], links: &[Link]) -> Option<Option<Route>> {
    let &[family, prefix, source_prefix, _, table, protocol, scope, kind, ..] = body else { return None };
    let flags = number(body.get(8..12))?;
    let attributes = Attributes(body.get(ROUTE_HEADER..)?);
    let table = attributes.word(RTA_TABLE).unwrap_or_else(|| table.into());
    let wanted = (kind == RTN_UNICAST || DROPPING.contains(&kind)) && [AF_INET, AF_INET6].contains(&family);
    if table != u32::from(RT_TABLE_MAIN)
        || !wanted
        || flags & RTM_F_CLONED != 0
        || [RTPROT_REDIRECT, RTPROT_RA].contains(&protocol)
    {
        return Some(None);
    }
    let destination = match attributes.find(RTA_DST) {
        Some(bytes) => ip(bytes)?,
        None if family == AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        None => Ipv6Addr::UNSPECIFIED.into(),
    };
    if source_prefix != 0 {
        tracing::warn!(%destination, prefix, "route depends on the source, the guest goes without it");
        return Some(None);
    }
    let metric = attributes.word(RTA_PRIORITY).unwrap_or(0);
    let preferred_source = attributes.find(RTA_PREFSRC).and_then(ip);
    let route = |link: &str, gateway, onlink| Route {
        destination,
        prefix,
        gateway,
        preferred_source,
        link: link.into(),
        scope,
        metric,
        kind,
        onlink,
    };
    if kind != RTN_UNICAST {
        return Some(Some(route("", None, false)));
    }
    let hop = first_hop(attributes, flags)?;
    let Some(link) = links.iter().find(|link| link.index == hop.link) else { return Some(None) };
    let dead = hop.flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) != 0;
    if dead || (protocol == RTPROT_KERNEL && follows(destination, prefix, link)) {
        return Some(None);
    }
    Some(Some(route(&link.name, hop.gateway, hop.flags & RTNH_F_ONLINK != 0)))
}

/// The only way out, or the first of several.
fn first_hop(attributes: Attributes<'_>, flags: u32) -> Option<Hop> {
    if let Some(hops) = attributes.find(RTA_MULTIPATH) {
        tracing::warn!("route has several next hops, the guest takes the first");
        let size = usize::from(u16::from_ne_bytes(hops.get(..2)?.try_into().ok()?));
        let inner = Attributes(hops.get(NEXTHOP_HEADER..size)?);
        return Some(Hop {
            link: number(hops.get(4..8))?,
            gateway: gateway(inner),
            flags: u32::from(hops[2]),
        });
    }
    Some(Hop { link: attributes.word(RTA_OIF)?, gateway: gateway(attributes), flags })
}

/// `RTA_VIA` (family in two bytes, then the address) is a gateway of another family than the route's.
fn gateway(attributes: Attributes<'_>) -> Option<IpAddr> {
    attributes.find(RTA_GATEWAY).and_then(ip).or_else(|| ip(attributes.find(RTA_VIA)?.get(2..)?))
}

fn neighbor(body: &[u8], links: &[Link]) -> Option<Option<Neighbor>> {
    let index = number(body.get(4..8))?;
    let state = u16::from_ne_bytes(body.get(8..10)?.try_into().ok()?);
    let flags = *body.get(10)?;
    let attributes = Attributes(body.get(NEIGHBOR_HEADER..)?);
    let link = links.iter().find(|link| link.index == index);
    let (Some(link), true) = (link, state & NUD_PERMANENT != 0 && flags & NTF_PROXY == 0) else {
        return Some(None);
    };
    let Some(mac) = attributes.find(NDA_LLADDR) else { return Some(None) };
    let ip = ip(attributes.find(NDA_DST)?)?;
    Some(Some(Neighbor { ip, mac: mac.try_into().ok()?, link: link.name.clone() }))
}

/// 4 or 16 bytes.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The IPv6 link-local address every kernel makes from a MAC (RFC 4291, appendix A).
fn is_made_from_mac(ip: IpAddr, [a, b, c, d, e, f]: [u8; 6]) -> bool {
    ip == IpAddr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// True for the routes a kernel adds by itself with the link's addresses and with IPv6.
fn follows(destination: IpAddr, prefix: u8, link: &Link) -> bool {
    let own = match destination {
        IpAddr::V4(_) => false,
        IpAddr::V6(destination) => destination.is_unicast_link_local() || destination.is_multicast(),
    };
    own || link
        .addresses
        .iter()
        .any(|address| address.prefix == prefix && network(address.ip, prefix) == destination)
}

fn network(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests;
