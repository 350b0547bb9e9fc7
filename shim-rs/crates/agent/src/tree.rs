// SPDX-License-Identifier: Apache-2.0
//! Mounts by descriptor: copied, made read-only, attached. Which and where is the callers' affair.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::error::{Fault, Trying};
use crate::sys::{self, MountAttributes};

pub(crate) const MOUNT_ATTR_RDONLY: u64 = 0x1;

/// Makes one mount read-only, and none below it.
pub(crate) fn seal(mount: &OwnedFd) -> Result<(), Fault> {
    let attributes = MountAttributes { set: MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    sys::set_mount_attributes(mount.as_fd(), false, attributes).trying(|| "remount read-only".to_owned())
}

/// A copy of the mount `path` lies on (with those below it when `recursive`), attached nowhere yet.
pub(crate) fn clone_tree(at: impl AsFd, path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(at, path, flags)
}

/// Attaches a copied mount onto what `target` is.
pub(crate) fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

pub(crate) fn is_directory(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}
