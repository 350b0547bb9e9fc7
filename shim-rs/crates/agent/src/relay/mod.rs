// SPDX-License-Identifier: Apache-2.0
//! Ways out of the machine that are not its network: what connects here becomes a stream to the host.
//!
//! ```text
//! program ──connect──▶ socket of ours ──accept──▶ stream to the host ──▶ the host's socket
//! ```
//! Owns the sockets listened at ([`sockets`] for the host's Unix sockets, [`resolver`] for the engine's names) and how
//! many connections there may be. Which ways exist is the host's decision, and what is at their other end its affair.

mod redirect;
mod resolver;
mod sockets;

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Once, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use boxlite_protocol::mux::{Opener, Stream};
use boxlite_protocol::relay::{MAX_RELAYED, RelayName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::mode;

pub(crate) use sockets::Listening;

/// Where a guest keeps the sockets it listens at.
const DIRECTORY: &str = "/run/relays";

/// How long a stream to the host may take to open, which needs no answer.
const OPEN: Duration = Duration::from_secs(10);

/// The ways out of this machine.
#[derive(Debug)]
pub(crate) struct Relays {
    way_out: WayOut,
    directory: PathBuf,
    /// The resolver's address, once it is relayed.
    resolver: OnceLock<std::net::Ipv4Addr>,
}

/// Opens streams to the host, no more at a time than it takes.
#[derive(Debug, Clone)]
struct WayOut {
    opener: Opener,
    room: Arc<Semaphore>,
    open: Duration,
    /// It was said that one took longer: once, for the console is small.
    late: Arc<Once>,
}

impl Relays {
    /// `guest`: this agent is PID 1 of a machine; else the place is told apart from that of other agents of the host.
    pub(crate) fn new(opener: Opener, guest: bool) -> Self {
        let directory = if guest {
            PathBuf::from(DIRECTORY)
        } else {
            std::env::temp_dir().join(format!("boxlite-relays-{}", std::process::id()))
        };
        Self { way_out: WayOut::new(opener), directory, resolver: OnceLock::new() }
    }
}

/// Where connections come in that are to leave the machine.
trait Entrance: Send + Sync + 'static {
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Connection>>;

    /// Which way a connection asks for, and for whom.
    fn name(&self, connection: &Self::Connection) -> io::Result<RelayName>;
}

impl WayOut {
    fn new(opener: Opener) -> Self {
        Self { opener, room: Arc::new(Semaphore::new(MAX_RELAYED)), open: OPEN, late: Arc::new(Once::new()) }
    }

    /// Carries what comes in at an entrance, side by side, until the entrance fails.
    async fn serve<D: Entrance>(self, entrance: D) {
        loop {
            let room = self.room().await;
            match poll_fn(|context| entrance.poll_accept(context)).await {
                Ok(connection) => {
                    // One whose peer cannot be told from others goes nowhere.
                    let Ok(name) = entrance.name(&connection) else { continue };
                    let way_out = self.clone();
                    tokio::spawn(async move {
                        let _room = room;
                        way_out.carry(connection, name).await;
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    mode::say(&format!("boxlite-agent: a way out is closed: {error}"));
                    return;
                }
            }
        }
    }

    /// Any failure ends both: each side sees the other go, which is all a socket can tell.
    async fn carry(&self, mut connection: impl AsyncRead + AsyncWrite + Unpin, name: RelayName) {
        if let Ok(mut stream) = self.open(name).await {
            let _ = tokio::io::copy_bidirectional(&mut connection, &mut stream).await;
        }
    }

    /// Waits until there is room for one more.
    async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            // It is never closed.
            if let Ok(permit) = Arc::clone(&self.room).acquire_owned().await {
                return permit;
            }
        }
    }

    async fn open(&self, name: RelayName) -> io::Result<Stream> {
        match tokio::time::timeout(self.open, self.opener.open_relay(&name)).await {
            Ok(opened) => opened.map_err(io::Error::other),
            Err(late) => {
                self.late.call_once(|| mode::say("boxlite-agent: a way out does not open in time"));
                Err(late.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use boxlite_protocol::mux;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_connection_the_host_takes_no_notice_of_ends() {
        let (_host, guest) = tokio::io::duplex(64);
        let (opener, _incoming, _driver) = mux::server(guest);
        let way_out = WayOut { open: Duration::from_millis(20), ..WayOut::new(opener) };
        let (mut inside, connection) = UnixStream::pair().unwrap();
        let carried = way_out.carry(connection, RelayName { way: 16, uid: 0, gid: 0 });
        tokio::time::timeout(Duration::from_secs(10), carried).await.expect("an end of the wait");
        assert_eq!(inside.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(way_out.late.is_completed());
    }
}
