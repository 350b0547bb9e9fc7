// SPDX-License-Identifier: Apache-2.0
//! Exit statuses, and the words for what never ran.

use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;

use crate::fake_machine::containerd::{Shim, refusal};
use crate::fake_machine::process::Exec;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_the_programs() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let line = |id: &str, line: &str| (id.to_owned(), Exec::shell(line));
    let cases = [
        (line("e0", "exit 0"), 0),
        (line("e3", "exit 3"), 3),
        (line("e255", "exit 255"), 255),
        (line("eterm", "kill -TERM $$"), 128 + 15),
        (line("esegv", "kill -SEGV $$"), 128 + 11),
    ];
    for ((id, exec), status) in cases {
        let process = container.exec(&id, &exec).await;
        assert_eq!(process.wait().await, status, "{id}");
        assert_eq!(process.delete().await, status, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_code_of_a_container_is_its_first_process_s() {
    for status in [0, 255] {
        let shim = Shim::start().await;
        let container = shim.run(&shim.bundle("c").shell(&format!("exit {status}"))).await;
        assert_eq!(container.wait().await, status);
        assert_eq!(container.delete().await, status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_reaches_the_process_it_is_for() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done");
    let container = shim.create(&bundle.nobody_reads()).await;
    let mut output = container.listen();
    container.start().await;
    output.until("ready").await;
    let exec = container.exec("e1", &Exec::args(&["sleep", "1000"])).await;
    exec.kill(15).await;
    assert_eq!(exec.wait().await, 128 + 15);
    assert_eq!(container.status().await, Status::RUNNING);
    container.kill(15).await;
    assert_eq!(container.wait().await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there_is_named() {
    let shim = Shim::start().await;
    let container = shim.create(&shim.bundle("c").args(&["nowhere"])).await;
    let (_, message) = refusal(container.try_start().await);
    assert!(message.contains("exec: \"nowhere\": executable file not found in $PATH"), "{message}");
    assert_eq!(container.status().await, Status::STOPPED);
    container.delete().await;
    assert!(!shim.run_directory("c").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_may_not_be_executed_is_named() {
    let shim = Shim::start().await;
    let container = shim.create(&shim.bundle("c").args(&["/etc/plain"])).await;
    let (_, message) = refusal(container.try_start().await);
    assert!(message.contains("exec: \"/etc/plain\": permission denied"), "{message}");
    let words = shim.events.words();
    assert!(!words.iter().any(|word| word == "start"), "{words:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_of_what_is_not_there_leaves_the_container_running() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let exec = container.add("e1", &Exec::args(&["nowhere"])).await;
    let (_, message) = refusal(exec.try_start().await);
    assert!(message.contains("exec: \"nowhere\": executable file not found in $PATH"), "{message}");
    assert_eq!(exec.status().await, Status::STOPPED);
    exec.delete().await;
    assert_eq!(container.status().await, Status::RUNNING);
    // The id is free again.
    let exec = container.exec("e1", &Exec::args(&["true"])).await;
    assert_eq!(exec.wait().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_working_directory_that_is_a_file_is_the_programs_error() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let mut exec = Exec::args(&["true"]);
    exec.process["cwd"] = serde_json::json!("/etc/plain");
    let process = container.add("e1", &exec).await;
    let (code, message) = refusal(process.try_start().await);
    assert_ne!(code, Code::UNAVAILABLE, "{message}");
    assert!(message.contains("/etc/plain"), "{message}");
    assert_eq!(container.status().await, Status::RUNNING);
}
