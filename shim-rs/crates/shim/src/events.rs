// SPDX-License-Identifier: Apache-2.0
//! Events to containerd, in the order they were published.
//!
//! Owns the queue and the connection to containerd's events service. containerd demands TaskCreate, TaskStart,
//! TaskExit, TaskDelete in that order per task (containerd docs/runtime-v2.md), so there is one queue, one sender,
//! and an event is sent again until it arrived or containerd stayed away for [`PATIENCE`].

use std::time::Duration;

use boxlite_protocol::protobuf::MessageDyn;
use boxlite_protocol::ttrpc;
use containerd_shim::event::Event;
use containerd_shim::util::{convert_to_any, timestamp};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use tokio::sync::{mpsc, oneshot};

/// How long one event waits for a containerd that restarts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to reach a containerd that is away.
const RETRY: Duration = Duration::from_millis(200);

/// Where events go. The double of tests records them.
pub trait EventSink: Send + Sync {
    /// Queues; never blocks.
    fn publish(&self, topic: String, event: Box<dyn MessageDyn>);
}

/// Publishes one event under its own topic.
pub fn publish<E: Event + MessageDyn>(sink: &dyn EventSink, event: E) {
    sink.publish(event.topic(), Box::new(event));
}

enum Item {
    Event(Box<Envelope>),
    Flush(oneshot::Sender<()>),
}

/// The queue to containerd.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::UnboundedSender<Item>,
    namespace: String,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Event(_) => "Event",
            Self::Flush(_) => "Flush",
        })
    }
}

impl Publisher {
    /// Starts the sender; `address` is containerd's ttrpc socket.
    #[must_use]
    pub fn new(address: String, namespace: String) -> Self {
        let (queue, items) = mpsc::unbounded_channel();
        tokio::spawn(forward(address, items));
        Self { queue, namespace }
    }

    /// Returns when everything published before has been sent or given up.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Item::Flush(done)).is_ok() {
            // An error means the sender is gone, and with it the queue.
            let _ = flushed.await;
        }
    }
}

impl EventSink for Publisher {
    fn publish(&self, topic: String, event: Box<dyn MessageDyn>) {
        let mut envelope = Envelope::new();
        envelope.set_namespace(self.namespace.clone());
        match (timestamp(), convert_to_any(event)) {
            (Ok(now), Ok(any)) => {
                envelope.set_timestamp(now);
                envelope.set_event(any);
            }
            (now, any) => {
                let error = now.err().or_else(|| any.err());
                tracing::error!(%topic, ?error, "event cannot be encoded");
                return;
            }
        }
        envelope.set_topic(topic);
        if self.queue.send(Item::Event(Box::new(envelope))).is_err() {
            tracing::error!("event published after the queue ended");
        }
    }
}

async fn forward(address: String, mut items: mpsc::UnboundedReceiver<Item>) {
    let mut client = None;
    while let Some(item) = items.recv().await {
        match item {
            Item::Event(envelope) => {
                let topic = envelope.topic().to_owned();
                let sent = tokio::time::timeout(PATIENCE, deliver(&address, &mut client, *envelope)).await;
                if sent.is_err() {
                    tracing::error!(%topic, "event dropped, containerd does not take it");
                }
            }
            Item::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

async fn deliver(address: &str, client: &mut Option<EventsClient>, envelope: Envelope) {
    let mut request = ForwardRequest::new();
    request.set_envelope(envelope);
    loop {
        if client.is_none() {
            match Client::connect(&format!("unix://{}", address.trim_start_matches("unix://"))).await {
                Ok(connected) => *client = Some(EventsClient::new(connected)),
                Err(error) => tracing::debug!(%error, "containerd is not reachable"),
            }
        }
        if let Some(connected) = client {
            match connected.forward(ttrpc::context::with_duration(PATIENCE), &request).await {
                Ok(_) => return,
                Err(ttrpc::Error::RpcStatus(status)) => {
                    tracing::error!(message = status.message(), "containerd refused an event");
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "event not sent");
                    *client = None;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
