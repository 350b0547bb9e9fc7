// SPDX-License-Identifier: Apache-2.0
//! What a process may use: resource limits, niceness, how soon the kernel kills it when memory runs out.

use boxlite_protocol::plan::Process;
use rustix::fs::{Mode, OFlags};

use crate::error::{Fault, Trying};
use crate::sys;

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
    for limit in &process.rlimits {
        sys::limit(limit.resource, limit.soft, limit.hard)
            .trying(|| format!("error setting rlimit type {}", limit.resource))?;
    }
    if let Some(nice) = process.nice {
        rustix::process::setpriority_process(None, nice).trying(|| format!("set nice to {nice}"))?;
    }
    Ok(())
}
