// SPDX-License-Identifier: Apache-2.0
//! Events on their way to containerd's own service: in order, and through its restart.

use std::path::Path;
use std::sync::Arc;

use boxlite_protocol::protobuf::well_known_types::empty::Empty;
use boxlite_protocol::ttrpc;
use boxlite_shim::events::{Publisher, publish};
use containerd_shim_protos::events::task::{TaskOOM, TaskStart};
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Events, create_events};
use containerd_shim_protos::ttrpc::asynchronous::{Server, TtrpcContext};
use tokio::sync::mpsc;

use crate::fake_machine::soon;

/// containerd's events service: passes on what it was told.
struct Containerd(mpsc::UnboundedSender<ForwardRequest>);

#[async_trait::async_trait]
impl Events for Containerd {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        self.0.send(request).unwrap();
        Ok(Empty::default())
    }
}

async fn containerd(socket: &Path, told: &mpsc::UnboundedSender<ForwardRequest>) -> Server {
    let address = format!("unix://{}", socket.display());
    let service = create_events(Arc::new(Containerd(told.clone())));
    let mut server = Server::new().bind(&address).unwrap().register_service(service);
    server.start().await.unwrap();
    server
}

fn start(id: &str) -> TaskStart {
    TaskStart { container_id: id.to_owned(), pid: 7, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_says_its_namespace_its_topic_and_its_type() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("containerd.sock.ttrpc");
    let (told, mut news) = mpsc::unbounded_channel();
    let _server = containerd(&socket, &told).await;
    let publisher = Publisher::new(socket.display().to_string(), "moby".to_owned());
    publish(&publisher, TaskOOM { container_id: "c".into(), ..Default::default() });
    let envelope = soon("an event", news.recv()).await.unwrap().envelope.unwrap();
    assert_eq!((envelope.namespace.as_str(), envelope.topic.as_str()), ("moby", "/tasks/oom"));
    assert_eq!(envelope.event.type_url, "containerd.events.TaskOOM");
    assert!(envelope.timestamp.seconds > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_in_order_through_a_restart_of_containerd() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("containerd.sock.ttrpc");
    let (told, mut news) = mpsc::unbounded_channel();
    let publisher = Publisher::new(format!("unix://{}", socket.display()), "moby".to_owned());
    // Nobody listens yet.
    publish(&publisher, start("0"));
    let mut server = containerd(&socket, &told).await;
    let mut topics = Vec::new();
    topics.push(soon("the first event", news.recv()).await.unwrap());
    server.shutdown().await.unwrap();
    drop(server);
    // What is left of the one that went would keep its successor from the address.
    std::fs::remove_file(&socket).unwrap_or_default();
    for id in ["1", "2", "3"] {
        publish(&publisher, start(id));
    }
    let _server = containerd(&socket, &told).await;
    soon("everything sent", publisher.flush()).await;
    while let Ok(request) = news.try_recv() {
        topics.push(request);
    }
    let ids: Vec<_> = topics
        .iter()
        .map(|request| request.envelope.event.value.clone())
        .map(|value| boxlite_protocol::protobuf::Message::parse_from_bytes(&value).unwrap())
        .map(|event: TaskStart| event.container_id)
        .collect();
    assert_eq!(ids, ["0", "1", "2", "3"]);
}
