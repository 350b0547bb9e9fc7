// SPDX-License-Identifier: Apache-2.0
//! From what the engine built in the namespace to what the guest is told.
//!
//! [`join`] scans and redirects; `--network none` finds nothing and does nothing. An engine may attach networks to a
//! container that runs, and take them away: [`follow`] joins again when the namespace says that something changed.
//! Which link takes which card is [`lanes`]'s, what the guest is told of it [`describe`]'s.

mod describe;
mod lanes;

use std::net::Ipv4Addr;
use std::sync::Arc;

use boxlite_net::{Changes, Layout, Namespace};
use boxlite_protocol::network;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use self::describe::describe;
use self::lanes::{Lanes, assign};
use super::Sandbox;
use crate::error::TaskError;

/// A network that is joined to the machine.
#[derive(Debug, Clone)]
pub(crate) struct Joined {
    /// What was found.
    layout: Layout,
    lanes: Lanes,
}

impl Joined {
    /// For the guest.
    pub(crate) fn described(&self) -> network::Network {
        describe(&self.layout, &self.lanes)
    }

    /// Without the links that take over a lane another one had `before`; none when no lane changes hands. A guest that is
    /// told this first lets go of that device, and of what was set on it.
    fn let_go(&self, before: &Self) -> Option<Self> {
        let taken_over = |index: &u32| {
            let lane = self.lanes.get(index);
            !before.lanes.contains_key(index) && before.lanes.values().any(|had| Some(had) == lane)
        };
        if !self.lanes.keys().any(taken_over) {
            return None;
        }
        let mut layout = self.layout.clone();
        layout.links.retain(|link| !taken_over(&link.index));
        let kept: Vec<String> = layout.links.iter().map(|link| link.name.clone()).collect();
        layout.routes.retain(|route| route.link.is_empty() || kept.contains(&route.link));
        layout.neighbors.retain(|neighbor| kept.contains(&neighbor.link));
        Some(Self { layout, lanes: self.lanes.clone() })
    }

    /// Where the engine answers for names.
    pub(crate) fn resolver(&self) -> Option<Ipv4Addr> {
        self.layout.resolver
    }
}

/// Scans the namespace, and joins each link that was not joined `before` to one of the machine's cards. Blocking,
/// milliseconds.
pub(super) fn join(
    namespace: &Namespace,
    cards: u32,
    before: Option<&Joined>,
) -> Result<Option<Joined>, TaskError> {
    let layout =
        boxlite_net::scan(namespace).map_err(TaskError::network("scanning the network namespace"))?;
    if before.is_some_and(|before| before.layout == layout) {
        return Ok(None);
    }
    let none = Lanes::new();
    let known = before.map_or(&none, |before| &before.lanes);
    let lanes = assign(known, &layout, cards)?;
    let had_resolver = before.is_some_and(|before| before.layout.resolver.is_some());
    for link in &layout.links {
        let Some(&lane) = lanes.get(&link.index) else { continue };
        let new = known.get(&link.index) != Some(&lane);
        if new {
            boxlite_net::redirect(namespace, link, lane)
                .map_err(TaskError::network("redirecting the network"))?;
        }
        if layout.resolver.is_some() && (new || !had_resolver) {
            // Without it the names of the network itself are answered, which is most of what a resolver is for.
            if let Err(error) = boxlite_net::let_answers_in(namespace, link, lane) {
                let error = crate::error::chain(&error);
                tracing::warn!(error, link = link.name, "only names of the network will be answered");
            }
        }
    }
    Ok(Some(Joined { layout, lanes }))
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
    let (namespace, cards, before) = (sandbox.network.clone(), sandbox.nics, joined.clone());
    let joining = tokio::task::spawn_blocking(move || join(&namespace, cards, Some(&before)));
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

#[cfg(test)]
mod tests {
    use boxlite_net::{Lane, Link};

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
    fn a_lane_that_changes_hands_is_let_go_of_first() {
        let joined = |indices: &[u32], taps: &[(u32, u32)]| Joined {
            layout: layout(indices),
            lanes: taps.iter().map(|&(index, tap)| (index, Lane { tap, tag: None })).collect(),
        };
        let before = joined(&[7, 8], &[(7, 0), (8, 1)]);
        let after = joined(&[7, 9], &[(7, 0), (9, 1)]);
        let first = after.let_go(&before).unwrap();
        assert_eq!(first.layout, layout(&[7]));
        assert!(joined(&[7], &[(7, 0)]).let_go(&before).is_none());
        assert!(before.let_go(&joined(&[7], &[(7, 0)])).is_none(), "that lane was free");
    }
}
