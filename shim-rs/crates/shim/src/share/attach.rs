// SPDX-License-Identifier: Apache-2.0
//! Puts detached mounts at their names in a share, and takes them away.
//!
//! The share's own directories are a small tmpfs. Its mount is read-only for whoever serves it; names are made
//! through a second, writable mount of it that is attached nowhere.

use std::os::fd::{AsFd, OwnedFd};

use boxlite_linux::mount::{attach, clone_tree};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::ShareError;
use super::prepare::Detached;
use super::sys::{self, Change};

/// Longest name in a share; two components are usual.
const NAME_LIMIT: usize = 512;

/// A share as it is being filled: where mounts go, and where names are made.
#[derive(Debug)]
pub(super) struct Root {
    attached: OwnedFd,
    writable: OwnedFd,
}

impl Root {
    /// The share whose tmpfs `attached` is the root of.
    pub(super) fn over(attached: OwnedFd) -> Result<Self, ShareError> {
        let writable =
            clone_tree(&attached, "", false).map_err(ShareError::host("open the share for names"))?;
        sys::change_mount(writable.as_fd(), Change::Writable)
            .map_err(ShareError::host("open the share for names"))?;
        sys::change_mount(attached.as_fd(), Change::ReadOnly)
            .map_err(ShareError::host("close the share to writes"))?;
        Ok(Self { attached, writable })
    }

    /// Makes `name` and puts the mount there.
    pub(super) fn attach(&self, name: &str, detached: &Detached) -> Result<(), ShareError> {
        self.make(name, detached.directory)?;
        // Never through a mount that is there already: what is below it belongs to a guest.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let target =
            rustix::fs::openat2(&self.attached, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
                .map_err(ShareError::host("open a place in the share"))?;
        attach(&detached.mount, &target).map_err(ShareError::host("put a mount into the share"))
    }

    fn make(&self, name: &str, directory: bool) -> Result<(), ShareError> {
        let components = components(name)?;
        let (last, parents) = components.split_last().ok_or_else(|| refused(name, "it is empty"))?;
        let failed = |errno: Errno| ShareError::host("make a place in the share")(errno);
        let mut at = rustix::io::fcntl_dupfd_cloexec(&self.writable, 0).map_err(failed)?;
        for parent in parents {
            match rustix::fs::mkdirat(&at, *parent, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            at = rustix::fs::openat(&at, *parent, flags, Mode::empty()).map_err(failed)?;
        }
        let made = if directory {
            rustix::fs::mkdirat(&at, *last, Mode::RWXU)
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(&at, *last, flags, Mode::RUSR | Mode::WUSR).map(drop)
        };
        match made {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(refused(name, "it is taken")),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Removes a name whose mount is gone, and its parent when that is empty.
    pub(super) fn forget(&self, name: &str) -> Result<(), ShareError> {
        let failed = |errno: Errno| ShareError::host("remove a place from the share")(errno);
        let removed = match rustix::fs::unlinkat(&self.writable, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTDIR) => rustix::fs::unlinkat(&self.writable, name, AtFlags::empty()),
            result => result,
        };
        removed.map_err(failed)?;
        let Some((parent, _)) = name.rsplit_once('/') else { return Ok(()) };
        match rustix::fs::unlinkat(&self.writable, parent, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}

/// The parts of a name, each of them plain.
pub(super) fn components(name: &str) -> Result<Vec<&str>, ShareError> {
    if name.len() > NAME_LIMIT {
        return Err(refused(name, "it is too long"));
    }
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..") || part.len() > 255 || part.contains('\0')) {
        return Err(refused(name, "it must be a plain relative path"));
    }
    Ok(parts)
}

fn refused(name: &str, reason: &'static str) -> ShareError {
    ShareError::Name { name: name.chars().take(NAME_LIMIT).collect(), reason }
}
