// SPDX-License-Identifier: Apache-2.0
//! What a thread leaves behind, and how mounts are sealed.
#![allow(unsafe_code, reason = "unshare's wrapper is unsafe for flags not used here")]

use std::io;
use std::os::fd::BorrowedFd;

use boxlite_linux::mount::{self, Attributes, NODEV, NOEXEC, NOSUID, RDONLY};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// What is to change of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Private and without devices; read-only too where asked.
    Seal {
        /// Refuse writes.
        readonly: bool,
        /// Also everything mounted below.
        recursive: bool,
    },
    /// Private, without devices, and nothing on it can be executed; with everything mounted below.
    Lookable,
    /// Refuse writes, on this mount alone.
    ReadOnly,
    /// Take writes, on this mount alone.
    Writable,
}

/// Changes the mount whose root `mount` is.
pub(super) fn change_mount(mount: BorrowedFd<'_>, change: Change) -> io::Result<()> {
    let (set, clear, recursive) = match change {
        Change::Seal { readonly, recursive } => (NODEV | if readonly { RDONLY } else { 0 }, 0, recursive),
        Change::Lookable => (NODEV | NOSUID | NOEXEC, 0, true),
        Change::ReadOnly => (RDONLY, 0, false),
        Change::Writable => (0, RDONLY, false),
    };
    let private = matches!(change, Change::Seal { .. } | Change::Lookable);
    let propagation = if private { libc::MS_PRIVATE } else { 0 };
    mount::set_attributes(mount, recursive, Attributes { set, clear, propagation, user_namespace: 0 })
}

/// Gives the calling thread a mount namespace, working directory and umask of its own.
pub(super) fn leave_mount_namespace() -> io::Result<()> {
    // SAFETY: the flags leave the table of file descriptors shared, which is what the function is unsafe for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
    Ok(())
}

/// Gives the calling thread a working directory and umask of its own, as entering a namespace needs.
pub(super) fn own_working_directory() -> io::Result<()> {
    // SAFETY: as above.
    unsafe { unshare_unsafe(UnshareFlags::FS) }?;
    Ok(())
}

/// Gives the calling thread names and message queues of its own, and its next child a number space to be the first of.
/// The thread can start no other thread from then on.
pub(super) fn leave_names_and_numbers() -> io::Result<()> {
    let flags = UnshareFlags::NEWUTS | UnshareFlags::NEWIPC | UnshareFlags::NEWPID;
    // SAFETY: the flags leave the table of file descriptors shared, which is what the function is unsafe for.
    unsafe { unshare_unsafe(flags) }?;
    Ok(())
}
