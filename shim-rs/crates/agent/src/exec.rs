// SPDX-License-Identifier: Apache-2.0
//! A further process in a running container.
//!
//! Owns the way in: the child is born in the container's pid namespace and cgroup and joins the other namespaces
//! itself. From there on it goes the same way as a first process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;
use rustix::thread::ThreadNameSpaceType;

use crate::cgroup::Cgroup;
use crate::container::root::Root;
use crate::error::{Fault, Trying};
use crate::process::{self, Birth, terminal};
use crate::sys;

/// What the child is given.
#[derive(Debug)]
pub(crate) struct ExecBirth<'a> {
    /// The container's first process.
    pub(crate) init: BorrowedFd<'a>,
    /// CLONE_NEW* flags of the container.
    pub(crate) namespaces: u64,
    pub(crate) process: Birth<'a>,
}

/// Starts the child. Its pid and pidfd.
pub(crate) fn start_child(
    birth: ExecBirth<'_>,
    own_pids: &OwnedFd,
    cgroup: Option<&Cgroup>,
) -> io::Result<(i32, OwnedFd)> {
    let directory = cgroup.map(|cgroup| cgroup.directory().as_fd());
    if birth.namespaces & libc::CLONE_NEWPID as u64 == 0 {
        return sys::spawn(0, directory, move || live(birth));
    }
    // Where the agent's next child is born, and back: the agent itself stays where it is.
    let pids = ThreadNameSpaceType::PROCESS_ID;
    rustix::thread::move_into_thread_name_spaces(birth.init, pids)?;
    let born = sys::spawn(0, directory, move || live(birth));
    rustix::thread::move_into_link_name_space(own_pids.as_fd(), None)?;
    born
}

fn live(mut birth: ExecBirth<'_>) -> i32 {
    sys::default_signals();
    let result = join(&birth).and_then(|terminal| process::become_program(&mut birth.process, terminal));
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
