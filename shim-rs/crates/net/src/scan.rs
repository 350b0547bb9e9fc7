// SPDX-License-Identifier: Apache-2.0
//! Reads what the engine built in a namespace: one dump each of links, addresses, routes and neighbours, and
//! whether it answers for names.
//!
//! `scan` asks, the rest is pure: it turns the dumps into a [`Layout`]. What a guest's kernel does by itself once it has
//! the addresses (connected routes, link-local addresses, what routers announce) is left out; so is what a guest cannot
//! have (devices that are not Ethernet, links that are down or part of another).

mod parse;

use crate::error::NetError;
use crate::layout::Layout;
use crate::namespace::Namespace;
use crate::netlink::{Message, RTM_GETLINK, Socket, link_header};
use crate::resolver;

const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
/// `struct ifaddrmsg`, `rtmsg` and `ndmsg` are 8, 12 and 12 bytes and start with the address family; 0 is every family.
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
const NEIGHBOR_HEADER: usize = 12;

/// The bodies of the four dumps.
#[derive(Debug, Default)]
struct Dumps {
    links: Vec<Vec<u8>>,
    addresses: Vec<Vec<u8>>,
    routes: Vec<Vec<u8>>,
    neighbors: Vec<Vec<u8>>,
}

/// What the namespace holds now. The engine must be done with it: nothing is waited for.
pub fn scan(ns: &Namespace) -> Result<Layout, NetError> {
    let (dumps, resolver) = ns.run(|| {
        let mut socket = Socket::open()?;
        let mut dump = |what, kind, header: &[u8]| socket.dump(what, &Message::new(kind, 0, header));
        let dumps = Dumps {
            links: dump("list network links", RTM_GETLINK, &link_header(0, 0, 0))?,
            addresses: dump("list network addresses", RTM_GETADDR, &[0; ADDRESS_HEADER])?,
            routes: dump("list routes", RTM_GETROUTE, &[0; ROUTE_HEADER])?,
            neighbors: dump("list network neighbours", RTM_GETNEIGH, &[0; NEIGHBOR_HEADER])?,
        };
        Ok((dumps, resolver::find()?))
    })??;
    Ok(Layout { resolver, ..parse::layout(&dumps)? })
}

/// What [`scan`] makes of the messages of one datagram, whichever dump each is from. For shim-rs/fuzz.
///
/// # Errors
/// A message that does not hold what its kind promises.
#[cfg(feature = "fuzzing")]
pub fn layout_of(datagram: &[u8]) -> Result<Layout, NetError> {
    // RTM_NEWLINK is RTM_GETLINK less 2, and so are the others (linux/rtnetlink.h).
    const NEW_TO_GET: u16 = 2;
    let mut dumps = Dumps::default();
    for (header, body) in crate::netlink::split(datagram) {
        let dump = match header.kind.wrapping_add(NEW_TO_GET) {
            RTM_GETLINK => &mut dumps.links,
            RTM_GETADDR => &mut dumps.addresses,
            RTM_GETROUTE => &mut dumps.routes,
            RTM_GETNEIGH => &mut dumps.neighbors,
            _ => continue,
        };
        dump.push(body.to_vec());
    }
    parse::layout(&dumps)
}
