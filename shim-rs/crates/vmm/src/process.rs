// SPDX-License-Identifier: Apache-2.0
//! One child process: spawned, killed, and reaped through its pidfd.
//!
//! A task of the runtime waits for the pidfd, reaps, and publishes the exit; everybody else only looks at
//! what was published. Dropping a [`Process`] kills it, so a launch that fails half-way leaves nothing. One that is
//! bound ([`Process::spawn_bound`]) goes as well when nothing can be dropped any more.

use std::{
    fmt, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use boxlite_linux::process::stat;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
    sync::watch,
};

use crate::{
    capture::{self, Head},
    error::VmmError,
};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessExit {
    /// It called exit with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It has ended, and somebody else took its status.
    Unknown,
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown status"),
        }
    }
}

/// A running or ended child. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    start_time: u64,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    exit: watch::Receiver<Option<ProcessExit>>,
    stderr: Head,
}

impl Process {
    /// Starts `command` with an empty stdin and stdout, and its stderr kept (the first 4 KiB, and a panic).
    ///
    /// The child inherits the calling thread's namespaces, cgroup and working directory. File descriptors
    /// mapped into `command` are closed here once it has started. Must be called where a tokio runtime with
    /// I/O is current ([`Handle::enter`] on a plain thread); that runtime watches the child.
    ///
    /// # Errors
    /// [`VmmError::ProgramMissing`], [`VmmError::Spawn`], or [`VmmError::Host`] when the child cannot be
    /// watched (it is killed then).
    pub fn spawn(mut command: Command) -> Result<Self, VmmError> {
        let host = |action| move |source: io::Error| VmmError::Host { action, source };
        Handle::try_current().map_err(|source| host("find the async runtime")(io::Error::other(source)))?;
        let (errors, theirs) = capture::pipe().map_err(host("make a pipe for messages"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
        let child = command.spawn().map_err(|source| {
            let path = PathBuf::from(command.get_program());
            match source.kind() {
                io::ErrorKind::NotFound => VmmError::ProgramMissing { path, source },
                _ => VmmError::Spawn { path, source },
            }
        })?;
        // Closes our copies of what the child was given, so that its end is the only one.
        drop(command);
        Self::watch(child, Head::of(errors)).map_err(host("watch a child process"))
    }

    /// As [`Process::spawn`]; but the kernel kills the child when the *calling thread* ends, also by a SIGKILL to this
    /// process. For a thread that lives as long as the child is wanted.
    ///
    /// # Errors
    /// As [`Process::spawn`].
    pub fn spawn_bound(mut command: Command) -> Result<Self, VmmError> {
        bind(&mut command);
        Self::spawn(command)
    }

    fn watch(mut child: std::process::Child, stderr: Head) -> io::Result<Self> {
        let open = || {
            let pid = Pid::from_child(&child);
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
            Ok((pid, stat(child.id())?.start_time, watched(pidfd)?))
        };
        let (pid, start_time, pidfd) = match open() {
            Ok(opened) => opened,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        let pidfd = Arc::new(pidfd);
        let (publish, exit) = watch::channel(None);
        tokio::spawn(reap(Arc::clone(&pidfd), publish));
        Ok(Self { pid, start_time, pidfd, exit, stderr })
    }

    /// The process id, on the host. It may belong to another process once [`Process::exited`] has resolved;
    /// record it together with [`Process::start_time`].
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`): with the pid, it names this
    /// process and no later one.
    #[must_use]
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// The process as a descriptor: names this process and no later one.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.get_ref().as_fd()
    }

    /// Sends SIGKILL. Harmless when the process has ended.
    pub fn kill(&self) {
        // Nothing can happen with a pidfd of a child and a valid signal.
        let _ = boxlite_linux::process::kill(self.pidfd.get_ref());
    }

    /// Resolves when the process has ended and was reaped; at once if that has happened. Many may wait.
    pub async fn exited(&self) -> ProcessExit {
        match self.exit.clone().wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(ProcessExit::Unknown),
            // The watching task went with its runtime.
            Err(_) => ProcessExit::Unknown,
        }
    }

    /// How it ended, or `None` while it runs.
    #[must_use]
    pub fn exit(&self) -> Option<ProcessExit> {
        *self.exit.borrow()
    }

    /// What it wrote to stderr so far, the first 4 KiB and the first panic, control characters stripped.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Resolves when it says that one of its threads panicked. A program in Rust may live on without that thread, and
    /// do none of its work.
    pub async fn panicked(&self) {
        self.stderr.panicked().await;
    }

    /// Waits until all it will write to stderr has been read: only for programs that leave no children.
    pub(crate) async fn stderr_complete(&self) {
        self.stderr.complete().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit().is_none() {
            self.kill();
        }
    }
}

async fn reap(pidfd: Arc<AsyncFd<OwnedFd>>, publish: watch::Sender<Option<ProcessExit>>) {
    let exit = loop {
        let Ok(mut ready) = pidfd.readable().await else { return };
        let id = WaitId::PidFd(pidfd.get_ref().as_fd());
        match rustix::process::waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => break exit_of(&status),
            Ok(None) => ready.clear_ready(),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(_) => break ProcessExit::Unknown,
        }
    };
    publish.send_replace(Some(exit));
}

/// Has the child ask the kernel for its own end at that of the thread that starts it.
#[expect(unsafe_code, reason = "only the child can ask for this, between fork and exec")]
fn bind(command: &mut Command) {
    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Nothing is sent for one that has ended before.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec only what is async-signal-safe may be called. This makes two system calls and
    // allocates nothing: an error of a kind or of a number has no content on the heap.
    unsafe { command.pre_exec(ask) };
}

/// Registers a pidfd with the runtime.
#[expect(unsafe_code, reason = "tokio asks for a promise that the descriptor stays the same")]
fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd returns the same descriptor for all its life and closes it only when dropped; the
    // AsyncFd owns it and is never taken apart.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}

fn exit_of(status: &WaitIdStatus) -> ProcessExit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ProcessExit::Code(code),
        (None, Some(signal)) => ProcessExit::Signal(signal),
        (None, None) => ProcessExit::Unknown,
    }
}

#[cfg(test)]
mod tests;
