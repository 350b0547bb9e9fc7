// SPDX-License-Identifier: Apache-2.0
//! What the shim tells containerd unasked, as words in order: "create", "start", "exit 3", "exit e1 137".

use std::sync::Arc;

use boxlite_protocol::protobuf::MessageDyn;
use boxlite_shim::events::EventSink;
use containerd_shim_protos::events::task::{TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit};
use tokio::sync::watch;

use super::soon;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub topic: String,
    pub words: String,
}

/// Remembers events.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<watch::Sender<Vec<Seen>>>);

impl Default for Recorder {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }
}

impl EventSink for Recorder {
    fn publish(&self, topic: String, event: Box<dyn MessageDyn>) {
        let words = words(&topic, &*event);
        self.0.send_modify(|seen| seen.push(Seen { topic, words }));
    }
}

impl Recorder {
    pub fn words(&self) -> Vec<String> {
        self.0.borrow().iter().map(|seen| seen.words.clone()).collect()
    }

    pub fn topics(&self) -> Vec<String> {
        self.0.borrow().iter().map(|seen| seen.topic.clone()).collect()
    }

    /// Waits for an event.
    pub async fn wait_for(&self, words: &str) {
        let mut seen = self.0.subscribe();
        let found = seen.wait_for(|seen| seen.iter().any(|event| event.words == words));
        soon(words, found).await.expect("the recorder lives");
    }
}

fn words(topic: &str, event: &dyn MessageDyn) -> String {
    if let Some(exit) = event.downcast_ref::<TaskExit>() {
        // The first process goes by the container's own id.
        return match exit.id == exit.container_id {
            true => format!("exit {}", exit.exit_status),
            false => format!("exit {} {}", exit.id, exit.exit_status),
        };
    }
    if let Some(delete) = event.downcast_ref::<TaskDelete>() {
        return format!("delete {}", delete.exit_status);
    }
    if let Some(added) = event.downcast_ref::<TaskExecAdded>() {
        return format!("exec-added {}", added.exec_id);
    }
    if let Some(started) = event.downcast_ref::<TaskExecStarted>() {
        return format!("exec-started {}", started.exec_id);
    }
    topic.trim_start_matches("/tasks/").to_owned()
}
