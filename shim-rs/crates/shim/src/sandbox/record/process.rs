// SPDX-License-Identifier: Apache-2.0
//! A process of the host that may have to be ended by another process than the one that started it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use boxlite_linux::process;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

/// How long a killed process may take to be gone; containerd gives `delete` 5 s in all.
const DEATH: Duration = Duration::from_secs(3);

/// A process of the host, by more than its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Number.
    pub pid: u32,
    /// Field 22 of /proc/PID/stat, in clock ticks since boot: tells a reused number.
    pub start_time: u64,
}

impl ProcessRecord {
    /// The process that has this number now; none when there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        start_time(pid).map(|start_time| Self { pid, start_time })
    }

    /// Whether it is still there and no zombie.
    #[must_use]
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    /// Sends SIGKILL; none when it is gone already.
    pub(super) fn kill(&self) -> std::io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let Ok(pidfd) = process::open(pid) else { return Ok(None) };
        // The number may have been given to another before the descriptor was opened; not after.
        if !self.alive() {
            return Ok(None);
        }
        process::kill(&pidfd).map(|()| Some(pidfd))
    }

    /// Kills and waits until it is gone (a zombie is).
    pub(super) fn end(&self) -> std::io::Result<()> {
        let Some(pidfd) = self.kill()? else { return Ok(()) };
        if process::ended_within(&pidfd, DEATH)? {
            return Ok(());
        }
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "still there after SIGKILL"))
    }
}

/// None for a process that is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = process::stat(pid).ok()?;
    (!stat.ended()).then_some(stat.start_time)
}
