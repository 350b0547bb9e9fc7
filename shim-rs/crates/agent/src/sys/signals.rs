// SPDX-License-Identifier: Apache-2.0
//! Signals, sent and received.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;

use super::{check, check_int};

/// Undoes what the agent did to its signals: none blocked, none ignored.
pub(crate) fn default_signals() {
    // SAFETY: an empty set and default actions are valid; the calls cannot fail for these signals.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Undoes what a shell did: one that runs a command in the background has it, and all it starts, ignore some signals.
/// SIGPIPE stays as the standard library set it.
pub(crate) fn notice_all_signals() {
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: the default action is valid for every signal; those that have no other refuse, and keep it.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn signal_set(signal: c_int) -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        set
    }
}

/// Blocks SIGCHLD and gives a descriptor that is readable while one is pending.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    let set = signal_set(libc::SIGCHLD);
    // SAFETY: the set is valid; the descriptor is new.
    unsafe {
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = check_int(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// fcntl(2): who is sent SIGIO, a `struct f_owner_ex` of a kind and an id (asm-generic/fcntl.h).
const F_SETOWN_EX: c_int = 15;
const F_OWNER_TID: c_int = 0;

/// While it is held, something that happens on the descriptor sends this thread SIGIO, blocked for [`wait_for_io`].
#[derive(Debug)]
pub(crate) struct IoSignals<'a>(BorrowedFd<'a>);

impl<'a> IoSignals<'a> {
    pub(crate) fn request(fd: BorrowedFd<'a>) -> io::Result<Self> {
        let set = signal_set(libc::SIGIO);
        // SAFETY: plain calls on a descriptor the caller holds.
        unsafe {
            check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
            let thread = [F_OWNER_TID, libc::gettid()];
            check(libc::fcntl(fd.as_raw_fd(), F_SETOWN_EX, thread.as_ptr()).into())?;
            let flags = check_int(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
            check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_ASYNC).into())?;
        }
        Ok(Self(fd))
    }
}

impl Drop for IoSignals<'_> {
    fn drop(&mut self) {
        // SAFETY: as above; a signal more would stay blocked, and hurts nobody.
        unsafe {
            let flags = libc::fcntl(self.0.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(self.0.as_raw_fd(), libc::F_SETFL, flags & !libc::O_ASYNC);
        }
    }
}

/// Sleeps until a SIGIO is pending and takes it.
pub(crate) fn wait_for_io() {
    let set = signal_set(libc::SIGIO);
    // SAFETY: the set is valid; an interruption only means to look again.
    unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
}

/// kill(2).
pub(crate) fn kill(pid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}
