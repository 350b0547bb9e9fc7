// SPDX-License-Identifier: Apache-2.0
//! `process`: the container's first process, and each further one an exec starts. What an exec does not say for itself
//! it has from the container, as under runc; if it names resource limits, the others are not the container's, but
//! those any process inherits.
//!
//! Streams (`stdin`, `stdout`, `stderr`) are not in the spec: whoever opens them sets the fields.

use boxlite_protocol::plan;
use oci_spec::runtime::{LinuxSchedulerPolicy, Process};

use super::refusal::Refusal;
use super::{capabilities, rlimits, spec};

/// File mode creation mask when the spec names none, as runc has it.
const UMASK: u32 = 0o022;

/// Fields of the container's process that an exec inherits.
#[derive(Debug, Clone, Default)]
pub struct Basis {
    container: plan::Process,
    /// Resource limits of a process that names none.
    limits: Vec<plan::Rlimit>,
}

impl Basis {
    pub(super) fn of(launch: &plan::LaunchPlan, limits: &[plan::Rlimit]) -> Self {
        Self { container: launch.process.clone().unwrap_or_default(), limits: limits.to_vec() }
    }
}

/// Plans the process of an exec in a container.
///
/// # Errors
/// [`Refusal::Invalid`] when it has no arguments, a relative working directory or contradicting limits.
pub fn compile_process(process: &Process, basis: &Basis) -> Result<plan::Process, Refusal> {
    let Basis { container, limits } = basis;
    let mut planned = compile(process, limits, &mut Vec::new())?;
    if process.capabilities().is_none() {
        planned.cap_bounding = container.cap_bounding;
        planned.cap_effective = container.cap_effective;
        planned.cap_permitted = container.cap_permitted;
        planned.cap_inheritable = container.cap_inheritable;
        planned.cap_ambient = container.cap_ambient;
    }
    if process.no_new_privileges().is_none() {
        planned.no_new_privileges = container.no_new_privileges;
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        planned.rlimits.clone_from(&container.rlimits);
    }
    if process.user().umask().is_none() {
        planned.umask = container.umask;
    }
    planned.oom_score_adj = planned.oom_score_adj.or(container.oom_score_adj);
    planned.nice = planned.nice.or(container.nice);
    planned.seccomp.clone_from(&container.seccomp);
    planned.seccomp_flags = container.seccomp_flags;
    Ok(planned)
}

/// Everything of a process but its seccomp filter, which is the container's. `limits`: resource limits it inherits.
pub(super) fn compile(
    process: &Process,
    limits: &[plan::Rlimit],
    warnings: &mut Vec<String>,
) -> Result<plan::Process, Refusal> {
    let args = process.args().clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(Refusal::invalid("process.args", "must not be empty"));
    }
    let env = process.env().clone().unwrap_or_default();
    for text in args.iter().chain(&env) {
        spec::check_text("process", text)?;
    }
    if !process.cwd().is_absolute() {
        return Err(Refusal::invalid("process.cwd", "must be an absolute path"));
    }
    warn_of_ignored(process, warnings);
    let user = process.user();
    let terminal = process.terminal().unwrap_or(false);
    let (rows, columns) = size(process, terminal);
    let masks = process.capabilities().as_ref().map(capabilities::masks).unwrap_or_default();
    Ok(plan::Process {
        home_from_passwd: !env.iter().any(|pair| pair.starts_with("HOME=") && pair.len() > 5),
        args,
        env,
        cwd: spec::inside("process.cwd", process.cwd())?,
        terminal,
        rows,
        columns,
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: Some(user.umask().unwrap_or(UMASK) & 0o777),
        cap_bounding: masks.bounding,
        cap_effective: masks.effective,
        cap_permitted: masks.permitted,
        cap_inheritable: masks.inheritable,
        cap_ambient: masks.ambient,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits::compile(process.rlimits().as_ref(), limits)?,
        oom_score_adj: oom_score_adj(process)?,
        nice: nice(process),
        ..plan::Process::default()
    })
}

fn size(process: &Process, terminal: bool) -> (u32, u32) {
    match process.console_size() {
        // The kernel keeps 16 bits of each.
        Some(size) if terminal => {
            let clamp = |cells: u64| u32::from(u16::try_from(cells).unwrap_or(u16::MAX));
            (clamp(size.height()), clamp(size.width()))
        }
        _ => (0, 0),
    }
}

fn oom_score_adj(process: &Process) -> Result<Option<i32>, Refusal> {
    match process.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Refusal::invalid("process.oomScoreAdj", "must be between -1000 and 1000"))
        }
        score => Ok(score),
    }
}

fn nice(process: &Process) -> Option<i32> {
    let scheduler = process.scheduler().as_ref()?;
    let ordinary = matches!(scheduler.policy(), LinuxSchedulerPolicy::SchedOther);
    scheduler.nice().filter(|_| ordinary).map(|nice| nice.clamp(-20, 19))
}

fn warn_of_ignored(process: &Process, warnings: &mut Vec<String>) {
    let scheduler = process.scheduler().as_ref();
    if scheduler.is_some_and(|scheduler| !matches!(scheduler.policy(), LinuxSchedulerPolicy::SchedOther)) {
        warnings.push("process.scheduler: only the policy SCHED_OTHER is applied".into());
    }
    if process.io_priority().is_some() {
        warnings.push("process.ioPriority is not applied: the host schedules the machine's I/O".into());
    }
    if process.exec_cpu_affinity().is_some() {
        warnings.push("process.execCPUAffinity is not applied: CPU numbers are the host's".into());
    }
}

#[cfg(test)]
#[path = "process/tests.rs"]
mod tests;
