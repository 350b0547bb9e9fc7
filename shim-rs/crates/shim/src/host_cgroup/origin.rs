// SPDX-License-Identifier: Apache-2.0
//! Where this process was started: as a rule the engine's cgroup. It goes back there when its container is over, and what
//! it starts and does not wait for belongs there.
//!
//! Order of calls: [`remember_origin`] before the first move; then [`leave`], and [`start_outside`] for a program that is
//! to be born outside of the container's cgroup.
#![allow(unsafe_code, reason = "only a child can move itself before it executes anything")]

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::directory::Directory;
use super::{CgroupError, CgroupHost};

const OWN: &str = "/proc/self/cgroup";

/// What [`OWN`] said.
static ORIGIN: OnceLock<String> = OnceLock::new();

/// Remembers the cgroup this process is in. The first call counts.
pub fn remember_origin() -> Result<(), CgroupError> {
    let places = own_places()?;
    ORIGIN.get_or_init(|| places);
    Ok(())
}

fn own_places() -> Result<String, CgroupError> {
    fs::read_to_string(OWN).map_err(|source| CgroupError::Host { path: OWN.into(), source })
}

/// One hierarchy's ways out of the container's cgroup, the best first: where this process was started, and the cgroup of
/// process 1, which takes processes on every host and does not go away.
type Ways = Vec<Directory>;

fn ways() -> Result<Vec<Ways>, CgroupError> {
    let last = CgroupHost::of_process(1)?.directories(Path::to_owned);
    let first = match ORIGIN.get() {
        Some(places) => CgroupHost::of_places(places)?.directories(Path::to_owned),
        None => Vec::new(),
    };
    let ways = |last: Directory| {
        let first = first.iter().filter(|first| first.mount == last.mount && **first != last);
        first.cloned().chain([last.clone()]).collect()
    };
    Ok(last.into_iter().map(ways).collect())
}

/// Moves a process to where this one was started. Where that is gone, to the cgroup of process 1.
pub(super) fn leave(pid: u32) -> Result<(), CgroupError> {
    for ways in ways()? {
        let mut taken = Ok(());
        for way in &ways {
            taken = way.take(pid);
            match &taken {
                Ok(()) => break,
                Err(error) => tracing::debug!(pid, %error, "a cgroup does not take the process"),
            }
        }
        taken?;
    }
    Ok(())
}

/// Has a program be born where this process was started, whatever cgroup that is in now; so nothing it forks is left in
/// the container's. Call it before descriptors are mapped into the command, which may take the numbers of those in use here.
pub fn start_outside(command: &mut Command) -> Result<(), CgroupError> {
    // A process that was not moved need not be moved back.
    if ORIGIN.get().is_some_and(|origin| own_places().is_ok_and(|own| own == *origin)) {
        return Ok(());
    }
    let mut doors = Vec::new();
    for ways in ways()? {
        let mut opened: Vec<_> = ways.iter().map(Directory::open).collect();
        // The best ones may be gone, the last may not.
        if opened.iter().all(Result::is_err)
            && let Some(error) = opened.pop().and_then(Result::err)
        {
            return Err(error);
        }
        doors.push(opened.into_iter().flatten().collect::<Vec<File>>());
    }
    let walk = move || doors.iter().try_for_each(|doors| walk_out(doors));
    // SAFETY: between fork and exec only what is async-signal-safe may be called. This writes to descriptors that are
    // open, and allocates nothing: an error is a number.
    unsafe { command.pre_exec(walk) };
    Ok(())
}

/// Moves the calling process by the first of these `cgroup.procs` that takes it.
fn walk_out(doors: &[File]) -> io::Result<()> {
    let mut taken = Ok(());
    for door in doors {
        // 0 is whoever writes.
        taken = rustix::io::write(door, b"0").map(drop);
        if taken.is_ok() {
            break;
        }
    }
    Ok(taken?)
}
