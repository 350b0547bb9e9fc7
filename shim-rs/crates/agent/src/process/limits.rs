// SPDX-License-Identifier: Apache-2.0
//! What a process may use: resource limits, niceness, how soon the kernel kills it when memory runs out.
//!
//! The agent itself may have more files open than it was given: it holds the pipes of every process. Its children have
//! what it was given, and what the plan says.

use std::sync::OnceLock;

use boxlite_protocol::plan::Process;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};

use crate::error::{Fault, Trying};
use crate::sys;

/// Files the agent may have open: four for each of a thousand execs, two for each connection out of the machine, and as
/// much again to spare. A guest's kernel gives 1024, and 4096 at most.
const OPEN_FILES: u64 = 16_384;

/// What the agent was given.
static GIVEN: OnceLock<Rlimit> = OnceLock::new();

/// Lets the agent have as many files open as it may need.
pub(crate) fn allow_open_files() -> Result<(), Fault> {
    let given = rustix::process::getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.map(|limit| limit.max(OPEN_FILES));
    let raised = Rlimit { current: enough(given.current), maximum: enough(given.maximum) };
    rustix::process::setrlimit(Resource::Nofile, raised).trying(|| "allow more open files".to_owned())?;
    let _ = GIVEN.set(given);
    Ok(())
}

/// Through the guest's /proc, so before the container's root is entered.
pub(crate) fn set_oom_score(process: &Process) -> Result<(), Fault> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    let write = || {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open("/proc/self/oom_score_adj", flags, Mode::empty())?;
        rustix::io::write(&file, score.to_string().as_bytes())
    };
    write().map(drop).trying(|| format!("set oom_score_adj to {score}"))
}

/// Needs the privileges the process is about to give away.
pub(crate) fn set(process: &Process) -> Result<(), Fault> {
    if let Some(given) = GIVEN.get() {
        rustix::process::setrlimit(Resource::Nofile, *given)
            .trying(|| "reset the limit of open files".to_owned())?;
    }
    for limit in &process.rlimits {
        sys::limit(limit.resource, limit.soft, limit.hard)
            .trying(|| format!("error setting rlimit type {}", limit.resource))?;
    }
    if let Some(nice) = process.nice {
        rustix::process::setpriority_process(None, nice).trying(|| format!("set nice to {nice}"))?;
    }
    Ok(())
}
