// SPDX-License-Identifier: Apache-2.0
//! `start` by both protocols, and the server it leaves behind.

use std::os::unix::fs::FileTypeExt;

use boxlite_protocol::protobuf::Message;
use boxlite_protocol::protobuf::well_known_types::any::Any;
use boxlite_protocol::ttrpc::Error;
use containerd_shim_protos::api::{ConnectResponse, StateRequest, StateResponse};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::ttrpc::Code;
use rustix::thread::CapabilitySet;
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::call::{Call, SOCKETS, Server, V2, V3, connect, is_below};

/// The answer of the protocol of flags.
fn json(answer: &[u8]) -> (i64, String) {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    assert_eq!(answer["protocol"], "ttrpc");
    (answer["version"].as_i64().unwrap(), answer["address"].as_str().unwrap().to_owned())
}

async fn serves(server: &Server) {
    for service in [V2, V3] {
        let answer: ConnectResponse = server.call(service, "Connect", &connect()).await.unwrap();
        assert_eq!(answer.task_pid, 0, "there is no task yet");
        let state = StateRequest { id: "c".into(), ..Default::default() };
        match server.call::<StateResponse>(service, "State", &state).await {
            Err(Error::RpcStatus(status)) => assert_eq!(status.code(), Code::NOT_FOUND),
            other => panic!("a task nobody made: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_socket_is_roots_alone() {
    use std::os::unix::fs::MetadataExt;
    let call = Call::new();
    let server = Server::connect(&json(&call.start()).1).await;
    let metadata = std::fs::metadata(&server.socket).unwrap();
    assert_eq!((metadata.mode() & 0o077, metadata.uid()), (0, 0), "who else may write to it");
    server.shut_down().await;
}

#[tokio::test]
async fn a_shim_may_open_what_a_thousand_execs_need() {
    let mut call = Call::new();
    let few = "ulimit -Sn 1024; exec \"$@\"";
    call.wrapper = ["sh", "-c", few, "sh"].map(str::to_owned).to_vec();
    let server = Server::connect(&json(&call.start()).1).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid.as_raw_nonzero())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().nth(3), Some("8192"), "{open_files}");
    server.shut_down().await;
}

#[tokio::test]
async fn flags_and_nothing_on_stdin_are_answered_in_json() {
    let call = Call::new();
    let (version, address) = json(&call.start());
    assert_eq!(version, 2, "a containerd that does not say speaks version 2");
    let server = Server::connect(&address).await;
    assert!(is_below(&server.socket, SOCKETS), "{address}");
    serves(&server).await;
    server.shut_down().await;
}

#[tokio::test]
async fn flags_and_runtime_options_on_stdin_are_answered_in_json() {
    let options =
        Any { type_url: "runtimeoptions.v1.Options".into(), value: b"\x12\x02/c".into(), ..Any::default() };
    let call = Call::new().stdin(&options);
    let server = Server::connect(&json(&call.start()).1).await;
    serves(&server).await;
    server.shut_down().await;
}

#[tokio::test]
async fn a_bootstrap_message_is_answered_by_one() {
    let call = Call::new().env("MAX_SHIM_VERSION", "3");
    let sockets = call.bundle.path().join("sockets");
    let params = BootstrapParams {
        instance_id: "c".into(),
        namespace: "test".into(),
        containerd_ttrpc_address: "/nowhere.ttrpc".into(),
        socket_dir: Some(sockets.display().to_string()),
        ..Default::default()
    };
    let call = call.stdin(&params);
    let answer = BootstrapResult::parse_from_bytes(&call.start()).unwrap();
    assert_eq!((answer.version, answer.protocol.as_str()), (3, "ttrpc"));
    let server = Server::connect(&answer.address).await;
    assert!(is_below(&server.socket, sockets.to_str().unwrap()), "{}", answer.address);
    serves(&server).await;
    server.shut_down().await;
}

#[tokio::test]
async fn the_version_is_the_highest_both_know() {
    for (max, version) in [("2", 2), ("3", 3), ("9", 3)] {
        let call = Call::new().env("MAX_SHIM_VERSION", max);
        let (answered, address) = json(&call.start());
        assert_eq!(answered, version, "MAX_SHIM_VERSION={max}");
        Server::connect(&address).await.shut_down().await;
    }
}

#[tokio::test]
async fn a_shim_that_lives_is_not_started_again() {
    let call = Call::new();
    let address = json(&call.start()).1;
    let server = Server::connect(&address).await;
    let said = call.fails(&["start"]);
    assert!(said.contains("making the shim's socket failed"), "{said}");
    serves(&server).await;
    server.shut_down().await;
}

#[tokio::test]
async fn a_shim_that_was_killed_is_started_again() {
    let call = Call::new();
    let socket = Server::connect(&json(&call.start()).1).await.kill();
    assert!(std::fs::metadata(&socket).unwrap().file_type().is_socket());
    let server = Server::connect(&json(&call.start()).1).await;
    assert_eq!(server.socket, socket);
    server.shut_down().await;
}

#[tokio::test]
async fn delete_removes_the_socket_of_a_killed_shim_alone() {
    let call = Call::new();
    let address = json(&call.start()).1;
    let server = Server::connect(&address).await;
    assert!(call.run(&["delete"]).status.success());
    assert!(server.socket.exists(), "the socket of a shim that lives");
    serves(&server).await;
    let socket = server.kill();
    assert!(call.run(&["delete"]).status.success());
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_member_of_a_pod_is_sent_to_the_shim_of_its_sandbox() {
    let mut call = Call::new();
    let config = r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#;
    std::fs::write(call.bundle.path().join("config.json"), config).unwrap();
    let said = call.fails(&["start"]);
    assert!(said.contains("the shim of sandbox pod does not run"), "{said}");
    call.id = "pod".into();
    let address = json(&call.start()).1;
    let server = Server::connect(&address).await;
    call.id = "c".into();
    assert_eq!(json(&call.start()).1, address);
    server.shut_down().await;
}

/// CAP_SYS_RESOURCE (24) is what lowers oom_score_adj; containers and build hosts often lack it.
fn may_be_spared() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}

#[tokio::test]
async fn the_shim_is_the_last_to_go_when_memory_runs_out() {
    if !may_be_spared() {
        eprintln!("skipped: this host's root has no CAP_SYS_RESOURCE");
        return;
    }
    let call = Call::new();
    let server = Server::connect(&json(&call.start()).1).await;
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", server.pid.as_raw_nonzero()));
    assert_eq!(score.unwrap(), "-998\n");
    server.shut_down().await;
}

#[tokio::test]
async fn without_the_right_to_say_so_the_shim_starts_all_the_same() {
    let mut call = Call::new();
    let bounds = "--bounding-set=-sys_resource";
    call.wrapper = ["setpriv", bounds, "--inh-caps=-sys_resource"].map(str::to_owned).into();
    let server = Server::connect(&json(&call.start()).1).await;
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", server.pid.as_raw_nonzero()));
    assert_eq!(score.unwrap(), own);
    serves(&server).await;
    server.shut_down().await;
}

#[tokio::test]
async fn what_the_server_logs_comes_by_the_fifo_in_the_bundle() {
    let call = Call::new();
    let path = call.bundle.path().join("log");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut log = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
    let server = Server::connect(&json(&call.start()).1).await;
    let mut heard = Vec::new();
    let line = async {
        while !String::from_utf8_lossy(&heard).contains("serving") {
            log.read_buf(&mut heard).await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), line).await.expect("a line in the log");
    server.shut_down().await;
}

#[test]
fn a_start_that_cannot_be_understood_says_why() {
    let mut call = Call::new();
    call.environment.clear();
    let said = call.fails(&["start"]);
    assert_eq!(said, "containerd-shim-boxlite-v1: containerd named no ttrpc address for events\n");
    call.id = String::new();
    let said = call.fails(&["start"]);
    assert!(said.contains("start needs -id and -namespace"), "{said}");
}
