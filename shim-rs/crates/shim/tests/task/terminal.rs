// SPDX-License-Identifier: Apache-2.0
//! Processes on a terminal.

use std::io::Write;

use crate::fake_machine::containerd::Shim;
use crate::fake_machine::process::Exec;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_the_size_it_was_given_before_the_start_and_after() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("stty size; read _; stty size").with_terminal().nobody_reads();
    let container = shim.create(&bundle).await;
    let mut output = container.listen();
    container.resize(40, 120).await;
    container.start().await;
    output.until("40 120\r\n").await;
    container.resize(25, 81).await;
    container.attach().write_all(b"\n").unwrap();
    output.until("25 81\r\n").await;
    assert_eq!(container.wait().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_size_is_told_by_a_signal() {
    let shim = Shim::start().await;
    let line = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done";
    let container = shim.create(&shim.bundle("c").shell(line).with_terminal().nobody_reads()).await;
    let mut output = container.listen();
    container.start().await;
    output.until("ready").await;
    container.resize(33, 77).await;
    output.until("33 77").await;
    assert_eq!(container.wait().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_one_for_all_three() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("tty; echo error >&2").with_terminal();
    let mut container = shim.run(&bundle).await;
    assert_eq!(container.wait().await, 0);
    container.delete().await;
    let output = String::from_utf8(container.stdout().await).unwrap();
    assert_eq!(output, "/dev/pts/0\r\nerror\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_typed_is_a_signal() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let exec = Exec::shell("echo ready; exec sleep 1000").with_terminal().nobody_reads();
    let process = container.add("e1", &exec).await;
    let mut output = process.listen();
    process.start().await;
    output.until("ready").await;
    process.attach().write_all(b"\x03").unwrap();
    assert_eq!(process.wait().await, 128 + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execs_terminal_has_its_own_size() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let mut process = container.add("e1", &Exec::args(&["stty", "size"]).with_terminal()).await;
    process.resize(11, 22).await;
    process.start().await;
    assert_eq!(process.wait().await, 0);
    process.delete().await;
    assert_eq!(process.stdout().await, b"11 22\r\n");
}
