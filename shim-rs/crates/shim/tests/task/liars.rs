// SPDX-License-Identifier: Apache-2.0
//! Guests that answer wrongly, or keep what they should let go of: what one call is refused is that call's affair, and a
//! container ends in a bounded time.

use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use rustix::process::Signal;

use crate::fake_machine::containerd::Shim;
use crate::fake_machine::liar::{Liar, Manners};
use crate::fake_machine::process::{Exec, Process};
use crate::fake_machine::soon;

/// A container of a guest that is as told, with some execs that run.
async fn lied_to(manners: Manners, execs: usize) -> (Liar, Shim, Process, Vec<Process>) {
    let liar = Liar::new(manners);
    let shim = Shim::lied_to_by(&liar).await;
    let container = shim.run(&shim.bundle("c").with_stdin().nobody_reads()).await;
    let mut running = Vec::new();
    for number in 0..execs {
        let exec = Exec::args(&["sleep", "1000"]).nobody_reads();
        running.push(container.exec(&format!("e{number}"), &exec).await);
    }
    (liar, shim, container, running)
}

#[tokio::test]
async fn an_exec_whose_wait_is_refused_has_ended_and_nothing_else_has() {
    let (liar, shim, container, execs) = lied_to(Manners::default(), 2).await;
    liar.end("e0", None);
    assert_eq!(soon("the exec's end", execs[0].wait()).await, 255);
    shim.events.wait_for("exit e0 255").await;
    assert_eq!(container.status().await, Status::RUNNING);
    assert_eq!(execs[1].status().await, Status::RUNNING);
    liar.end("e1", Some(3));
    assert_eq!(soon("the other's end", execs[1].wait()).await, 3);
    container.remove().await;
}

#[tokio::test]
async fn a_first_process_whose_wait_is_refused_has_ended() {
    let (liar, shim, container, _execs) = lied_to(Manners::default(), 1).await;
    liar.end("", None);
    assert_eq!(soon("the end", container.wait()).await, 255);
    shim.events.wait_for("exit 255").await;
    assert_eq!(container.delete().await, 255);
}

#[tokio::test]
async fn a_guest_that_only_cuts_off_its_control_ends_execs_and_leaves_the_container() {
    let (liar, _shim, container, execs) = lied_to(Manners::default(), 1).await;
    liar.cut_control();
    assert_eq!(soon("the exec's end", execs[0].wait()).await, 255);
    assert_eq!(container.status().await, Status::RUNNING);
    let began = Instant::now();
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    container.remove().await;
}

#[tokio::test]
async fn a_guest_that_reports_without_end_is_heard_ten_times_a_second() {
    let (_liar, shim, container, _) = lied_to(Manners { floods: true, ..Manners::default() }, 0).await;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let heard = shim.events.topics().iter().filter(|topic| *topic == "/tasks/oom").count();
    let most = began.elapsed().as_millis() / 100 + 2;
    assert!(heard > 1 && heard as u128 <= most, "{heard} in {:?}", began.elapsed());
    container.remove().await;
}

#[tokio::test]
async fn a_channel_that_ends_ends_the_container() {
    let (liar, shim, container, execs) = lied_to(Manners::default(), 1).await;
    liar.hang_up();
    assert_eq!(soon("the end", container.wait()).await, 137);
    assert_eq!(execs[0].wait().await, 137);
    shim.events.wait_for("exit 137").await;
    assert!(shim.events.words().contains(&"exit e0 137".to_owned()));
    container.remove().await;
}

#[tokio::test]
async fn calls_to_a_guest_that_hangs_for_a_while_cost_nothing_but_themselves() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("trap : USR1; echo ready; while :; do sleep 0.1; done");
    let container = shim.create(&bundle.nobody_reads()).await;
    let mut output = container.listen();
    container.start().await;
    output.until("ready").await;
    let exec = container.exec("e0", &Exec::shell("sleep 12; exit 4")).await;
    shim.host.signal_machine(Signal::STOP);
    // More than the channel holds of what nobody reads.
    let calls = futures::future::join_all((0..3000).map(|_| container.try_kill(10))).await;
    assert!(calls.iter().all(Result::is_err));
    shim.host.signal_machine(Signal::CONT);
    assert_eq!(soon("an exec's end", exec.wait()).await, 4);
    assert_eq!(container.status().await, Status::RUNNING);
    let exec = container.exec("e1", &Exec::shell("exit 5")).await;
    assert_eq!(exec.wait().await, 5);
    container.remove().await;
}

#[tokio::test]
async fn streams_that_are_kept_open_hold_up_the_end_once_and_not_for_each_process() {
    let (liar, shim, container, execs) =
        lied_to(Manners { keeps_streams: true, ..Manners::default() }, 3).await;
    let began = Instant::now();
    liar.end("", Some(0));
    shim.events.wait_for("exit 0").await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    for exec in execs {
        assert_eq!(exec.status().await, Status::STOPPED);
    }
    assert_eq!(container.delete().await, 0);
}

#[tokio::test]
async fn sigkill_ends_what_is_ending_already() {
    let (liar, _shim, container, _execs) =
        lied_to(Manners { keeps_streams: true, ..Manners::default() }, 2).await;
    liar.end("", Some(3));
    liar.asked("wait ").await;
    assert_eq!(container.status().await, Status::RUNNING, "its end is told when its output is there");
    let began = Instant::now();
    container.kill(9).await;
    assert_eq!(container.wait().await, 3, "it had ended by itself");
    assert_eq!(container.delete().await, 3);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_container_is_removed_by_force_within_two_seconds_whatever_its_guest_keeps() {
    let (_liar, shim, container, _execs) =
        lied_to(Manners { keeps_streams: true, ..Manners::default() }, 3).await;
    let began = Instant::now();
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
    assert_eq!(container.delete().await, 137);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(!shim.run_directory("c").exists());
}
