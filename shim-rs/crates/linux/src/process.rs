// SPDX-License-Identifier: Apache-2.0
//! Another process: what /proc says of it, and the descriptor that names it and no later one (pidfd).
//!
//! A number alone may be another process's by the time it is used. Order of calls: [`open`], then [`stat`], which must
//! say what it said before; from then on the descriptor alone, [`signal`], [`kill`], [`ended_within`].
#![allow(unsafe_code, reason = "the wrapper of pidfd_send_signal takes no real-time signal")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What /proc/PID/stat says (proc_pid_stat(5)), as far as anybody here needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// A letter: R, S, D, T, Z, X, ...
    pub state: u8,
    /// In clock ticks since boot: with the number, it names this process and no later one.
    pub start_time: u64,
}

impl Stat {
    /// It has ended, and is there only for its parent to learn of it.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// The second field, the name in parentheses, may hold anything, so this counts from the last one.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(&text[end + 1..]).ok()?.split_whitespace();
        let &[state] = fields.next()?.as_bytes() else { return None };
        Some(Self { state, start_time: fields.nth(18)?.parse().ok()? })
    }
}

/// What is said of the process that has the number `pid` now.
///
/// # Errors
/// That of reading the file: there is none of a process that is gone.
pub fn stat(pid: u32) -> io::Result<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat"))?;
    Stat::parse(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in the process state"))
}

/// A descriptor of the process that has the number `pid` now.
///
/// # Errors
/// The kernel's: ESRCH where there is none.
pub fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    pidfd_open(pid, PidfdFlags::empty())
}

/// Sends a signal, by its number, real-time ones too.
///
/// # Errors
/// The kernel's: ESRCH where the process has ended and was reaped.
pub fn signal(process: impl AsFd, number: i32) -> io::Result<()> {
    let (fd, none) = (process.as_fd().as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is open for the call; without a siginfo the kernel reads no memory of ours.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, none, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends SIGKILL. One that has ended already needs none.
///
/// # Errors
/// The kernel's.
pub fn kill(process: impl AsFd) -> io::Result<()> {
    match signal(process, libc::SIGKILL) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// Waits until the process has ended (a zombie has), at most for as long as `limit`; whether it has.
///
/// # Errors
/// The kernel's; EINTR where a signal interrupts.
pub fn ended_within(process: impl AsFd, limit: Duration) -> Result<bool, Errno> {
    // A time that the kernel has no number for is longer than anybody waits.
    let limit = Timespec::try_from(limit).ok();
    poll(&mut [PollFd::new(&process, PollFlags::IN)], limit.as_ref()).map(|ended| ended > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, OwnedFd) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = open(Pid::from_child(&child)).unwrap();
        (child, process)
    }

    #[test]
    fn fields_are_counted_from_behind_the_name() {
        let fields = "1 1 1 0 -1 4194560 0 0 0 0 1 2 3 4 20 0 1 0 77 9 9";
        for name in [&b"sleep"[..], b"a b) Z 1 2", b") (", b"cut\xc3", b"x\ny", b""] {
            let text = [b"42 (", name, b") S ", fields.as_bytes(), b"\n"].concat();
            assert_eq!(Stat::parse(&text), Some(Stat { state: b'S', start_time: 77 }), "{name:?}");
        }
        let short = format!("42 (sleep) S {}", &fields[..40]);
        for broken in ["", "42 (sleep) S", "42 (sleep", "42 (sleep) SS 1 1", &short] {
            assert_eq!(Stat::parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn a_process_is_told_from_one_that_began_at_another_time_or_has_ended() {
        let own = stat(std::process::id()).unwrap();
        let (mut child, process) = sleeper();
        let running = stat(child.id()).unwrap();
        assert!(running.start_time >= own.start_time && own.start_time > 0);
        assert!(!running.ended());
        kill(&process).unwrap();
        assert_eq!(ended_within(&process, Duration::from_secs(20)), Ok(true));
        let zombie = stat(child.id()).unwrap();
        assert!(zombie.ended());
        assert_eq!(zombie.start_time, running.start_time);
        child.wait().unwrap();
        assert_eq!(stat(child.id()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_signal_reaches_the_process_and_an_ended_one_needs_none() {
        let (mut child, process) = sleeper();
        assert_eq!(ended_within(&process, Duration::ZERO), Ok(false));
        signal(&process, libc::SIGRTMIN()).unwrap();
        assert_eq!(ended_within(&process, Duration::MAX), Ok(true));
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGRTMIN()));
        let gone = signal(&process, libc::SIGTERM).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
        kill(&process).unwrap();
        assert_eq!(open(Pid::from_child(&child)).unwrap_err(), Errno::SRCH);
    }
}
