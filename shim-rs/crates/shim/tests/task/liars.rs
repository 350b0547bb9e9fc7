// SPDX-License-Identifier: Apache-2.0
//! Guests that answer wrongly, or keep what they should let go of: what one call is refused is that call's affair, and a
//! container ends in a bounded time.

use containerd_shim_protos::api::Status;
use rustix::process::Signal;

use crate::fake_machine::containerd::Shim;
use crate::fake_machine::process::Exec;
use crate::fake_machine::soon;

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
}
