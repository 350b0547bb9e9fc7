// SPDX-License-Identifier: Apache-2.0
//! The double as a process: what this program is when [`REQUEST`] is in its environment.
//!
//! No runtime, no thread, no file: it takes its working directory as its root, gives up everything, says that it is
//! ready, and from then on passes on the numbers of the signals it gets. It ends when the shim closes the socket.
//!
//! ```text
//!  working directory -> root (pivot_root) | all signals blocked, read as numbers | uid and gid of the container's first
//!  process | no capability, no_new_privs | seccomp: poll, read, write, exit, and nothing else | READY
//! ```
//! Born as the first process of its pid namespace: it has no children to reap, and a signal without a handler would be
//! dropped if it were not blocked.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::thread::{Gid, Uid};

use super::confine;

/// In the environment, with [`request`]'s text: be a double.
pub(crate) const REQUEST: &str = "BOXLITE_DOUBLE";
/// The number of the socket to the shim.
pub(super) const SOCKET: i32 = 3;
/// The first byte that is said. No signal has this number.
pub(super) const READY: u8 = 0;
/// Of a process's name, as the kernel keeps it.
const NAME: usize = 15;
/// Not a code of containers': of a double that could not be made.
const FAILED: u8 = 1;

/// What goes into the environment: whose ids the double has.
pub(super) fn request(uid: u32, gid: u32) -> String {
    format!("{uid}:{gid}")
}

/// The ids in a request.
fn ids(request: &OsStr) -> Option<(u32, u32)> {
    let (uid, gid) = request.to_str()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Runs as a double, if this process was started as one.
pub(crate) fn requested() -> Option<ExitCode> {
    let request = std::env::var_os(REQUEST)?;
    Some(match stand_in(&request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    })
}

fn stand_in(request: &OsStr) -> io::Result<()> {
    let (uid, gid) = ids(request).ok_or_else(|| io::Error::other("not a double's request"))?;
    confine::close_from(SOCKET + 1)?;
    let socket = inherited();
    name_itself()?;
    let failed = |what: &'static str| move |error: Errno| io::Error::other(format!("{what}: {error}"));
    take_root().map_err(failed("cannot take the container's root"))?;
    let signals = confine::all_signals()?;
    confine::drop_ids(Uid::from_raw(uid), Gid::from_raw(gid)).map_err(failed("cannot drop ids"))?;
    confine::allow_little()?;
    say(&socket, READY)?;
    relay(&signals, &socket)
}

#[allow(unsafe_code)]
fn inherited() -> OwnedFd {
    // SAFETY: the shim put the socket there, and nothing in this process has opened or closed it since.
    unsafe { OwnedFd::from_raw_fd(SOCKET) }
}

fn say(socket: &OwnedFd, byte: u8) -> Result<(), Errno> {
    // By write(2), which the filter allows.
    rustix::io::write(socket, &[byte]).map(drop)
}

/// Is called as the container's first process is.
fn name_itself() -> io::Result<()> {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or(&program).as_bytes();
    let name = CString::new(&name[..name.len().min(NAME)])?;
    Ok(rustix::thread::set_name(&name)?)
}

/// In mounts of its own, for the thread that started it still needs the host's. The new root lies over the old one for a
/// moment, which is then taken away with all that was mounted on it.
fn take_root() -> Result<(), Errno> {
    confine::own_mounts()?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

/// Passes on the number of each signal until the shim is gone.
fn relay(signals: &OwnedFd, socket: &OwnedFd) -> io::Result<()> {
    loop {
        let mut events = [PollFd::new(signals, PollFlags::IN), PollFd::new(socket, PollFlags::empty())];
        match poll(&mut events, None) {
            Ok(_) => {}
            // Stopped and continued by somebody.
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !events[1].revents().is_empty() {
            return Ok(());
        }
        if events[0].revents().contains(PollFlags::IN) {
            say(socket, confine::next_signal(signals)?)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        assert_eq!(ids(OsStr::new(&request(1000, u32::MAX))), Some((1000, u32::MAX)));
        for nonsense in ["", "1000", "a:b", "1:2:3", "-1:0"] {
            assert_eq!(ids(OsStr::new(nonsense)), None, "{nonsense}");
        }
    }

    #[test]
    fn this_process_was_not_asked_to_be_a_double() {
        assert!(requested().is_none());
    }
}
