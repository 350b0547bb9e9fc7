// SPDX-License-Identifier: Apache-2.0
//! The host's Unix sockets as the container has them: who may connect, and what becomes of a connection.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use boxlite_protocol::plan::mount::Kind;
use boxlite_protocol::plan::{LaunchPlan, Mount, Relay};
use boxlite_protocol::relay::RelayName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::agent_test;
use crate::host::{Guest, patience};
use crate::plans::plan;

/// A container that sleeps and has way 16 at /srv/db.sock.
fn with_socket() -> LaunchPlan {
    let mut plan = plan(&["sleep", "60"]);
    plan.relays = vec![Relay { way: 16, mode: 0o660, uid: 12, gid: 34, ..Relay::default() }];
    plan.mounts.push(Mount {
        kind: Kind::SOCKET.into(),
        source: "16".into(),
        destination: "/srv/db.sock".into(),
        flags: libc::MS_BIND,
        ..Mount::default()
    });
    plan
}

/// The socket as the container sees it.
async fn socket(guest: &Guest) -> PathBuf {
    let container = boxlite_protocol::agent::ContainerRef { container_id: "c".into(), ..Default::default() };
    let answer = guest.client.processes(patience(), &container).await.unwrap();
    Path::new("/proc").join(answer.processes[0].pid.to_string()).join("root/srv/db.sock")
}

/// Says all there is to say, and hears it at the other end.
async fn say_and_hear(
    speaker: &mut (impl AsyncWrite + Unpin),
    hearer: &mut (impl AsyncRead + Unpin),
    what: &str,
) -> String {
    speaker.write_all(what.as_bytes()).await.unwrap();
    speaker.shutdown().await.unwrap();
    let mut heard = String::new();
    hearer.read_to_string(&mut heard).await.unwrap();
    heard
}

async fn end(guest: &Guest) {
    guest.signal("c", "", 9, true).await.unwrap();
    guest.wait("c", "").await;
}

agent_test!(a_connection_becomes_a_stream_and_each_side_may_end_first, guest, {
    let _io = guest.launch(with_socket()).await.unwrap();
    let path = socket(&guest).await;
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o660, 12, 34));

    let mut streams = guest.relayed.lock().await;
    for container_ends_first in [true, false] {
        let mut inside = UnixStream::connect(&path).await.unwrap();
        let mut outside = streams.recv().await.unwrap();
        let name = RelayName::read(&mut outside).await.unwrap();
        assert_eq!(name, RelayName { way: 16, uid: 0, gid: 0 });
        // What the first says is read to its end before the other answers.
        if container_ends_first {
            assert_eq!(say_and_hear(&mut inside, &mut outside, "question").await, "question");
            assert_eq!(say_and_hear(&mut outside, &mut inside, "answer").await, "answer");
        } else {
            assert_eq!(say_and_hear(&mut outside, &mut inside, "question").await, "question");
            assert_eq!(say_and_hear(&mut inside, &mut outside, "answer").await, "answer");
        }
    }
    drop(streams);
    end(&guest).await;
});

agent_test!(connections_are_apart_and_a_host_that_refuses_is_an_end_of_file, guest, {
    let _io = guest.launch(with_socket()).await.unwrap();
    let path = socket(&guest).await;
    let mut streams = guest.relayed.lock().await;
    let mut refused = UnixStream::connect(&path).await.unwrap();
    drop(streams.recv().await.unwrap());
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)));

    let mut many = Vec::new();
    for _ in 0..20 {
        let inside = UnixStream::connect(&path).await.unwrap();
        let mut outside = streams.recv().await.unwrap();
        RelayName::read(&mut outside).await.unwrap();
        many.push((inside, outside));
    }
    for (number, (inside, _)) in (0_u8..).zip(&mut many) {
        inside.write_all(&[number; 3]).await.unwrap();
    }
    for (number, (_, outside)) in (0_u8..).zip(&mut many) {
        let mut bytes = [0; 3];
        outside.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, [number; 3]);
    }
    drop(streams);
    end(&guest).await;
    guest.remove("c").await;
    assert!(UnixStream::connect(&path).await.is_err(), "the socket goes with the container");
});
