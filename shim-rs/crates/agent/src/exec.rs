// SPDX-License-Identifier: Apache-2.0
//! A further process in a running container.
//!
//! Owns the way in: the child is born in the container's pid namespace and cgroup and joins the other namespaces
//! itself. From there on it goes the same way as a first process. A container that has divided its cgroup (systemd, an
//! engine) may hold no process in it: there the child is born where the first process is, as runc does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;
use rustix::thread::ThreadNameSpaceType;

use crate::cgroup::Cgroup;
use crate::error::{Fault, Trying};
use crate::process::{self, Birth, terminal};
use crate::root::Root;
use crate::sys;

/// What the child is given.
#[derive(Debug)]
pub(crate) struct ExecBirth<'a> {
    /// The container's first process: its pidfd, and its pid in the agent's namespace.
    pub(crate) init: BorrowedFd<'a>,
    pub(crate) init_pid: i32,
    /// CLONE_NEW* flags of the container.
    pub(crate) namespaces: u64,
    pub(crate) process: Birth<'a>,
}

/// Starts the child. Its pid and pidfd.
pub(crate) fn start_child(
    mut birth: ExecBirth<'_>,
    own_pids: &OwnedFd,
    cgroup: Option<&Cgroup>,
) -> Result<(i32, OwnedFd), Fault> {
    let what = || "join the container".to_owned();
    if birth.namespaces & libc::CLONE_NEWPID as u64 == 0 {
        return spawn(&mut birth, cgroup);
    }
    // Where the agent's next child is born, and back: the agent itself stays where it is.
    let pids = ThreadNameSpaceType::PROCESS_ID;
    rustix::thread::move_into_thread_name_spaces(birth.init, pids).trying(what)?;
    let born = spawn(&mut birth, cgroup);
    rustix::thread::move_into_link_name_space(own_pids.as_fd(), None).trying(what)?;
    born
}

fn spawn(birth: &mut ExecBirth<'_>, cgroup: Option<&Cgroup>) -> Result<(i32, OwnedFd), Fault> {
    let what = || "join the container".to_owned();
    let init = birth.init_pid;
    let mut spawn = |directory: Option<BorrowedFd<'_>>| sys::spawn(0, directory, || live(birth));
    let born = spawn(cgroup.map(|cgroup| cgroup.directory().as_fd()));
    match (born, cgroup) {
        (Err(error), Some(cgroup)) if holds_none(&error) => {
            let place = cgroup.place_of(init)?;
            spawn(Some(place.as_fd())).trying(what)
        }
        (born, _) => born.trying(what),
    }
}

/// The cgroup takes no processes: it hands controllers on, or is part of one that takes threads alone.
fn holds_none(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EOPNOTSUPP))
}

fn live(birth: &mut ExecBirth<'_>) -> i32 {
    sys::default_signals();
    let result = join(birth).and_then(|terminal| process::become_program(&mut birth.process, terminal));
    if let Err(fault) = result {
        birth.process.reporter.fault(&fault);
    }
    1
}

fn join(birth: &ExecBirth<'_>) -> Result<Option<terminal::Pair>, Fault> {
    // Until exec, this is the agent's memory and program: the container's processes may not look into it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .trying(|| "hide from the container".to_owned())?;
    rustix::process::setsid().trying(|| "setsid".to_owned())?;
    process::before_root(&birth.process)?;
    let joinable = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::CONTROL_GROUP;
    let own = u32::try_from(birth.namespaces).unwrap_or(0);
    let namespaces = joinable & ThreadNameSpaceType::from_bits_retain(own);
    rustix::thread::move_into_thread_name_spaces(birth.init, namespaces)
        .trying(|| "join the container's namespaces".to_owned())?;
    if !birth.process.process.terminal {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).trying(|| "open /".to_owned())?;
    Ok(Some(terminal::open(&Root::new(root), birth.process.process)?))
}
