// SPDX-License-Identifier: Apache-2.0
//! stdin: clients come and go, and only CloseIO ends it.

use std::io::Write;

use crate::fake_machine::containerd::Shim;
use crate::fake_machine::process::Exec;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdin_ends_by_close_io_alone() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["cat"]).with_stdin().nobody_reads();
    let container = shim.create(&bundle).await;
    let mut output = container.listen();
    container.start().await;
    for word in ["one\n", "two\n", "three\n"] {
        // Each client attaches, writes and detaches.
        container.attach().write_all(word.as_bytes()).unwrap();
        assert_eq!(output.until("\n").await, word);
    }
    container.close_stdin().await;
    assert_eq!(container.wait().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_before_close_io_is_read() {
    let shim = Shim::start().await;
    let mut container = shim.run(&shim.bundle("c").args(&["cat"]).with_stdin()).await;
    let text = "0123456789abcdef".repeat(16 << 10);
    let mut client = container.attach();
    let written = text.clone();
    let writer = std::thread::spawn(move || client.write_all(written.as_bytes()));
    tokio::task::spawn_blocking(|| writer.join()).await.unwrap().unwrap().unwrap();
    container.close_stdin().await;
    assert_eq!(container.wait().await, 0);
    container.delete().await;
    assert!(container.stdout().await == text.as_bytes(), "256 KiB came back changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_io_with_a_client_attached_ends_stdin_when_it_detaches() {
    let shim = Shim::start().await;
    let mut container = shim.run(&shim.bundle("c").args(&["cat"]).with_stdin()).await;
    let mut client = container.attach();
    container.close_stdin().await;
    client.write_all(b"last words").unwrap();
    drop(client);
    assert_eq!(container.wait().await, 0);
    container.delete().await;
    assert_eq!(container.stdout().await, b"last words");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_io_before_the_start_ends_stdin_at_once() {
    let shim = Shim::start().await;
    let container = shim.create(&shim.bundle("c").shell("cat; exit 6").with_stdin()).await;
    container.close_stdin().await;
    container.start().await;
    assert_eq!(container.wait().await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_io_of_an_exec_is_the_execs() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").shell("cat; exit 6").with_stdin()).await;
    let mut exec = Exec::args(&["cat"]);
    exec.stdin = true;
    let mut exec = container.exec("e1", &exec).await;
    exec.attach().write_all(b"said").unwrap();
    exec.close_stdin().await;
    assert_eq!(exec.wait().await, 0);
    exec.delete().await;
    assert_eq!(exec.stdout().await, b"said");
    container.close_stdin().await;
    assert_eq!(container.wait().await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_stdin_reads_nothing() {
    let shim = Shim::start().await;
    let mut container = shim.run(&shim.bundle("c").shell("cat; echo end")).await;
    assert_eq!(container.wait().await, 0);
    container.delete().await;
    assert_eq!(container.stdout().await, b"end\n");
}
