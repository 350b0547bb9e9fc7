// SPDX-License-Identifier: Apache-2.0
//! Limits that hold while something hangs: of a test, and of the programs it starts.
//!
//! A test runs on one thread, so nothing on it may block. A program ends with its test, whatever became of either.

use std::future::Future;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, waitid};

/// No test takes longer, with an emulated machine on a busy host.
const TEST: Duration = Duration::from_secs(120);
/// No program takes longer to end once what it serves is gone.
const END: Duration = Duration::from_secs(20);

/// Fails where a test hangs; what it started is ended as it unwinds.
pub(crate) async fn in_time<T>(test: impl Future<Output = T>) -> T {
    within(TEST, "the test", test).await
}

/// Waits for what must come.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} hangs: not done within {} s", limit.as_secs_f32()),
    }
}

/// A program a test has started.
pub(crate) struct Program {
    name: String,
    child: Child,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { name: command.get_program().display().to_string(), child: command.spawn().unwrap() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Its status, once it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let pidfd = rustix::process::pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        // A thread of its own blocks; when the limit is met, the program's end ends that too.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let ended = tokio::task::spawn_blocking(move || waitid(WaitId::PidFd(pidfd.as_fd()), options));
        within(END, &self.name, ended).await.unwrap().unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both do nothing to one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_program_that_hangs_fails_its_test_and_ends_with_it() {
    let program = Program::start(Command::new("sleep").arg("1000"));
    let pid = program.id();
    let test = tokio::spawn(async move {
        let mut program = program;
        within(Duration::from_millis(50), "the test", program.ended()).await
    });
    let failure = test.await.unwrap_err().into_panic();
    assert!(failure.downcast_ref::<String>().unwrap().contains("the test hangs"));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
