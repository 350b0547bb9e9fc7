// SPDX-License-Identifier: Apache-2.0
//! From what the engine built in the namespace to what the guest is told.
//!
//! Pure but for [`connect`], which scans once and redirects; `--network none` finds nothing and does nothing.

use std::net::{IpAddr, Ipv4Addr};

use boxlite_net::{Layout, Namespace};
use boxlite_protocol::network;

use crate::error::TaskError;

/// A network that is joined to the machine.
#[derive(Debug)]
pub(super) struct Connected {
    /// For the guest.
    pub(super) described: network::Network,
    /// Where the engine answers for names.
    pub(super) resolver: Option<Ipv4Addr>,
}

/// Scans the namespace, joins each link to a NIC, and says what the guest must repeat. Blocking, milliseconds.
pub(super) fn connect(namespace: &Namespace, nics: u32) -> Result<Connected, TaskError> {
    let layout = boxlite_net::scan(namespace).map_err(TaskError::launch("scanning the network namespace"))?;
    let wanted = layout.links.len();
    if wanted > nics as usize {
        return Err(TaskError::Invalid {
            what: format!(
                "the container has {wanted} network interfaces and its machine room for {nics}; \
                 set machine.nics = {wanted} in /etc/boxlite/config.toml"
            ),
        });
    }
    for (index, link) in (0..nics).zip(&layout.links) {
        boxlite_net::redirect(namespace, link, index)
            .map_err(TaskError::launch("redirecting the network"))?;
        // Without it the names of the network itself are answered, which is most of what a resolver is for.
        if layout.resolver.is_some()
            && let Err(error) = boxlite_net::let_answers_in(namespace, link, index)
        {
            let error = crate::error::chain(&error);
            tracing::warn!(error, link = link.name, "only names of the network will be answered");
        }
    }
    Ok(Connected { described: describe(&layout), resolver: layout.resolver })
}

fn bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn describe(layout: &Layout) -> network::Network {
    let interfaces = (0..).zip(&layout.links).map(|(nic, link)| network::Interface {
        name: link.name.clone(),
        nic,
        mac: link.mac.to_vec(),
        mtu: link.mtu,
        ipv6: link.ipv6,
        addresses: link
            .addresses
            .iter()
            .map(|address| network::Address {
                ip: bytes(address.ip),
                prefix: address.prefix.into(),
                broadcast: address.broadcast.map(|ip| ip.octets().to_vec()).unwrap_or_default(),
                scope: address.scope.into(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let routes = layout.routes.iter().map(|route| network::Route {
        destination: bytes(route.destination),
        prefix: route.prefix.into(),
        gateway: route.gateway.map(bytes).unwrap_or_default(),
        preferred_source: route.preferred_source.map(bytes).unwrap_or_default(),
        interface: route.link.clone(),
        scope: route.scope.into(),
        metric: route.metric,
        type_: route.kind.into(),
        onlink: route.onlink,
        ..Default::default()
    });
    let neighbors = layout.neighbors.iter().map(|neighbor| network::Neighbor {
        ip: bytes(neighbor.ip),
        mac: neighbor.mac.to_vec(),
        interface: neighbor.link.clone(),
        ..Default::default()
    });
    network::Network {
        interfaces: interfaces.collect(),
        routes: routes.collect(),
        neighbors: neighbors.collect(),
        resolver: layout.resolver.map(|address| address.octets().to_vec()).unwrap_or_default(),
        ..Default::default()
    }
}
