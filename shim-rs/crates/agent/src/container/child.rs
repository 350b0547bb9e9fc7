// SPDX-License-Identifier: Apache-2.0
//! The life of a container's first process before it is the program, as a numbered story.
//!
//! Runs in the child of clone3, in the order of the plan's fields. The first step that fails is reported and ends it.

use std::path::Path;

use boxlite_protocol::plan::LaunchPlan;

use super::{masks, mounts, nodes, rootfs};
use crate::error::{Fault, Trying};
use crate::process::{self, Birth, terminal};
use crate::root::{Leaf, Root};
use crate::{sys, tree};

/// What the first process's child is given.
#[derive(Debug)]
pub(crate) struct ContainerBirth<'a> {
    pub(crate) plan: &'a LaunchPlan,
    pub(crate) share: &'a Path,
    /// Where the sockets listened at for it are.
    pub(crate) relays: &'a Path,
    /// The network is shared with others who own its settings.
    pub(crate) keep_network: bool,
    pub(crate) process: Birth<'a>,
}

/// Does everything and becomes the program; comes back only with an exit status.
pub(crate) fn live(mut birth: ContainerBirth<'_>) -> i32 {
    sys::default_signals();
    let result = make(&birth).and_then(|terminal| process::become_program(&mut birth.process, terminal));
    if let Err(fault) = result {
        birth.process.reporter.fault(&fault);
    }
    1
}

fn make(birth: &ContainerBirth<'_>) -> Result<Option<terminal::Pair>, Fault> {
    let plan = birth.plan;
    // 1. Out of the agent's session; into namespaces clone3 could not make.
    rustix::process::setsid().trying(|| "setsid".to_owned())?;
    if plan.namespaces & libc::CLONE_NEWCGROUP as u64 != 0 {
        sys::unshare_cgroup().trying(|| "unshare cgroup namespace".to_owned())?;
    }
    process::before_root(&birth.process)?;
    // 2. Names.
    if !plan.hostname.is_empty() {
        rustix::system::sethostname(plan.hostname.as_bytes()).trying(|| "sethostname".to_owned())?;
    }
    if !plan.domainname.is_empty() {
        rustix::system::setdomainname(plan.domainname.as_bytes()).trying(|| "setdomainname".to_owned())?;
    }
    // 3. The root file system and what is mounted and made in it. Modes are exactly the plan's.
    rustix::process::umask(rustix::fs::Mode::empty());
    let root = rootfs::take(&birth.share.join(&plan.rootfs))?;
    let mut to_seal = Vec::new();
    for mount in &plan.mounts {
        to_seal.extend(mounts::perform(&root, mount, birth.share, birth.relays)?);
    }
    for node in &plan.nodes {
        nodes::make(&root, node)?;
    }
    for link in &plan.symlinks {
        nodes::link(&root, link)?;
    }
    let terminal = open_terminal(&root, birth)?;
    let cwd = birth.process.process.cwd.as_str();
    if !cwd.is_empty() {
        root.ensure(cwd, Leaf::Directory).map_err(|fault| Fault::program(fault.message))?;
    }
    // 4. The kernel's settings, while they can be written; then what the container may not see or change.
    for sysctl in &plan.sysctls {
        masks::sysctl(sysctl, birth.keep_network)?;
    }
    masks::hide(&root, &plan.masked_paths)?;
    masks::protect(&root, &plan.readonly_paths)?;
    to_seal.iter().try_for_each(tree::seal)?;
    if plan.rootfs_readonly {
        tree::seal(root.fd())?;
    }
    // 5. In.
    rootfs::enter(&root, plan.rootfs_propagation)?;
    Ok(terminal)
}

fn open_terminal(root: &Root, birth: &ContainerBirth<'_>) -> Result<Option<terminal::Pair>, Fault> {
    if !birth.process.process.terminal {
        return Ok(None);
    }
    let pair = terminal::open(root, birth.process.process)?;
    terminal::cover_console(root, &pair)?;
    Ok(Some(pair))
}
