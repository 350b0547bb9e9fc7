// SPDX-License-Identifier: Apache-2.0
//! What was found in the namespace, in the protocol's words. Pure.

use std::net::IpAddr;

use boxlite_net::Layout;
use boxlite_protocol::network;

use super::lanes::Lanes;

fn bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

pub(super) fn describe(layout: &Layout, lanes: &Lanes) -> network::Network {
    let interfaces = layout.links.iter().map(|link| network::Interface {
        name: link.name.clone(),
        nic: lanes.get(&link.index).map(|lane| lane.tap).unwrap_or_default(),
        tag: lanes.get(&link.index).and_then(|lane| lane.tag).map_or(0, |tag| tag.get().into()),
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
