// SPDX-License-Identifier: Apache-2.0
//! The container's root file system: taken from the share, made the root of its mount namespace.
//!
//! Order: [`take`], then everything that is mounted or made below it, then [`enter`].

use std::path::Path;

use boxlite_linux::mount::{attach, clone_tree};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use crate::error::{Fault, Trying};
use crate::root::Root;

/// Puts a copy of the mount `path` lies on over `path`, in this namespace only: a root must be a mount.
pub(crate) fn take(path: &Path) -> Result<Root, Fault> {
    let what = || "bind the root file system".to_owned();
    // What this namespace mounts must not reach the agent's.
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .trying(what)?;
    let tree = clone_tree(CWD, path, true).trying(what)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let below = rustix::fs::open(path, flags, Mode::empty()).trying(what)?;
    attach(&tree, &below).trying(what)?;
    Ok(Root::new(tree))
}

/// Makes `root` the root of this namespace and lets go of everything else in it.
/// `propagation` are MS_* flags, 0 for private.
pub(crate) fn enter(root: &Root, propagation: u64) -> Result<(), Fault> {
    let what = || "pivot_root".to_owned();
    rustix::process::fchdir(root.fd()).trying(what)?;
    // The old root ends up above the new one, at the same place, and is taken off it.
    rustix::process::pivot_root(".", ".").trying(what)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).trying(what)?;
    rustix::process::chdir("/").trying(what)?;
    let propagation = match u32::try_from(propagation) {
        Ok(0) | Err(_) => MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        Ok(flags) => MountPropagationFlags::from_bits_retain(flags),
    };
    rustix::mount::mount_change("/", propagation).trying(|| "set propagation of /".to_owned())
}
