// SPDX-License-Identifier: Apache-2.0
//! What is refused in which state, by code, and what may be asked twice.

use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;

use crate::fake_machine::containerd::{Shim, patience, refusal};
use crate::fake_machine::fifo::Fifos;
use crate::fake_machine::process::{Exec, Process};

fn code<T: std::fmt::Debug>(answer: boxlite_protocol::ttrpc::Result<T>) -> Code {
    refusal(answer).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_is_not_found() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let other = |container: &str, exec: &str| Process {
        client: shim.client.clone(),
        container: container.to_owned(),
        exec: exec.to_owned(),
        pid: 0,
        directory: shim.scratch.path().to_owned(),
        fifos: Fifos::default(),
        stdout: None,
        stderr: None,
    };
    for unknown in [other("nobody", ""), other("c", "nobody")] {
        assert_eq!(code(unknown.try_state().await), Code::NOT_FOUND);
        assert_eq!(code(unknown.try_start().await), Code::NOT_FOUND);
        assert_eq!(code(unknown.try_wait().await), Code::NOT_FOUND);
        assert_eq!(code(unknown.try_kill(9).await), Code::NOT_FOUND);
        assert_eq!(code(unknown.try_delete().await), Code::NOT_FOUND);
    }
    assert_eq!(
        code(other("nobody", "").try_add("e1", &Exec::args(&["true"])).await.map(drop)),
        Code::NOT_FOUND
    );
    assert_eq!(container.status().await, Status::RUNNING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_taken_exists_already() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["sleep", "1000"]);
    let container = shim.run(&bundle).await;
    let request = shim.request(&bundle, &Fifos::default());
    let again = shim.client.create(patience(), &request).await;
    assert_eq!(code(again), Code::ALREADY_EXISTS);
    container.add("e1", &Exec::args(&["true"])).await;
    assert_eq!(code(container.try_add("e1", &Exec::args(&["true"])).await.map(drop)), Code::ALREADY_EXISTS);
    assert_eq!(container.status().await, Status::RUNNING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_state_fails_its_precondition() {
    let shim = Shim::start().await;
    let container = shim.create(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let exec = Exec::args(&["sleep", "1000"]);
    assert_eq!(code(container.try_add("early", &exec).await.map(drop)), Code::FAILED_PRECONDITION);
    assert_eq!(code(container.try_kill(15).await), Code::FAILED_PRECONDITION);
    container.start().await;
    assert_eq!(code(container.try_start().await), Code::FAILED_PRECONDITION);
    assert_eq!(code(container.try_delete().await), Code::FAILED_PRECONDITION);
    let process = container.exec("e1", &exec).await;
    assert_eq!(code(process.try_start().await), Code::FAILED_PRECONDITION);
    assert_eq!(code(process.try_delete().await), Code::FAILED_PRECONDITION);
    container.kill(9).await;
    container.wait().await;
    assert_eq!(code(container.try_start().await), Code::FAILED_PRECONDITION);
    assert_eq!(code(container.try_add("late", &exec).await.map(drop)), Code::FAILED_PRECONDITION);
    // What has ended is not there to be signalled, as with runc.
    assert_eq!(code(container.try_kill(15).await), Code::NOT_FOUND);
    assert_eq!(code(container.try_kill(9).await), Code::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_deleted_once_however_often_it_is_asked() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("exit 3").hook("poststop", "echo once >>poststop; sleep 0.2");
    let container = shim.run(&bundle).await;
    container.wait().await;
    let answers = tokio::join!(container.try_delete(), container.try_delete(), container.try_delete());
    let mut told = 0;
    for answer in [answers.0, answers.1, answers.2] {
        match answer {
            Ok(answer) => {
                assert_eq!(answer.exit_status, 3);
                told += 1;
            }
            Err(_) => assert_eq!(code(answer), Code::NOT_FOUND),
        }
    }
    assert!(told >= 1);
    assert_eq!(code(container.try_delete().await), Code::NOT_FOUND);
    assert_eq!(shim.events.words(), ["create", "start", "exit 3", "delete 3"]);
    let hooks = std::fs::read_to_string(bundle.directory.join("poststop")).unwrap();
    assert_eq!(hooks, "once\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_never_started_is_deleted_whole() {
    let shim = Shim::start().await;
    let container = shim.create(&shim.bundle("c")).await;
    assert!(shim.run_directory("c").exists());
    assert_eq!(container.delete().await, 0);
    assert!(!shim.run_directory("c").exists());
    assert_eq!(code(container.try_state().await), Code::NOT_FOUND);
    assert_eq!(shim.events.words(), ["create", "delete 0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_never_started_can_be_killed() {
    let shim = Shim::start().await;
    let container = shim.create(&shim.bundle("c")).await;
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
    assert_eq!(container.delete().await, 137);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_that_was_never_started_can_be_deleted() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let exec = container.add("e1", &Exec::args(&["true"])).await;
    assert_eq!(exec.status().await, Status::CREATED);
    exec.delete().await;
    assert_eq!(code(exec.try_state().await), Code::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_free_again_after_delete() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("exit 3");
    for _ in 0..2 {
        let container = shim.run(&bundle).await;
        assert_eq!(container.wait().await, 3);
        container.delete().await;
    }
}
