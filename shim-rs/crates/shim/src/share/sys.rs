// SPDX-License-Identifier: Apache-2.0
//! The two syscalls of this room that have no safe wrapper.
#![allow(
    unsafe_code,
    reason = "mount_setattr has no wrapper, and unshare's is unsafe for flags not used here"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// The kernel's `struct mount_attr`, version 0.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const ATTR_RDONLY: u64 = 0x1;
const ATTR_NODEV: u64 = 0x4;

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
    /// Refuse writes, on this mount alone.
    ReadOnly,
    /// Take writes, on this mount alone.
    Writable,
}

/// Changes the mount whose root `mount` is.
pub(super) fn change_mount(mount: BorrowedFd<'_>, change: Change) -> io::Result<()> {
    let mut attr = MountAttr { set: 0, clear: 0, propagation: 0, user_namespace: 0 };
    let mut flags = libc::AT_EMPTY_PATH;
    match change {
        Change::Seal { readonly, recursive } => {
            attr.set = ATTR_NODEV | if readonly { ATTR_RDONLY } else { 0 };
            attr.propagation = libc::MS_PRIVATE;
            if recursive {
                flags |= libc::AT_RECURSIVE;
            }
        }
        Change::ReadOnly => attr.set = ATTR_RDONLY,
        Change::Writable => attr.clear = ATTR_RDONLY,
    }
    // SAFETY: the descriptor is open for the call, the path is an empty C string, and the structure is laid out
    // as the kernel's, of the size that is passed. The kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
