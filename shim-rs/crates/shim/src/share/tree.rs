// SPDX-License-Identifier: Apache-2.0
//! One container's files as the container sees them, for a process of the host that stands for it (the double).
//!
//! Owns how the root filesystem and the volumes of an open share are put together, and how little a process in there may
//! do with them: no device, no set-user-ID, nothing to execute. Does not own the process ([`crate::double`]).
//!
//! ```text
//!  copy of the share's namespace -> copies of ID/rootfs, ID/m0, ... -> the root over the share's directory
//!    -> each volume at its destination, resolved inside the root -> what only the guest has: empty, read-only
//! ```
//! The copies show the very files that the guest works on. Destinations that the image lacks are made, as the agent
//! makes them, perhaps at the same time. A file system of the guest's takes its mode from the image's place for it, so the
//! guest is told which places are no image's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use boxlite_linux::mount::{attach, clone_tree, is_directory};
use boxlite_linux::root::{Leaf, Root};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::ShareError;
use super::prepare::{Stage, through};
use super::sys::{self, Change};

/// For what only the guest has: room for the places of volumes below it, and for nothing else.
const TMPFS: &std::ffi::CStr = c"mode=0755,size=64k,nr_inodes=2048";

/// How a container's files are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The root file system's name in the share.
    pub rootfs: String,
    /// The root refuses writes; volumes may take them.
    pub readonly: bool,
    /// In the order in which they are mounted.
    pub places: Vec<Place>,
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Absolute, in the container.
    pub destination: String,
    /// What is there.
    pub content: Content,
}

/// What is at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Something of the share, by its name there.
    Shared(String),
    /// A file system of the guest's kernel. The host sees an empty directory that takes nothing: what was written into
    /// it would never reach the container.
    GuestOnly,
}

/// What came of [`inside`].
#[derive(Debug)]
pub struct Inside<T> {
    /// The work's.
    pub result: T,
    /// Where only the guest has something, and the image had nothing: such a place was made.
    pub made: Vec<String>,
}

/// Runs `work` on a thread whose mounts are a copy of `share`'s with the container's tree on `directory` (the one the
/// share was filled in), and whose next child is the first process of its own number space.
///
/// What it starts with `directory` as its working directory stands in the container's root, and has still to make that
/// its own. Blocking: a millisecond.
///
/// # Errors
/// [`ShareError`]; nothing is left behind.
pub fn inside<T: Send>(
    share: BorrowedFd<'_>,
    directory: &Path,
    tree: &Tree,
    work: impl FnOnce() -> T + Send,
) -> Result<Inside<T>, ShareError> {
    super::within(share, || {
        sys::leave_mount_namespace().map_err(ShareError::host("make a mount namespace"))?;
        let made = assemble(directory, tree)?;
        sys::leave_names_and_numbers().map_err(ShareError::host("make the double's namespaces"))?;
        Ok(Inside { result: work(), made })
    })?
}

fn assemble(directory: &Path, tree: &Tree) -> Result<Vec<String>, ShareError> {
    let stage = Stage::open(directory)?;
    // The share's own directory is covered by the root in a moment.
    let share = stage.top().map_err(ShareError::host("open the share's directory"))?;
    let copy = |name: &str| copied(&share, name);
    let top = copy(&tree.rootfs)?;
    let contents = tree.places.iter().map(|place| match &place.content {
        Content::Shared(name) => copy(name).map(Some),
        Content::GuestOnly => Ok(None),
    });
    let contents = contents.collect::<Result<Vec<_>, _>>()?;
    attach(&top, &share).map_err(ShareError::host("put the container's root in its place"))?;
    let root = Root::new(top);
    let (mut guest_only, mut made) = (Vec::new(), Vec::new());
    for (place, content) in tree.places.iter().zip(contents) {
        match content {
            Some(content) => put(&root, &place.destination, &content)?,
            None if is_below(&place.destination, &guest_only) => {}
            None => {
                if root.locate(&place.destination).is_err() {
                    made.push(place.destination.clone());
                }
                guest_only.push((place.destination.as_str(), cover(&root, &place.destination)?));
            }
        }
    }
    let close = |mount: BorrowedFd<'_>| {
        sys::change_mount(mount, Change::ReadOnly).map_err(ShareError::host("close a mount to writes"))
    };
    guest_only.iter().try_for_each(|(_, mount)| close(mount.as_fd()))?;
    if tree.readonly {
        close(root.fd().as_fd())?;
    }
    Ok(made)
}

/// What lies in one of the guest's own file systems is the guest's as well.
fn is_below(destination: &str, covered: &[(&str, OwnedFd)]) -> bool {
    covered.iter().any(|(over, _)| Path::new(destination).starts_with(over))
}

fn copied(share: &OwnedFd, name: &str) -> Result<OwnedFd, ShareError> {
    let mount =
        clone_tree(share, name, true).map_err(ShareError::host("copy a mount for the container's double"))?;
    sys::change_mount(mount.as_fd(), Change::Lookable).map_err(ShareError::host("seal a mount"))?;
    Ok(mount)
}

fn put(root: &Root, destination: &str, content: &OwnedFd) -> Result<(), ShareError> {
    let place = |error| ShareError::Place { destination: destination.to_owned(), source: error };
    let directory = is_directory(content).map_err(|errno| place(errno.into()))?;
    let target = ensure(root, destination, if directory { Leaf::Directory } else { Leaf::File })?;
    if is_directory(&target).map_err(|errno| place(errno.into()))? != directory {
        // The kernel would say EINVAL; engines explain this one.
        return Err(place(Errno::NOTDIR.into()));
    }
    attach(content, &target).map_err(|errno| place(errno.into()))
}

/// Mounts something empty; gives back the mount.
fn cover(root: &Root, destination: &str) -> Result<OwnedFd, ShareError> {
    let place =
        |errno: Errno| ShareError::Place { destination: destination.to_owned(), source: errno.into() };
    let target = ensure(root, destination, Leaf::Directory)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("guest", through(&target), "tmpfs", flags, TMPFS).map_err(place)?;
    root.locate(destination).map_err(place)
}

fn ensure(root: &Root, destination: &str, leaf: Leaf) -> Result<OwnedFd, ShareError> {
    root.ensure(destination, leaf).map_err(|failed| ShareError::Place {
        destination: destination.to_owned(),
        source: failed.errno.into(),
    })
}

#[cfg(test)]
#[path = "tests/tree.rs"]
mod tests;
