// SPDX-License-Identifier: Apache-2.0
//! A container that is paused: what is said of it is true and said at once, and what is asked of it is there when it
//! goes on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;
use serde_json::json;

use crate::fake_machine::containerd::{Shim, refusal};
use crate::fake_machine::liar::{Liar, Manners};
use crate::fake_machine::process::{Exec, Process};

/// No call to a guest that stands still takes this long.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A container of a guest that is as told.
async fn lied_to(manners: Manners) -> (Liar, Shim, Process) {
    let liar = Liar::new(manners);
    let shim = Shim::lied_to_by(&liar).await;
    let container = shim.run(&shim.bundle("c").with_terminal().nobody_reads()).await;
    (liar, shim, container)
}

#[tokio::test]
async fn statistics_of_a_paused_container_are_those_of_the_moment_it_was_paused() {
    let (liar, _shim, container) = lied_to(Manners { memory: 4096, ..Manners::default() }).await;
    assert_eq!(container.memory().await, 4096);
    liar.change(|manners| manners.memory = 8192);
    container.pause().await;
    // A machine that stands still answers nothing; this one would.
    liar.change(|manners| manners.memory = 1);
    let asked = liar.times_asked("stats");
    for _ in 0..3 {
        assert_eq!(container.memory().await, 8192);
    }
    assert_eq!(liar.times_asked("stats"), asked, "a guest that stands still was asked");
    container.resume().await;
    assert_eq!(container.memory().await, 1);
    container.remove().await;
}

#[tokio::test]
async fn scrapes_of_a_paused_container_are_answered_at_once_and_do_not_end_it() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    container.pause().await;
    let began = Instant::now();
    let scrapes = futures::future::join_all((0..600).map(|_| container.try_stats())).await;
    assert!(scrapes.iter().all(Result::is_ok), "{:?}", scrapes.iter().find(|answer| answer.is_err()));
    assert!(began.elapsed() < 3 * AT_ONCE, "{:?}", began.elapsed());
    container.resume().await;
    let exec = container.exec("e1", &Exec::args(&["true"])).await;
    assert_eq!(exec.wait().await, 0);
    assert_eq!(container.status().await, Status::RUNNING);
    container.remove().await;
}

#[tokio::test]
async fn a_guest_is_asked_for_statistics_once_however_many_ask() {
    let (liar, _shim, container) = lied_to(Manners { memory: 4096, ..Manners::default() }).await;
    assert_eq!(container.memory().await, 4096);
    liar.silence("stats");
    let began = Instant::now();
    // Who gets no answer in time has the last one.
    let answers = futures::future::join_all((0..20).map(|_| container.memory())).await;
    assert_eq!(answers, [4096; 20]);
    assert_eq!(container.memory().await, 4096);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(liar.times_asked("stats"), 2);
    container.remove().await;
}

#[tokio::test]
async fn a_guest_that_says_nothing_of_itself_is_paused_all_the_same() {
    let (liar, _shim, container) = lied_to(Manners::default()).await;
    liar.silence("stats");
    let began = Instant::now();
    container.pause().await;
    assert!(began.elapsed() < 3 * AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(container.status().await, Status::PAUSED);
    let began = Instant::now();
    let (code, message) = refusal(container.try_stats().await);
    assert_eq!((code, message.as_str()), (Code::FAILED_PRECONDITION, "cannot measure a paused process"));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    container.remove().await;
}

#[tokio::test]
async fn an_update_of_a_paused_container_is_refused_at_once() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    container.pause().await;
    let began = Instant::now();
    let update = json!({ "memory": { "limit": 64 << 20 } });
    let (code, message) = refusal(container.try_update(&update).await);
    assert_eq!((code, message.as_str()), (Code::FAILED_PRECONDITION, "cannot update a paused process"));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    container.remove().await;
}

#[tokio::test]
async fn a_size_and_signals_that_come_while_it_is_paused_are_there_when_it_goes_on() {
    let (liar, _shim, container) = lied_to(Manners::default()).await;
    container.pause().await;
    let began = Instant::now();
    container.resize(10, 20).await;
    container.resize(40, 120).await;
    container.kill(15).await;
    container.kill(15).await;
    container.kill(1).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(liar.times_asked("resize 40 120") + liar.times_asked("signal 15"), 0);
    assert_eq!(refusal(container.try_kill(65).await).0, Code::INVALID_ARGUMENT);
    container.resume().await;
    let asked = ["resize 10 20", "resize 40 120", "signal 1", "signal 15"];
    // A signal that is pending already is not pending twice.
    assert_eq!(asked.map(|words| liar.times_asked(words)), [0, 1, 1, 1]);
    container.pause().await;
    container.resume().await;
    assert_eq!(asked.map(|words| liar.times_asked(words)), [0, 1, 1, 1]);
    container.remove().await;
}

#[tokio::test]
async fn a_container_that_is_asked_to_end_while_it_is_paused_ends_when_it_goes_on() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done");
    let container = shim.create(&bundle.nobody_reads()).await;
    let mut output = container.listen();
    container.start().await;
    output.until("ready").await;
    container.pause().await;
    container.kill(15).await;
    assert_eq!(container.status().await, Status::PAUSED);
    container.resume().await;
    assert_eq!(container.wait().await, 7);
    container.remove().await;
}

#[tokio::test]
async fn a_resume_that_fails_leaves_it_paused() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    container.pause().await;
    shim.host.refuses_resume.store(true, Ordering::SeqCst);
    let (code, message) = refusal(container.try_resume().await);
    assert_eq!(code, Code::INTERNAL);
    assert_eq!(message, "resuming the machine failed: the machine's monitor failed at cont: not today");
    assert_eq!(container.status().await, Status::PAUSED);
    assert_eq!(refusal(container.try_pause().await).0, Code::FAILED_PRECONDITION);
    shim.host.refuses_resume.store(false, Ordering::SeqCst);
    container.resume().await;
    assert_eq!(container.status().await, Status::RUNNING);
    assert_eq!(container.exec("e1", &Exec::args(&["true"])).await.wait().await, 0);
    container.remove().await;
}

#[tokio::test]
async fn a_machine_that_stops_by_itself_is_a_paused_container() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let exec = container.add("e1", &Exec::args(&["true"])).await;
    shim.host.tell_running(false);
    assert_eq!(container.status().await, Status::PAUSED);
    assert_eq!(refusal(exec.try_start().await).0, Code::FAILED_PRECONDITION);
    container.resume().await;
    assert_eq!(container.status().await, Status::RUNNING);
    container.remove().await;
}
