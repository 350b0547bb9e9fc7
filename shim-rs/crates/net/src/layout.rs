// SPDX-License-Identifier: Apache-2.0
//! What a network namespace looks like, as far as a guest has to repeat it. Plain data.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU8;

/// The links, routes and neighbours a guest takes over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// In the order the engine made them.
    pub links: Vec<Link>,
    /// In an order in which they can be added: a gateway's own route comes before the routes through it.
    pub routes: Vec<Route>,
    /// Permanent ones only; what was learned is learned again.
    pub neighbors: Vec<Neighbor>,
    /// Where the engine answers for names in the namespace, if it does.
    pub resolver: Option<Ipv4Addr>,
}

/// An Ethernet link that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it in its namespace.
    pub index: u32,
    /// As the engine named it ("eth0").
    pub name: String,
    /// Its hardware address, which the guest's device takes.
    pub mac: [u8; 6],
    /// In bytes, without the Ethernet header.
    pub mtu: u32,
    /// False where IPv6 is off on the link (`disable_ipv6`): the guest must not bring it back.
    pub ipv6: bool,
    /// Without those a guest's kernel gives itself: the IPv6 link-local address made from the MAC, and autoconfigured ones.
    pub addresses: Vec<Address>,
}

/// How a link's frames reach the machine: by which of its taps, and how they are told from those of other links there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The tap's number.
    pub tap: u32,
    /// The VLAN tag that the link's frames bear on the tap; none where the tap is the link's alone.
    pub tag: Option<NonZeroU8>,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link's own address.
    pub ip: IpAddr,
    /// Length in bits.
    pub prefix: u8,
    /// IPv4 only, where one is set.
    pub broadcast: Option<Ipv4Addr>,
    /// rtnetlink's `RT_SCOPE_*`.
    pub scope: u8,
}

/// A route of the main table that does not follow from an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// All zero with a prefix of 0.
    pub destination: IpAddr,
    /// Length in bits.
    pub prefix: u8,
    /// None: directly reachable. May be IPv6 under an IPv4 destination.
    pub gateway: Option<IpAddr>,
    /// The source address for what takes this route.
    pub preferred_source: Option<IpAddr>,
    /// The link's name; empty for a route that drops (`kind` blackhole, unreachable, prohibit).
    pub link: String,
    /// rtnetlink's `RT_SCOPE_*`.
    pub scope: u8,
    /// 0: the kernel's default.
    pub metric: u32,
    /// rtnetlink's `RTN_*`; 1 is unicast.
    pub kind: u8,
    /// The gateway counts as reachable though no route leads to it (`RTNH_F_ONLINK`).
    pub onlink: bool,
}

/// A permanent entry of the ARP or neighbour table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Whose hardware address it is.
    pub ip: IpAddr,
    /// The hardware address.
    pub mac: [u8; 6],
    /// The link's name.
    pub link: String,
}
