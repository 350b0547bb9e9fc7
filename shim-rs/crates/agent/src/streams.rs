// SPDX-License-Identifier: Apache-2.0
//! The streams the host has opened and no process has taken yet.
//!
//! Owns the table of them. The host opens a process's streams before it asks for the process, but the two travel
//! side by side: [`Streams::take`] waits a bounded while. A stream that does not say what it is, is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boxlite_protocol::mux::Stream;
use boxlite_protocol::plan::Process;
use boxlite_protocol::stream::{Kind, StreamName};
use tokio::sync::{Notify, mpsc};

use crate::error::AgentError;
use crate::stdio::HostStreams;

/// How long the host's streams may come after its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    waiting: Mutex<BTreeMap<StreamName, Stream>>,
    arrived: Notify,
}

impl Streams {
    /// Takes in streams until the channel ends; the first control stream goes to `control`.
    pub(crate) async fn accept(
        self: Arc<Self>,
        mut incoming: mpsc::UnboundedReceiver<Stream>,
        control: mpsc::UnboundedSender<Stream>,
    ) {
        while let Some(stream) = incoming.recv().await {
            // Each its own task: one that does not name itself holds up no other.
            tokio::spawn(Arc::clone(&self).admit(stream, control.clone()));
        }
    }

    async fn admit(self: Arc<Self>, mut stream: Stream, control: mpsc::UnboundedSender<Stream>) {
        let Ok(Ok(name)) = tokio::time::timeout(PATIENCE, StreamName::read(&mut stream)).await else {
            return;
        };
        if name.kind == Kind::Control {
            // Refused only when the service has ended, and the agent with it.
            let _ = control.send(stream);
            return;
        }
        // The host opens anew when an earlier request of the same name was refused.
        self.table().insert(name, stream);
        self.arrived.notify_waiters();
    }

    /// The streams `process` names.
    pub(crate) async fn take(
        &self,
        container: &str,
        exec: &str,
        process: &Process,
    ) -> Result<HostStreams, AgentError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let take = async |wanted: bool, kind: Kind, what: &'static str| {
            if !wanted {
                return Ok(None);
            }
            let name = StreamName::stdio(kind, container, exec);
            match tokio::time::timeout_at(deadline, self.wait(&name)).await {
                Ok(stream) => Ok(Some(stream)),
                Err(_) => Err(AgentError::NoStream(what)),
            }
        };
        Ok(HostStreams {
            stdin: take(process.stdin, Kind::Stdin, "stdin").await?,
            stdout: take(process.stdout, Kind::Stdout, "stdout").await?,
            // A terminal has one output.
            stderr: take(process.stderr && !process.terminal, Kind::Stderr, "stderr").await?,
        })
    }

    async fn wait(&self, name: &StreamName) -> Stream {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            // From here on no arrival is missed.
            arrived.as_mut().enable();
            if let Some(stream) = self.table().remove(name) {
                return stream;
            }
            arrived.await;
        }
    }

    /// Drops what was opened for a container and never taken.
    pub(crate) fn forget(&self, container: &str) {
        self.table().retain(|name, _| name.container_id != container);
    }

    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<StreamName, Stream>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
