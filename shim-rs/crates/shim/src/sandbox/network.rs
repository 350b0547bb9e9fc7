// SPDX-License-Identifier: Apache-2.0
//! From what the engine built in the namespace to what the guest is told.
//!
//! [`join`] scans and redirects; `--network none` finds nothing and does nothing. An engine may attach networks to a
//! container that runs, and take them away: [`follow`] joins again when the namespace says that something changed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use boxlite_net::{Changes, Layout, Namespace};
use boxlite_protocol::network;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Sandbox;
use crate::error::TaskError;

/// Which NIC each link has, by the link's index.
type Nics = BTreeMap<u32, u32>;

/// A network that is joined to the machine.
#[derive(Debug, Clone)]
pub(crate) struct Joined {
    /// What was found.
    layout: Layout,
    nics: Nics,
}

impl Joined {
    /// For the guest.
    pub(crate) fn described(&self) -> network::Network {
        describe(&self.layout, &self.nics)
    }

    /// Without the links that take over a NIC another one had `before`; none when no NIC changes hands. A guest that is
    /// told this first lets go of that NIC, and of what was set on it.
    fn let_go(&self, before: &Self) -> Option<Self> {
        let taken_over = |index: &u32| {
            let nic = self.nics.get(index);
            !before.nics.contains_key(index) && before.nics.values().any(|had| Some(had) == nic)
        };
        if !self.nics.keys().any(taken_over) {
            return None;
        }
        let mut layout = self.layout.clone();
        layout.links.retain(|link| !taken_over(&link.index));
        let kept: Vec<String> = layout.links.iter().map(|link| link.name.clone()).collect();
        layout.routes.retain(|route| route.link.is_empty() || kept.contains(&route.link));
        layout.neighbors.retain(|neighbor| kept.contains(&neighbor.link));
        Some(Self { layout, nics: self.nics.clone() })
    }

    /// Where the engine answers for names.
    pub(crate) fn resolver(&self) -> Option<Ipv4Addr> {
        self.layout.resolver
    }
}

/// Scans the namespace, and joins each link to a NIC that was not joined `before`. Blocking, milliseconds.
pub(super) fn join(
    namespace: &Namespace,
    room: u32,
    before: Option<&Joined>,
) -> Result<Option<Joined>, TaskError> {
    let layout =
        boxlite_net::scan(namespace).map_err(TaskError::network("scanning the network namespace"))?;
    if before.is_some_and(|before| before.layout == layout) {
        return Ok(None);
    }
    let none = Nics::new();
    let known = before.map_or(&none, |before| &before.nics);
    let nics = assign(known, &layout, room)?;
    let had_resolver = before.is_some_and(|before| before.layout.resolver.is_some());
    for link in &layout.links {
        let Some(&nic) = nics.get(&link.index) else { continue };
        let new = known.get(&link.index) != Some(&nic);
        if new {
            boxlite_net::redirect(namespace, link, nic)
                .map_err(TaskError::network("redirecting the network"))?;
        }
        if layout.resolver.is_some() && (new || !had_resolver) {
            // Without it the names of the network itself are answered, which is most of what a resolver is for.
            if let Err(error) = boxlite_net::let_answers_in(namespace, link, nic) {
                let error = crate::error::chain(&error);
                tracing::warn!(error, link = link.name, "only names of the network will be answered");
            }
        }
    }
    Ok(Some(Joined { layout, nics }))
}

/// Each link keeps the NIC it has; a new one gets the first that is free.
fn assign(known: &Nics, layout: &Layout, room: u32) -> Result<Nics, TaskError> {
    let wanted = layout.links.len();
    if wanted > room as usize {
        return Err(TaskError::Invalid {
            what: format!(
                "the container has {wanted} network interfaces and its machine room for {room}; \
                 set machine.nics = {wanted} in /etc/boxlite/config.toml"
            ),
        });
    }
    let indices: Vec<u32> = layout.links.iter().map(|link| link.index).collect();
    let mut nics: Nics = known
        .iter()
        .filter(|(index, _)| indices.contains(index))
        .map(|(index, nic)| (*index, *nic))
        .collect();
    for index in indices {
        if !nics.contains_key(&index) {
            let free = (0..room).find(|nic| !nics.values().any(|taken| taken == nic));
            nics.extend(free.map(|nic| (index, nic)));
        }
    }
    Ok(nics)
}

/// Has the guest follow what the engine changes in the network, until the machine ends.
pub(super) fn follow(sandbox: &Arc<Sandbox>, changes: Changes, joined: Joined) {
    let sandbox = sandbox.clone();
    tokio::spawn(async move {
        tokio::select! {
            followed = keep_up(&sandbox, changes, joined) => {
                if let Err(error) = followed {
                    let error = crate::error::chain(&error);
                    tracing::warn!(id = sandbox.id, error, "changes of the network are not followed any more");
                }
            }
            () = sandbox.dead() => {}
        }
    });
}

async fn keep_up(sandbox: &Arc<Sandbox>, changes: Changes, mut joined: Joined) -> Result<(), TaskError> {
    let changes = watched(changes).map_err(TaskError::network("watching the network"))?;
    loop {
        changes.readable().await.map_err(TaskError::network("watching the network"))?.clear_ready();
        if !changes.get_ref().forget().map_err(TaskError::network("watching the network"))? {
            continue;
        }
        if let Some(now) = rejoin_when_it_runs(sandbox, &joined).await {
            joined = now;
        }
    }
}

/// A guest that stands still is not asked anything; one that was stopped while it was asked, is asked again.
async fn rejoin_when_it_runs(sandbox: &Arc<Sandbox>, joined: &Joined) -> Option<Joined> {
    loop {
        sandbox.runs().await;
        match rejoin(sandbox, joined).await {
            Ok(now) => return now,
            Err(_) if sandbox.is_paused() => {}
            // The engine may have more to say, and what it has said will be looked at again then.
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(id = sandbox.id, error, "a change of the network did not reach the guest");
                return None;
            }
        }
    }
}

async fn rejoin(sandbox: &Arc<Sandbox>, joined: &Joined) -> Result<Option<Joined>, TaskError> {
    let (namespace, room, before) = (sandbox.network.clone(), sandbox.nics, joined.clone());
    let joining = tokio::task::spawn_blocking(move || join(&namespace, room, Some(&before)));
    let Some(now) = joining.await.map_err(TaskError::network("the network thread"))?? else {
        return Ok(None);
    };
    if let Some(address) = now.resolver() {
        sandbox.relays.resolve_in(sandbox.network.clone(), address);
    }
    let guest = sandbox.guest().await?;
    if let Some(first) = now.let_go(joined) {
        guest.connect_network(&first.described()).await?;
    }
    guest.connect_network(&now.described()).await?;
    tracing::info!(id = sandbox.id, links = now.layout.links.len(), "the network has changed");
    Ok(Some(now))
}

/// Registers the watch with the runtime.
#[expect(unsafe_code, reason = "tokio asks for a promise that the descriptor stays the same")]
fn watched(changes: Changes) -> std::io::Result<AsyncFd<Changes>> {
    // SAFETY: Changes owns its descriptor, returns the same one for all its life and closes it only when dropped; the
    // AsyncFd owns it and is never taken apart.
    unsafe { AsyncFd::register_with_interest(changes, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}

fn bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn describe(layout: &Layout, nics: &Nics) -> network::Network {
    let interfaces = layout.links.iter().map(|link| network::Interface {
        name: link.name.clone(),
        nic: nics.get(&link.index).copied().unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use boxlite_net::Link;

    use super::*;

    fn layout(indices: &[u32]) -> Layout {
        let link = |index: &u32| Link {
            index: *index,
            name: format!("eth{index}"),
            mac: [2; 6],
            mtu: 1500,
            ipv6: false,
            addresses: Vec::new(),
        };
        Layout { links: indices.iter().map(link).collect(), ..Layout::default() }
    }

    #[test]
    fn a_link_keeps_its_nic_whatever_comes_and_goes() {
        let first = assign(&Nics::new(), &layout(&[7]), 2).unwrap();
        assert_eq!(first, Nics::from([(7, 0)]));
        let both = assign(&first, &layout(&[5, 7]), 2).unwrap();
        assert_eq!(both, Nics::from([(7, 0), (5, 1)]));
        let second = assign(&both, &layout(&[5]), 2).unwrap();
        assert_eq!(second, Nics::from([(5, 1)]));
        assert_eq!(assign(&second, &layout(&[5, 9]), 2).unwrap(), Nics::from([(5, 1), (9, 0)]));
    }

    #[test]
    fn a_nic_that_changes_hands_is_let_go_of_first() {
        let joined = |indices: &[u32], nics: &[(u32, u32)]| Joined {
            layout: layout(indices),
            nics: nics.iter().copied().collect(),
        };
        let before = joined(&[7, 8], &[(7, 0), (8, 1)]);
        let after = joined(&[7, 9], &[(7, 0), (9, 1)]);
        let first = after.let_go(&before).unwrap();
        assert_eq!(first.layout, layout(&[7]));
        assert!(joined(&[7], &[(7, 0)]).let_go(&before).is_none());
        assert!(before.let_go(&joined(&[7], &[(7, 0)])).is_none(), "that NIC was free");
    }

    #[test]
    fn more_links_than_nics_are_refused_with_the_key() {
        let error = assign(&Nics::new(), &layout(&[1, 2, 3]), 2).unwrap_err().to_string();
        assert!(error.contains("machine.nics = 3"), "{error}");
    }
}
