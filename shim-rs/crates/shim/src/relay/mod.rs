// SPDX-License-Identifier: Apache-2.0
//! Ways out of a machine by way of its shim: what a container reaches on the host that is no file and no network.
//!
//! ```text
//! guest's program ─▶ agent ─stream─▶ serve: which way? ─▶ the host's Unix socket ([`socket`])
//!                                                     └─▶ the engine's resolver  ([`resolver`])
//! ```
//! Owns the table of ways, which is all a guest can choose from: a number that is not in it leads nowhere. The plan
//! numbers the sockets, Start adds the resolver when it finds one. Does not decide what may be reached: [`crate::plan`]
//! does. Whoever is at the other end has a deadline to accept and to answer; what a guest makes go wrong is said
//! seldom ([`seldom`]). Nothing of it outlives the channel: with that, every stream and so every connection ends.

mod resolver;
mod seldom;
mod socket;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use boxlite_net::Namespace;
use boxlite_protocol::mux::{Incoming, Stream};
use boxlite_protocol::relay::{MAX_RELAYED, RESOLVER_DATAGRAM, RESOLVER_STREAM, RelayName};
use tokio::sync::Semaphore;

use self::resolver::Resolver;
use self::seldom::Seldom;
use self::socket::HostSocket;
use crate::error::TaskError;
use crate::plan::RelayItem;

/// How long a stream may take to say what it is for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The ways out of one machine.
#[derive(Debug)]
pub(crate) struct Relays {
    sockets: HashMap<u32, HostSocket>,
    resolver: OnceLock<Resolver>,
    room: Arc<Semaphore>,
    /// What was said of a guest that opens too many, asks for ways there are not, or gets no answer.
    crowd: Seldom,
    unknown: Seldom,
    late: Seldom,
}

impl Relays {
    /// Takes hold of each socket, so that its path may lead elsewhere later without the container noticing.
    ///
    /// # Errors
    /// A socket that went since it was looked at.
    pub(crate) fn open(items: &[RelayItem]) -> Result<Self, TaskError> {
        let open = |item: &RelayItem| Ok((item.way, HostSocket::open(&item.source)?));
        let sockets: std::io::Result<_> = items.iter().map(open).collect();
        Ok(Self {
            sockets: sockets.map_err(TaskError::launch("opening a socket that is a volume"))?,
            resolver: OnceLock::new(),
            room: Arc::new(Semaphore::new(MAX_RELAYED)),
            crowd: Seldom::default(),
            unknown: Seldom::default(),
            late: Seldom::default(),
        })
    }

    /// Adds the engine's resolver, which answers in `namespace`.
    pub(crate) fn resolve_in(&self, namespace: Arc<Namespace>, address: Ipv4Addr) {
        // A task starts once: there is none before.
        let _ = self.resolver.set(Resolver::new(namespace, address));
    }

    /// Serves the streams a guest opens, until there are no more.
    pub(crate) async fn serve(self: Arc<Self>, mut incoming: Incoming) {
        while let Some(stream) = incoming.recv().await {
            let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
                // An agent of ours waits; dropping the stream resets it.
                if let Some(times) = self.crowd.turn() {
                    tracing::warn!(times, "the guest opens more streams than it may");
                }
                continue;
            };
            let relays = Arc::clone(&self);
            tokio::spawn(async move {
                let _room = room;
                relays.carry(stream).await;
            });
        }
    }

    async fn carry(&self, mut stream: Stream) {
        let Ok(Ok(name)) = tokio::time::timeout(PATIENCE, RelayName::read(&mut stream)).await else {
            return;
        };
        let carried = match (name.way, self.resolver.get(), self.sockets.get(&name.way)) {
            (RESOLVER_DATAGRAM, Some(resolver), _) => resolver.exchange(&mut stream).await,
            (RESOLVER_STREAM, Some(resolver), _) => resolver.connect(&mut stream).await,
            (_, _, Some(socket)) => socket.connect(name, &mut stream).await,
            _ => {
                if let Some(times) = self.unknown.turn() {
                    tracing::warn!(times, way = name.way, "the guest asks for a way there is not");
                }
                return;
            }
        };
        match carried {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                if let Some(times) = self.late.turn() {
                    tracing::warn!(times, way = name.way, "who is at the end of a way out does not answer");
                }
            }
            // Either side going is the end of both, and not this program's error.
            Err(error) => tracing::debug!(way = name.way, %error, "a relayed connection ended"),
        }
    }
}
