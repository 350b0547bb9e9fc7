// SPDX-License-Identifier: Apache-2.0
//! Mounts by descriptor: their attributes, copies of them, and where they are attached.
//!
//! Owns the one call without a safe wrapper, mount_setattr(2). Order of calls: [`clone_tree`], [`set_attributes`] while
//! nobody can see the copy, [`attach`].
#![allow(unsafe_code, reason = "mount_setattr has no wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

/// Refuse writes (linux/mount.h, MOUNT_ATTR_RDONLY).
pub const RDONLY: u64 = 0x1;
/// Ignore set-user-ID bits.
pub const NOSUID: u64 = 0x2;
/// Devices cannot be opened.
pub const NODEV: u64 = 0x4;
/// Programs cannot be executed.
pub const NOEXEC: u64 = 0x8;

/// What is to change of a mount: the kernel's `struct mount_attr`, version 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// MOUNT_ATTR_* to set.
    pub set: u64,
    /// MOUNT_ATTR_* to clear.
    pub clear: u64,
    /// One of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE; 0 leaves it.
    pub propagation: u64,
    /// A user namespace's descriptor, for id-mapped mounts.
    pub user_namespace: u64,
}

/// Changes the mount whose root `mount` is, and with `recursive` all below it.
///
/// # Errors
/// The kernel's; before Linux 5.12 the call is not there (ENOSYS).
pub fn set_attributes(mount: BorrowedFd<'_>, recursive: bool, attributes: Attributes) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the descriptor is open for the call, the path is an empty C string, and the structure is laid out as the
    // kernel's, of the size that is passed. The kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A copy of the mount that `path` below `at` lies on (with those below it when `recursive`), attached nowhere yet.
/// A link at the end of the path is not followed.
///
/// # Errors
/// The kernel's.
pub fn clone_tree(at: impl AsFd, path: impl rustix::path::Arg, recursive: bool) -> Result<OwnedFd, Errno> {
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
///
/// # Errors
/// The kernel's.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}
