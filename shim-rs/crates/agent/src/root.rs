// SPDX-License-Identifier: Apache-2.0
//! The container's root, with errors that name the path.
//!
//! How a path is resolved inside a root is [`boxlite_linux::root`]; every mount, mask and node goes by descriptor from
//! then on. [`Root::open`] first, [`Root::ensure`] when the path may be missing.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

pub(crate) use boxlite_linux::root::Leaf;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::Fault;

/// The container's root directory.
#[derive(Debug)]
pub(crate) struct Root(boxlite_linux::root::Root);

impl Root {
    /// `fd`: the mount the container will see as `/`.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(boxlite_linux::root::Root::new(fd))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        self.0.fd()
    }

    /// Opens what is at `path`, following links as the container would.
    pub(crate) fn open(&self, path: impl rustix::path::Arg + Copy, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.0.open(path, flags)
    }

    /// Finds what is at `path`, for nothing but naming it.
    pub(crate) fn locate(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.0.locate(path)
    }

    /// Finds what is at `path`, making it and the directories before it when missing (mode 0755 and 0644).
    pub(crate) fn ensure(&self, path: &str, leaf: Leaf) -> Result<OwnedFd, Fault> {
        let made = self.0.ensure(path, leaf);
        made.map_err(|failed| Fault::system(&format!("{} {path}", failed.verb), failed.errno))
    }

    /// Finds the directory `path` lies in, making it when missing, and the last component's name.
    pub(crate) fn ensure_parent<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), Fault> {
        let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(Fault::refused(format!("{path}: not a file name")));
        }
        let parent = if parent.is_empty() { "/" } else { parent };
        Ok((self.ensure(parent, Leaf::Directory)?, name))
    }
}

/// A path that names what `fd` has open, for calls that take no descriptor. Needs the guest's own /proc.
pub(crate) fn by_descriptor(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::Mode;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(directory.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (directory, Root::new(fd))
    }

    #[test]
    fn loop_of_links_is_an_error() {
        let (directory, root) = root();
        symlink("b", directory.path().join("a")).unwrap();
        symlink("a", directory.path().join("b")).unwrap();
        let fault = root.ensure("/a/c", Leaf::File).unwrap_err();
        assert!(fault.message.contains("too many levels of symbolic links"), "{fault}");
    }

    #[test]
    fn file_in_the_way_is_named() {
        let (directory, root) = root();
        fs::write(directory.path().join("f"), "").unwrap();
        let fault = root.ensure("/f/g", Leaf::Directory).unwrap_err();
        assert!(fault.message.ends_with("not a directory"), "{fault}");
    }
}
