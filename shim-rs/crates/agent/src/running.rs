// SPDX-License-Identifier: Apache-2.0
//! A process from the moment it was born to the moment everything about its end is known.
//!
//! ```text
//! born --ready--> prepared --release--> program --exit--> ended --output gone or held up, rest cleaned--> done
//! ```
//! Owns the agent's handles on it: pidfd, terminal, the release. `ended` comes from the reaper; `done` from whoever
//! supervises it, and is what a Wait is answered with.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::pipe::PipeFlags;
use rustix::process::PidfdGetfdFlags;
use tokio::sync::{oneshot, watch};

use crate::descriptor::Watched;
use crate::error::{AgentError, Fault, Trying};
use crate::process::report::{Report, Reports};
use crate::process::terminal;
use crate::reaper::{Exit, Reaper};
use crate::stdio::{Ends, HostStreams, Pumps, Written};
use crate::sys;

/// The end of a process, complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) exit: Exit,
    /// The kernel killed in the container's cgroup for want of memory.
    pub(crate) oom_killed: bool,
    /// Of its output, what came before the end.
    pub(crate) written: Written,
}

/// A child that has just been started: nothing is known of it but its pid.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) exit: oneshot::Receiver<Exit>,
    pub(crate) reports: Reports,
    pub(crate) release: OwnedFd,
}

/// A process that got as far as being ready to execute its program, or further.
#[derive(Debug)]
pub(crate) struct Running {
    /// In the agent's namespace.
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    terminal: Option<Arc<Watched>>,
    /// Taken by the start.
    held: Mutex<Option<(OwnedFd, Reports)>>,
    ended: watch::Receiver<Option<Exit>>,
    done: watch::Sender<Option<End>>,
}

/// The pipe by which a prepared child is let go: its end and ours.
pub(crate) fn release_pipe() -> Result<(OwnedFd, OwnedFd), Fault> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).trying(|| "pipe".to_owned())
}

impl Born {
    pub(crate) fn new(
        (pid, pidfd): (i32, OwnedFd),
        reaper: &Reaper,
        reports: Reports,
        release: OwnedFd,
    ) -> Self {
        Self { pid, pidfd, exit: reaper.watch(pid), reports, release }
    }

    /// Waits until the child is ready and starts its pumps. When it failed, waits for its end too: then nothing is
    /// left of it.
    pub(crate) async fn ready(
        mut self,
        ends: Ends,
        streams: HostStreams,
    ) -> Result<(Running, Pumps), AgentError> {
        match self.connect(ends, streams).await {
            Ok((terminal, pumps)) => Ok((self.into_running(terminal), pumps)),
            Err(error) => {
                // Its report is the reason; that it can be killed no more only means that it ended by itself.
                let _ = boxlite_linux::process::kill(&self.pidfd);
                let _ = (&mut self.exit).await;
                Err(error)
            }
        }
    }

    async fn connect(
        &mut self,
        ends: Ends,
        streams: HostStreams,
    ) -> Result<(Option<Arc<Watched>>, Pumps), AgentError> {
        let Report::Ready(number) = self.reports.next().await? else {
            return Err(Fault::refused("process ended before it was ready".to_owned()).into());
        };
        let terminal = match number {
            None => None,
            Some(number) => {
                let what = || "take the terminal".to_owned();
                let master = rustix::process::pidfd_getfd(&self.pidfd, number, PidfdGetfdFlags::empty());
                let master = master.trying(what)?;
                rustix::fs::fcntl_setfl(&master, rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::RDWR)
                    .trying(what)?;
                Some(Arc::new(sys::watched(master).trying(what)?))
            }
        };
        let pumps = ends.pump(streams, terminal.clone())?;
        Ok((terminal, pumps))
    }

    fn into_running(self, terminal: Option<Arc<Watched>>) -> Running {
        let (sender, ended) = watch::channel(None);
        let exit = self.exit;
        tokio::spawn(async move {
            if let Ok(exit) = exit.await {
                sender.send_replace(Some(exit));
            }
        });
        Running {
            pid: self.pid,
            pidfd: self.pidfd,
            terminal,
            held: Mutex::new(Some((self.release, self.reports))),
            ended,
            done: watch::Sender::new(None),
        }
    }
}

impl Running {
    /// Lets it execute its program, and waits until it has.
    pub(crate) async fn start(&self) -> Result<(), AgentError> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((release, mut reports)) = held else {
            return Err(AgentError::Exists("the program".to_owned()));
        };
        if rustix::io::write(&release, &[1]).is_err() {
            return Err(AgentError::Finished);
        }
        match reports.next().await? {
            Report::Closed => Ok(()),
            Report::Ready(_) => Err(Fault::refused("process is ready twice".to_owned()).into()),
        }
    }

    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    pub(crate) fn signal(&self, signal: i32) -> Result<(), AgentError> {
        boxlite_linux::process::signal(&self.pidfd, signal).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => AgentError::Finished,
            _ => Fault::system("signal", error).into(),
        })
    }

    /// No terminal, nothing to resize: as every runtime, that is no error.
    pub(crate) fn resize(&self, rows: u32, columns: u32) -> Result<(), AgentError> {
        let Some(master) = &self.terminal else { return Ok(()) };
        Ok(terminal::resize(master.get_ref(), rows, columns)?)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Resolves when it is dead and taken in.
    pub(crate) async fn ended(&self) -> Exit {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(UNKNOWN),
            Err(_) => UNKNOWN,
        }
    }

    /// Everything about its end is known.
    pub(crate) fn finish(&self, end: End) {
        self.done.send_replace(Some(end));
    }

    pub(crate) async fn done(&self) -> End {
        let mut done = self.done.subscribe();
        let end = done.wait_for(Option::is_some).await.map_or(None, |end| *end);
        end.unwrap_or(End { exit: UNKNOWN, oom_killed: false, written: Written::ALL })
    }
}

/// Only when the reaper is gone, which ends with the agent.
const UNKNOWN: Exit = Exit { status: 255, at: 0 };
