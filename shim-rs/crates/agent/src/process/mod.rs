// SPDX-License-Identifier: Apache-2.0
//! The last part of a child's way, the same for a container's first process and for an exec.
//!
//! Owns the order in which a child becomes the program. It is inside its namespaces and its root already. Order:
//! [`before_root`] while the guest's /proc is still at hand, then [`become_program`], which does not return.
//! In between the child tells the agent that all is made, and waits for its release.

pub(crate) mod home;
pub(crate) mod identity;
pub(crate) mod limits;
pub(crate) mod program;
pub(crate) mod report;
pub(crate) mod terminal;

use std::os::fd::{AsFd, OwnedFd};

use boxlite_protocol::plan::Process;
use rustix::fs::{Mode, Uid};
use rustix::process::Signal;

use crate::error::{Fault, Trying};
use crate::sys;
use report::Reporter;

/// How a program that could not be executed after all is seen to end: as runc 1.1 has it.
const EXECUTE_FAILED: i32 = 1;

/// The ends of its streams a child keeps: descriptors for 0, 1 and 2.
#[derive(Debug)]
pub(crate) enum ChildStdio {
    /// Each its own.
    Separate { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    /// A terminal, which the child opens in the container.
    Terminal,
}

/// What a child needs to become its program.
#[derive(Debug)]
pub(crate) struct Birth<'a> {
    pub(crate) process: &'a Process,
    pub(crate) stdio: ChildStdio,
    pub(crate) reporter: Reporter,
    /// Readable once the agent lets the program start; at its end when there is no agent any more.
    pub(crate) release: OwnedFd,
    /// End with the agent: there is no machine that would end with it.
    pub(crate) follow_agent: bool,
}

/// What must be done while the guest's own /proc can be reached.
pub(crate) fn before_root(birth: &Birth<'_>) -> Result<(), Fault> {
    if birth.follow_agent {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .trying(|| "follow the agent".to_owned())?;
    }
    limits::set_oom_score(birth.process)
}

/// Goes the rest of the way. `terminal` is the container's, when it has one.
pub(crate) fn become_program(birth: &mut Birth<'_>, terminal: Option<terminal::Pair>) -> Result<(), Fault> {
    let process = birth.process;
    let home = process.home_from_passwd.then(|| home::of(process.uid));
    let master = connect(&birth.stdio, terminal, process)?;
    limits::set(process)?;
    let first = 3;
    sys::close_on_exec_from(first).trying(|| "close_range".to_owned())?;
    rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).trying(|| "set no_new_privs".to_owned())?;
    } else {
        // Without no_new_privs a filter needs CAP_SYS_ADMIN, which goes next.
        filter(process)?;
    }
    let entered = program::enter_directory(&process.cwd);
    identity::take(process)?;
    if entered.is_err() {
        // Root may be squashed where the user is not.
        program::enter_directory(&process.cwd)?;
    }
    program::directory_is_inside()?;
    let program = program::resolve(process, home.as_deref())?;
    if birth.follow_agent {
        // Taking another identity has cleared it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .trying(|| "follow the agent".to_owned())?;
    }
    birth.reporter.ready(master.as_ref());
    let mut released = [0; 1];
    if rustix::io::read(&birth.release, &mut released) != Ok(1) {
        sys::exit(1);
    }
    if process.no_new_privileges {
        filter(process)?;
    }
    let error = sys::execute(&program.path, &program.arguments, &program.environment);
    // The container has started as far as an engine is concerned: its program's output says why it ended.
    program.complain(&error);
    sys::exit(EXECUTE_FAILED);
}

fn filter(process: &Process) -> Result<(), Fault> {
    if process.seccomp.is_empty() {
        return Ok(());
    }
    sys::filter_system_calls(&process.seccomp, process.seccomp_flags)
        .trying(|| "install seccomp filter".to_owned())
}

/// Puts the streams at 0, 1 and 2, the user's own, and makes a terminal the controlling one.
fn connect(
    stdio: &ChildStdio,
    terminal: Option<terminal::Pair>,
    process: &Process,
) -> Result<Option<OwnedFd>, Fault> {
    let what = || "connect standard streams".to_owned();
    let owner = Some(Uid::from_raw(process.uid));
    let place = |stdin: &OwnedFd, stdout: &OwnedFd, stderr: &OwnedFd| -> Result<(), Fault> {
        rustix::stdio::dup2_stdin(stdin).trying(what)?;
        rustix::stdio::dup2_stdout(stdout).trying(what)?;
        rustix::stdio::dup2_stderr(stderr).trying(what)
    };
    match (stdio, terminal) {
        (ChildStdio::Separate { stdin, stdout, stderr }, _) => {
            if process.uid != 0 {
                // So that the user can open /dev/stdout again. Not /dev/null, which is everybody's.
                let named = [(process.stdin, stdin), (process.stdout, stdout), (process.stderr, stderr)];
                for (_, fd) in named.iter().filter(|(is_stream, _)| *is_stream) {
                    rustix::fs::fchown(fd.as_fd(), owner, None).trying(what)?;
                }
            }
            place(stdin, stdout, stderr)?;
            Ok(None)
        }
        (ChildStdio::Terminal, Some(pair)) => {
            rustix::fs::fchown(&pair.slave, owner, None).trying(what)?;
            place(&pair.slave, &pair.slave, &pair.slave)?;
            rustix::process::ioctl_tiocsctty(&pair.slave).trying(|| "set controlling terminal".to_owned())?;
            Ok(Some(pair.master))
        }
        (ChildStdio::Terminal, None) => Err(Fault::refused("no terminal was made".to_owned())),
    }
}
