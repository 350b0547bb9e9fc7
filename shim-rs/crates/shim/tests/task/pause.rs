// SPDX-License-Identifier: Apache-2.0
//! A container that is paused: what is said of it is true and said at once, and what is asked of it is there when it
//! goes on.

use std::sync::atomic::Ordering;

use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;

use crate::fake_machine::containerd::{Shim, refusal};
use crate::fake_machine::process::Exec;

#[tokio::test]
async fn a_resume_that_fails_leaves_it_paused() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    container.pause().await;
    shim.host.refuses_resume.store(true, Ordering::SeqCst);
    let (_, message) = refusal(container.try_resume().await);
    assert!(message.contains("not today"), "{message}");
    assert_eq!(container.status().await, Status::PAUSED);
    assert_eq!(refusal(container.try_pause().await).0, Code::FAILED_PRECONDITION);
    shim.host.refuses_resume.store(false, Ordering::SeqCst);
    container.resume().await;
    assert_eq!(container.status().await, Status::RUNNING);
    assert_eq!(container.exec("e1", &Exec::args(&["true"])).await.wait().await, 0);
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
}
