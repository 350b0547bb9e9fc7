// SPDX-License-Identifier: Apache-2.0
//! Mounts by descriptor: their attributes, copies of them, and where they are attached.
//!
//! Owns the one call without a safe wrapper, mount_setattr(2). Order of calls: [`clone_tree`] or [`clone_path`],
//! [`set_attributes`] while nobody can see the copy, [`attach`].
#![allow(unsafe_code, reason = "mount_setattr has no wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

/// Refuse writes.
pub const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// Ignore set-user-ID bits.
pub const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// Devices cannot be opened.
pub const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
/// Programs cannot be executed.
pub const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
/// The settings of the access time are a number in these bits, not flags: to be cleared when one of them is set.
pub const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
/// The time of the last access is not kept.
pub const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
/// The time of the last access is always kept.
pub const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
/// The time of the last access to directories is not kept.
pub const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
/// Symbolic links are not followed.
pub const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

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
    rustix::mount::open_tree(
        at,
        path,
        cloning(recursive) | OpenTreeFlags::AT_SYMLINK_NOFOLLOW | OpenTreeFlags::AT_EMPTY_PATH,
    )
}

/// As [`clone_tree`], of what `path` leads to: links are followed, also one at its end.
///
/// # Errors
/// The kernel's.
pub fn clone_path(path: impl rustix::path::Arg, recursive: bool) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(CWD, path, cloning(recursive))
}

fn cloning(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Attaches a copied mount onto what `target` is.
///
/// # Errors
/// The kernel's.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

/// Tells a directory; a mount goes on what is of its own kind.
///
/// # Errors
/// fstat(2)'s.
pub fn is_directory(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// These need the right to mount (root).
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use rustix::fs::{Mode, OFlags};
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::*;

    /// Runs `work` on a thread with mounts of its own.
    fn apart(work: impl FnOnce(&Path) + Send) {
        let directory = tempfile::tempdir().unwrap();
        let inside = || {
            // SAFETY: the flags leave the table of file descriptors shared, which is what the function is unsafe for.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            work(directory.path());
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap();
    }

    fn open(path: impl rustix::path::Arg) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn write(mount: &OwnedFd, name: &str) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        rustix::fs::openat(mount, name, flags, Mode::RUSR).map(drop)
    }

    fn mount_tmpfs(at: &Path) {
        rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    }

    #[test]
    fn attributes_are_those_of_the_copy_alone() {
        apart(|directory| {
            let copy = clone_tree(CWD, directory, false).unwrap();
            let closed = Attributes { set: RDONLY, ..Attributes::default() };
            set_attributes(copy.as_fd(), false, closed).unwrap();
            assert_eq!(write(&copy, "a"), Err(Errno::ROFS));
            assert_eq!(write(&open(directory), "a"), Ok(()));
            let opened = Attributes { clear: RDONLY, ..Attributes::default() };
            set_attributes(copy.as_fd(), false, opened).unwrap();
            assert_eq!(write(&copy, "b"), Ok(()));
        });
    }

    #[test]
    fn what_is_mounted_below_is_copied_and_changed_when_asked_for() {
        apart(|directory| {
            let below = directory.join("below");
            fs::create_dir(&below).unwrap();
            mount_tmpfs(&below);
            fs::write(below.join("file"), "").unwrap();
            let alone = clone_tree(CWD, directory, false).unwrap();
            let whole = clone_tree(CWD, directory, true).unwrap();
            let has =
                |copy: &OwnedFd| rustix::fs::statat(copy, "below/file", rustix::fs::AtFlags::empty()).is_ok();
            assert!(!has(&alone) && has(&whole));
            let closed = Attributes { set: RDONLY, ..Attributes::default() };
            set_attributes(whole.as_fd(), false, closed).unwrap();
            assert_eq!(write(&whole, "below/a"), Ok(()));
            set_attributes(whole.as_fd(), true, closed).unwrap();
            assert_eq!(write(&whole, "below/b"), Err(Errno::ROFS));
        });
    }

    #[test]
    fn a_link_at_the_end_is_followed_by_path_alone() {
        apart(|directory| {
            fs::create_dir(directory.join("real")).unwrap();
            fs::write(directory.join("real/file"), "").unwrap();
            symlink("real", directory.join("link")).unwrap();
            let kind =
                |copy: OwnedFd| rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(copy).unwrap().st_mode);
            let link = clone_tree(CWD, directory.join("link"), false).unwrap();
            assert!(kind(link).is_symlink());
            let followed = clone_path(directory.join("link"), false).unwrap();
            assert!(kind(followed).is_dir());
            assert_eq!(clone_path("", false).unwrap_err(), Errno::NOENT);
        });
    }

    #[test]
    fn a_copy_covers_what_it_is_attached_to() {
        apart(|directory| {
            for name in ["from", "onto"] {
                fs::create_dir(directory.join(name)).unwrap();
                fs::write(directory.join(name).join(name), "").unwrap();
            }
            let copy = clone_tree(open(directory.join("from")), "", false).unwrap();
            attach(&copy, open(directory.join("onto"))).unwrap();
            assert!(directory.join("onto/from").exists() && !directory.join("onto/onto").exists());
        });
    }
}
