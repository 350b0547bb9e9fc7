// SPDX-License-Identifier: Apache-2.0
//! `ps DIRECTORY`, as `boxlite ps` calls it: what runs in the guest, and why it cannot be told.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::PauseRequest;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fake_machine::containerd::{Shim, patience};
use crate::fake_machine::process::Exec;

const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-shim-boxlite-v1");

async fn ps(directory: &Path) -> Output {
    let directory = directory.to_owned();
    // The shim that answers is in this process.
    let call = move || Command::new(PROGRAM).arg("ps").arg(directory).output().unwrap();
    tokio::task::spawn_blocking(call).await.unwrap()
}

async fn processes(shim: &Shim) -> Value {
    let output = ps(&shim.run_directory("c")).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn refusal(shim: &Shim, id: &str) -> String {
    let output = ps(&shim.run_directory(id)).await;
    assert!(!output.status.success());
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_is_told_in_the_containers_numbers() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").shell("sleep 1000 & wait")).await;
    let exec = container.exec("e1", &Exec::shell("echo here; sleep 1000").nobody_reads()).await;
    exec.listen().until("here").await;
    let told = processes(&shim).await;
    let rows = told.as_array().unwrap();
    assert_eq!(rows[0], json!({ "pid": 1, "parent": 0, "uid": 0, "command": "sh" }));
    let child = rows.iter().find(|row| row["parent"] == 1).expect("a child of the first");
    assert_eq!(child["command"], "sleep");
    // What was executed from outside has no parent inside.
    assert!(rows.iter().any(|row| row["pid"] != 1 && row["parent"] == 0), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_run_cannot_be_looked_into() {
    let shim = Shim::start().await;
    let said = refusal(&shim, "absent").await;
    assert!(said.contains("finding the shim failed"), "{said}");
    let container = shim.create(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let said = refusal(&shim, "c").await;
    assert_eq!(said, "containerd-shim-boxlite-v1: cannot look into a created process\n");
    container.start().await;
    let pause = PauseRequest { id: "c".into(), ..Default::default() };
    shim.client.pause(patience(), &pause).await.unwrap();
    let said = refusal(&shim, "c").await;
    assert_eq!(said, "containerd-shim-boxlite-v1: cannot look into a paused process\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_hangs_is_given_up_and_stops_nobody_else() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    shim.host.signal_machine(Signal::STOP);
    let began = Instant::now();
    let (said, pids) = tokio::join!(refusal(&shim, "c"), async {
        let pids = container.pids().await;
        (pids, began.elapsed())
    });
    assert!(said.contains("the guest did not answer within 10 s"), "{said}");
    assert_eq!(pids.0, [container.pid]);
    assert!(pids.1 < Duration::from_secs(1), "{:?}", pids.1);
}
