// SPDX-License-Identifier: Apache-2.0
//! Guests that hang, die or never come up: the engine gets its answers all the same.

use std::time::{Duration, Instant};

use containerd_shim_protos::api::{PauseRequest, ResumeRequest, Status};
use containerd_shim_protos::ttrpc::Code;
use rustix::process::Signal;

use crate::fake_machine::containerd::{Shim, patience, refusal};
use crate::fake_machine::machine::Kind;
use crate::fake_machine::process::Exec;
use crate::fake_machine::soon;

/// containerd gives up on what takes longer.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_and_pids_are_answered_while_the_guest_hangs() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let exec = container.exec("e1", &Exec::args(&["sleep", "1000"])).await;
    shim.host.signal_machine(Signal::STOP);
    let began = Instant::now();
    assert_eq!(container.status().await, Status::RUNNING);
    assert_eq!(exec.status().await, Status::RUNNING);
    assert_eq!(container.pids().await, [container.pid]);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pids_of_a_task_that_was_not_started_are_the_doubles() {
    let shim = Shim::with(Kind::Mute).await;
    let container = shim.create(&shim.bundle("c")).await;
    assert_eq!(container.pids().await, [container.pid]);
    assert_eq!(container.status().await, Status::CREATED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_ends_a_task_whose_guest_hangs() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    shim.host.signal_machine(Signal::STOP);
    let began = Instant::now();
    container.kill(9).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(container.wait().await, 137);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(container.delete().await, 137);
    assert!(!shim.run_directory("c").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_ends_a_task_whose_guest_never_came_up() {
    let shim = Shim::with(Kind::Mute).await;
    let container = shim.create(&shim.bundle("c")).await;
    let (started, _) = tokio::join!(container.try_start(), async {
        // Killed while Start waits for the guest.
        container.kill(9).await;
    });
    assert!(started.is_err());
    container.wait().await;
    container.delete().await;
    assert!(!shim.run_directory("c").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_dies_ends_its_task_and_the_execs_before_it() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let exec = container.exec("e1", &Exec::args(&["sleep", "1000"])).await;
    shim.host.signal_machine(Signal::KILL);
    assert_eq!(container.wait().await, 137);
    assert_eq!(exec.wait().await, 137);
    shim.events.wait_for("exit 137").await;
    let expected = ["create", "start", "exec-added e1", "exec-started e1", "exit e1 137", "exit 137"];
    assert_eq!(shim.events.words(), expected);
    assert_eq!(container.delete().await, 137);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_that_never_ran_has_no_end_to_tell() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    container.add("e1", &Exec::args(&["sleep", "1000"])).await;
    shim.host.signal_machine(Signal::KILL);
    container.wait().await;
    shim.events.wait_for("exit 137").await;
    assert_eq!(shim.events.words(), ["create", "start", "exec-added e1", "exit 137"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_dies_in_boot_is_quoted_by_start() {
    let shim = Shim::with(Kind::DiesInBoot).await;
    let container = shim.create(&shim.bundle("c")).await;
    let (code, message) = refusal(container.try_start().await);
    assert_eq!(code, Code::UNAVAILABLE);
    assert!(message.contains("the machine is gone"), "{message}");
    assert!(message.contains("Kernel panic - not syncing"), "{message}");
    assert_eq!(container.status().await, Status::STOPPED);
    container.delete().await;
    assert!(!shim.run_directory("c").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_died_before_start_is_quoted_by_start() {
    let shim = Shim::with(Kind::DiesInBoot).await;
    let container = shim.create(&shim.bundle("c")).await;
    assert_eq!(container.wait().await, 137);
    let (code, message) = refusal(container.try_start().await);
    assert_eq!(code, Code::UNAVAILABLE);
    assert!(message.contains("Kernel panic - not syncing"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_task_answers_and_goes_on() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let pause = PauseRequest { id: "c".into(), ..Default::default() };
    let resume = ResumeRequest { id: "c".into(), ..Default::default() };
    shim.client.pause(patience(), &pause).await.unwrap();
    assert_eq!(container.status().await, Status::PAUSED);
    assert_eq!(refusal(shim.client.pause(patience(), &pause).await).0, Code::FAILED_PRECONDITION);
    let exec = container.add("e1", &Exec::args(&["true"])).await;
    assert_eq!(refusal(exec.try_start().await).0, Code::FAILED_PRECONDITION);
    shim.client.resume(patience(), &resume).await.unwrap();
    assert_eq!(refusal(shim.client.resume(patience(), &resume).await).0, Code::FAILED_PRECONDITION);
    assert_eq!(container.status().await, Status::RUNNING);
    let exec = container.exec("e2", &Exec::args(&["true"])).await;
    assert_eq!(exec.wait().await, 0);
    let words = shim.events.words();
    let told: Vec<_> = words.iter().filter(|word| ["paused", "resumed"].contains(&word.as_str())).collect();
    assert_eq!(told, ["paused", "resumed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_ends_a_paused_task() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let pause = PauseRequest { id: "c".into(), ..Default::default() };
    shim.client.pause(patience(), &pause).await.unwrap();
    let began = Instant::now();
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    container.delete().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_dies_before_the_task_is_created_is_told_after_it() {
    let shim = Shim::with(Kind::DiesInBoot).await;
    let bundle = shim.bundle("c").hook("createRuntime", "while [ ! -e ended ]; do sleep 0.01; done");
    let (container, ()) = tokio::join!(shim.create(&bundle), async {
        soon("the machine's end", shim.host.machine_ended()).await;
        std::fs::write(bundle.directory.join("ended"), "").unwrap();
    });
    shim.events.wait_for("exit 137").await;
    assert_eq!(shim.events.words(), ["create", "exit 137"]);
    assert_eq!(container.delete().await, 137);
}
