// SPDX-License-Identifier: Apache-2.0
//! From what is to be shared to a detached mount: a descriptor, visible nowhere.
//!
//! Sources are resolved here, once, in the namespace the thread copied from the host's. What comes out is sealed
//! (private, no devices, read-only where asked) before anybody can see it.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use boxlite_linux::mount::{attach, clone_path, clone_tree};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::UnmountFlags;

use super::options;
use super::sys::{self, Change};
use super::{Mount, ShareError, ShareMount, Source};

/// A mount that is attached nowhere.
#[derive(Debug)]
pub(super) struct Detached {
    /// The root of the mount.
    pub(super) mount: OwnedFd,
    /// Whether that root is a directory.
    pub(super) directory: bool,
}

/// A directory where mounts are put together before they are detached. Owned by the caller, empty, ours alone.
#[derive(Debug)]
pub(super) struct Stage {
    parent: OwnedFd,
    name: OsString,
    bare: OwnedFd,
}

impl Stage {
    pub(super) fn open(directory: &Path) -> Result<Self, ShareError> {
        const ACTION: &str = "open the share's directory";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
            return Err(ShareError::host(ACTION)(std::io::Error::from(std::io::ErrorKind::InvalidInput)));
        };
        let parent = rustix::fs::open(parent, flags, Mode::empty()).map_err(ShareError::host(ACTION))?;
        let bare =
            rustix::fs::openat(&parent, name, flags, Mode::empty()).map_err(ShareError::host(ACTION))?;
        Ok(Self { parent, name: name.to_owned(), bare })
    }

    /// The directory itself, below anything mounted on it.
    pub(super) fn mountpoint(&self) -> &OwnedFd {
        &self.bare
    }

    /// What is mounted on the directory now.
    pub(super) fn top(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty())
    }
}

/// A path that leads to what `fd` has open, whatever its name is by now.
pub(super) fn through(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Makes the mount for `shared`.
pub(super) fn prepare(shared: &ShareMount, stage: &Stage) -> Result<Detached, ShareError> {
    let mount = match &shared.source {
        Source::Path(path) => clone_path(path, shared.recursive)
            .map_err(|errno| ShareError::Source { path: path.clone(), source: errno.into() })?,
        Source::Mounts(mounts) => assemble(mounts, &shared.name, stage)?,
    };
    // What was assembled is sealed whole; of a plain path there is no more than was cloned.
    sys::change_mount(mount.as_fd(), Change::Seal { readonly: shared.readonly, recursive: true })
        .map_err(ShareError::host("seal a mount"))?;
    let stat = rustix::fs::fstat(&mount).map_err(ShareError::host("inspect a mount"))?;
    Ok(Detached { mount, directory: FileType::from_raw_mode(stat.st_mode).is_dir() })
}

/// Carries out an engine's list of mounts on the stage, and takes the result from there.
fn assemble(mounts: &[Mount], name: &str, stage: &Stage) -> Result<OwnedFd, ShareError> {
    if mounts.is_empty() {
        return Err(ShareError::Name { name: name.to_owned(), reason: "the engine named no mounts for it" });
    }
    // Mounts on the stage itself, one upon the other; those further inside go with them.
    let mut stacked = 0;
    let result = mounts.iter().try_for_each(|mount| {
        one(mount, name, stage, stacked == 0)?;
        stacked += usize::from(mount.target.is_empty());
        Ok(())
    });
    let taken = result.and_then(|()| {
        let top = stage.top().map_err(ShareError::host("open a mount"))?;
        clone_tree(&top, "", true).map_err(ShareError::host("detach a mount"))
    });
    let path = through(&stage.parent).join(&stage.name);
    for _ in 0..stacked {
        rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(ShareError::host("clear the share's directory"))?;
    }
    taken
}

fn one(mount: &Mount, name: &str, stage: &Stage, first: bool) -> Result<(), ShareError> {
    let failed = |source: std::io::Error| ShareError::Mount {
        fstype: mount.fstype.clone(),
        name: name.to_owned(),
        source,
    };
    let within;
    let target = if first && mount.target.is_empty() {
        stage.mountpoint()
    } else {
        within = inside(stage, &mount.target).map_err(|errno| failed(errno.into()))?;
        &within
    };
    if let Some(call) = options::bind(&mount.fstype, &mount.options) {
        let source = Path::new(&mount.source);
        let tree = clone_path(source, call.recursive)
            .map_err(|errno| ShareError::Source { path: source.to_owned(), source: errno.into() })?;
        sys::change_mount(tree.as_fd(), Change::Seal { readonly: call.readonly, recursive: false })
            .map_err(ShareError::host("seal a mount"))?;
        return attach(&tree, target).map_err(|errno| failed(errno.into()));
    }
    let call = options::mount_call(&mount.options)?;
    if let Some(directory) = &call.directory {
        // This thread's own working directory, see `sys::leave_mount_namespace`.
        rustix::process::chdir(directory)
            .map_err(|errno| ShareError::Source { path: directory.clone(), source: errno.into() })?;
    }
    // Names relative to that directory are looked up by mount(2) alone: sources are absolute.
    let data = CString::new(call.data).map_err(|error| failed(error.into()))?;
    let target = through(target);
    rustix::mount::mount(mount.source.as_str(), target, mount.fstype.as_str(), call.flags, data.as_c_str())
        .map_err(|errno| failed(errno.into()))
}

/// Opens a place inside what is on the stage already; links there lead nowhere else.
fn inside(stage: &Stage, target: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let target = if target.is_empty() { "." } else { target };
    rustix::fs::openat2(
        stage.top()?,
        target,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}
