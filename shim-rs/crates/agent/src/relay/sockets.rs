// SPDX-License-Identifier: Apache-2.0
//! Stands in for the host's Unix sockets: a socket of the same owner and mode for each, which a container has mounted
//! where it expects the host's.
//!
//! Who may connect is this kernel's decision, by that owner and mode. Who connected is told to the host, whose service
//! may ask (SO_PEERCRED). One side's end of file is passed on while the other still talks.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use boxlite_protocol::plan::Relay;
use boxlite_protocol::relay::RelayName;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::{Entrance, Relays};
use crate::error::{Fault, Trying};

/// The sockets of one container. Dropping it ends the listening, and no connection.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    sockets: Vec<(PathBuf, JoinHandle<()>)>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        for (path, listener) in &self.sockets {
            listener.abort();
            // One that stays goes with the machine; its number is not given again.
            let _ = fs::remove_file(path);
        }
    }
}

impl Relays {
    /// Listens for a container.
    pub(crate) fn listen(&self, relays: &[Relay]) -> Result<Listening, Fault> {
        let mut listening = Listening::default();
        if relays.is_empty() {
            return Ok(listening);
        }
        fs::create_dir_all(&self.directory).trying(|| "make the directory of relays".to_owned())?;
        for relay in relays {
            let what = || format!("listen for way {}", relay.way);
            let path = self.directory.join(relay.way.to_string());
            let listener = UnixListener::bind(&path).trying(what)?;
            let stand = Stand { listener, way: relay.way };
            let accepting = tokio::spawn(self.way_out.clone().serve(stand));
            listening.sockets.push((path.clone(), accepting));
            chown(&path, Some(relay.uid), Some(relay.gid)).trying(what)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(relay.mode & 0o7777)).trying(what)?;
        }
        Ok(listening)
    }

    /// Leaves a host as it was found: there is no machine that would take the sockets with it.
    pub(crate) fn clear(&self) {
        // Most agents listened at none.
        let _ = fs::remove_dir_all(&self.directory);
    }

    /// Where sockets are listened at, for a mount that names one.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The socket that stands in for one of the host's.
#[derive(Debug)]
struct Stand {
    listener: UnixListener,
    way: u32,
}

impl Entrance for Stand {
    type Connection = UnixStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.listener.poll_accept(context).map_ok(|(connection, _)| connection)
    }

    fn name(&self, connection: &UnixStream) -> io::Result<RelayName> {
        let peer = connection.peer_cred()?;
        Ok(RelayName { way: self.way, uid: peer.uid(), gid: peer.gid() })
    }
}
