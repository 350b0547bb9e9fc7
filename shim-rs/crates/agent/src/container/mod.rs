// SPDX-License-Identifier: Apache-2.0
//! One container: building it from a launch plan, and what is known of it while it lives.
//!
//! Owns the files that each do one part of the plan ([`rootfs`], [`mounts`], [`nodes`], [`masks`]) and the child that
//! walks through them ([`child`]). Its processes are [`crate::running`]'s.

pub(crate) mod child;
pub(crate) mod copy_up;
pub(crate) mod masks;
pub(crate) mod mounts;
pub(crate) mod nodes;
pub(crate) mod rootfs;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boxlite_protocol::plan::LaunchPlan;

use crate::cgroup::Cgroup;
use crate::error::AgentError;
use crate::relay::Listening;
use crate::running::Running;

/// Namespaces every container has: without a mount namespace its root would become the agent's.
const REQUIRED: u64 = libc::CLONE_NEWNS as u64;
/// The host never asks for these: the machine's network is the container's, and there is one user namespace.
const FORBIDDEN: u64 = (libc::CLONE_NEWNET | libc::CLONE_NEWUSER) as u64 | 0x80; // CLONE_NEWTIME

/// A container that has been built.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// CLONE_NEW* flags.
    pub(crate) namespaces: u64,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) init: Arc<Running>,
    execs: Mutex<BTreeMap<String, Arc<Running>>>,
    frozen: AtomicBool,
    /// The host's sockets it may reach; gone with it.
    _listening: Listening,
}

impl Container {
    pub(crate) fn new(
        plan: &LaunchPlan,
        cgroup: Option<Cgroup>,
        init: Arc<Running>,
        listening: Listening,
    ) -> Self {
        Self {
            id: plan.container_id.clone(),
            namespaces: plan.namespaces,
            cgroup,
            init,
            execs: Mutex::default(),
            frozen: AtomicBool::new(false),
            _listening: listening,
        }
    }

    pub(crate) fn execs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Running>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its first process for an empty name, else the exec of that name.
    pub(crate) fn process(&self, exec: &str) -> Result<Arc<Running>, AgentError> {
        if exec.is_empty() {
            return Ok(Arc::clone(&self.init));
        }
        let unknown = || AgentError::UnknownProcess { container: self.id.clone(), exec: exec.to_owned() };
        self.execs().get(exec).cloned().ok_or_else(unknown)
    }

    pub(crate) fn frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Pids of its processes, in the agent's namespace.
    pub(crate) fn members(&self) -> Vec<i32> {
        if let Some(cgroup) = &self.cgroup {
            return cgroup.members();
        }
        crate::processes::sharing_namespace(self.init.pid)
    }

    /// Whether its first process takes all others with it when it ends.
    pub(crate) fn has_pid_namespace(&self) -> bool {
        self.namespaces & libc::CLONE_NEWPID as u64 != 0
    }
}

/// Refuses a plan that could reach outside of what is the container's.
pub(crate) fn check(plan: &LaunchPlan) -> Result<(), AgentError> {
    let one_name = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    if !one_name(&plan.container_id) {
        return Err(AgentError::Plan("container id is not a file name"));
    }
    if plan.rootfs.is_empty() || plan.rootfs.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(AgentError::Plan("rootfs is not a path below the share"));
    }
    if plan.namespaces & REQUIRED != REQUIRED || plan.namespaces & FORBIDDEN != 0 {
        return Err(AgentError::Plan("namespaces"));
    }
    if plan.process.is_none() {
        return Err(AgentError::Plan("no process"));
    }
    Ok(())
}

/// Starts the first process's child in its namespaces and cgroup. Its pid and pidfd.
pub(crate) fn start_child(
    birth: child::ContainerBirth<'_>,
    cgroup: Option<&Cgroup>,
) -> std::io::Result<(i32, std::os::fd::OwnedFd)> {
    // The kernel roots a new cgroup namespace where the parent is: the child makes its own, once in its cgroup.
    let flags = birth.plan.namespaces & !(libc::CLONE_NEWCGROUP as u64);
    let directory = cgroup.map(|cgroup| cgroup.directory().as_fd());
    crate::sys::spawn(flags, directory, move || child::live(birth))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> LaunchPlan {
        LaunchPlan {
            container_id: "c".into(),
            rootfs: "c/rootfs".into(),
            namespaces: REQUIRED,
            process: Some(boxlite_protocol::plan::Process::default()).into(),
            ..LaunchPlan::default()
        }
    }

    #[test]
    fn plain_plan_passes() {
        assert!(check(&plan()).is_ok());
    }

    #[test]
    fn plan_that_reaches_out_is_refused() {
        let refused = |change: fn(&mut LaunchPlan)| {
            let mut plan = plan();
            change(&mut plan);
            assert!(matches!(check(&plan), Err(AgentError::Plan(_))), "{plan:?}");
        };
        refused(|plan| plan.container_id = "../c".into());
        refused(|plan| plan.container_id = String::new());
        refused(|plan| plan.rootfs = "c/../../etc".into());
        refused(|plan| plan.rootfs = "/etc".into());
        refused(|plan| plan.rootfs = String::new());
        refused(|plan| plan.namespaces = 0);
        refused(|plan| plan.namespaces |= libc::CLONE_NEWNET as u64);
        refused(|plan| plan.namespaces |= 0x80);
        refused(|plan| plan.process = None.into());
    }
}
