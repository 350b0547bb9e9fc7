// SPDX-License-Identifier: Apache-2.0
//! Children that end in every way.

use super::*;

fn shell(script: &str) -> Process {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    Process::spawn(command).expect("spawn")
}

#[tokio::test]
async fn an_exit_code_reaches_every_waiter() {
    let process = shell("exit 7");
    let (one, other) = tokio::join!(process.exited(), process.exited());
    assert_eq!((one, other), (ProcessExit::Code(7), ProcessExit::Code(7)));
    assert_eq!(process.exit(), Some(ProcessExit::Code(7)));
}

#[tokio::test]
async fn a_killed_process_reports_the_signal() {
    let process = shell("exec sleep 60");
    process.kill();
    assert_eq!(process.exited().await, ProcessExit::Signal(9));
    process.kill();
}

#[tokio::test]
async fn a_panic_is_noticed_though_the_process_lives() {
    let process = shell("echo \"thread 'worker' panicked at src/x.rs:1:2:\" >&2; exec sleep 60");
    process.panicked().await;
    assert_eq!(process.exit(), None);
    let quiet = shell("echo careful >&2; exec sleep 60");
    let patience = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(patience, quiet.panicked()).await.is_err());
}

#[tokio::test]
async fn a_panic_after_many_warnings_is_noticed_and_quoted() {
    let said = "thread 'worker' panicked at src/x.rs:1:2:";
    let process =
        shell(&format!("yes '[WARN] careful' | head -c 9000 >&2; echo \"{said}\" >&2; exec sleep 60"));
    let patience = std::time::Duration::from_secs(10);
    tokio::time::timeout(patience, process.panicked()).await.expect("the panic is noticed");
    assert!(process.stderr().ends_with(said), "{}", process.stderr());
}

#[tokio::test]
async fn a_dropped_process_is_killed_and_reaped() {
    let process = shell("exec sleep 60");
    let mut exit = process.exit.clone();
    drop(process);
    let exit = *exit.wait_for(Option::is_some).await.expect("published");
    assert_eq!(exit, Some(ProcessExit::Signal(9)));
}

#[tokio::test]
async fn a_bound_process_ends_with_the_thread_that_started_it() {
    let runtime = Handle::current();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (started, process) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _context = runtime.enter();
        let mut command = Command::new("sleep");
        command.arg("60");
        started.send(Process::spawn_bound(command)).expect("sent");
        wait.recv().expect_err("nothing is sent");
    });
    let process = process.recv().expect("received").expect("spawn");
    assert_eq!(process.exit(), None);
    drop(go);
    thread.join().expect("joined");
    let patience = std::time::Duration::from_secs(10);
    let exit = tokio::time::timeout(patience, process.exited()).await.expect("it ends");
    assert_eq!(exit, ProcessExit::Signal(9));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = Process::spawn(Command::new("/nowhere/qemu")).expect_err("missing");
    assert!(matches!(&error, VmmError::ProgramMissing { path, .. } if path.ends_with("qemu")));
    assert_eq!(error.to_string(), "/nowhere/qemu is missing");
}

#[tokio::test]
async fn complaints_are_kept() {
    let process = shell("echo broken >&2; exit 1");
    process.exited().await;
    process.stderr_complete().await;
    assert_eq!(process.stderr(), "broken");
}

#[tokio::test]
async fn the_start_time_is_that_of_proc() {
    let process = shell("exec sleep 60");
    assert_eq!(process.start_time(), stat(process.pid()).expect("stat").start_time);
    assert!(process.start_time() > 0);
}

/// The kernel keeps 15 bytes of a name, wherever they end.
#[tokio::test]
async fn a_child_is_watched_whose_name_the_kernel_cut_within_a_character() {
    let directory = tempfile::tempdir().expect("directory");
    let program = directory.path().join(format!("{}\u{e9}", "x".repeat(14)));
    std::os::unix::fs::symlink("/bin/sleep", &program).expect("link");
    let mut command = Command::new(program);
    command.arg("60");
    let process = Process::spawn(command).expect("spawn");
    assert!(process.start_time() > 0);
}
