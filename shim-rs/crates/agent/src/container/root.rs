// SPDX-License-Identifier: Apache-2.0
//! Paths of the container, resolved inside its root whatever links the image or another container put there.
//!
//! Owns how a path becomes a descriptor; every mount, mask and node goes by descriptor from then on. Missing
//! destinations are made here. [`Root::open`] first, [`Root::ensure`] when the path may be missing.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Fault, Trying};

/// More links than this in one path are a loop, as for the kernel.
const MAX_LINKS: usize = 40;
/// The kernel asks to repeat a walk over ".." that raced with a rename elsewhere.
const MAX_REPEATS: usize = 64;

/// What to make where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    Directory,
    File,
}

/// The container's root directory.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

impl Root {
    /// `fd`: the mount the container will see as `/`.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Opens what is at `path`, following links as the container would.
    pub(crate) fn open(&self, path: impl rustix::path::Arg + Copy, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut repeats = 0;
        loop {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if repeats < MAX_REPEATS => repeats += 1,
                other => return other,
            }
        }
    }

    /// Finds what is at `path`, for nothing but naming it.
    pub(crate) fn locate(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH)
    }

    /// Finds what is at `path`, making it and the directories before it when missing (mode 0755 and 0644).
    pub(crate) fn ensure(&self, path: &str, leaf: Leaf) -> Result<OwnedFd, Fault> {
        match self.locate(path) {
            Err(Errno::NOENT) => {}
            other => return other.trying(|| format!("open {path}")),
        }
        let made = self.make(path.as_bytes(), leaf).trying(|| format!("mkdir {path}"))?;
        self.open(made.as_slice(), OFlags::PATH).trying(|| format!("open {path}"))
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

    /// Walks component by component, making what is missing; says where the walk ended, free of links.
    fn make(&self, path: &[u8], leaf: Leaf) -> Result<Vec<u8>, Errno> {
        let mut pending: VecDeque<Vec<u8>> = components(path).collect();
        let mut done: Vec<u8> = b"/".to_vec();
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == b".." {
                let end = done.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                done.truncate(end.max(1));
                continue;
            }
            let parent = self.open(done.as_slice(), OFlags::PATH | OFlags::DIRECTORY)?;
            match rustix::fs::readlinkat(&parent, name.as_slice(), Vec::new()) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = target.as_bytes();
                    if target.first() == Some(&b'/') {
                        done = b"/".to_vec();
                    }
                    for component in components(target).collect::<Vec<_>>().into_iter().rev() {
                        pending.push_front(component);
                    }
                    continue;
                }
                Err(Errno::INVAL) => {}
                Err(Errno::NOENT) if leaf == Leaf::File && pending.is_empty() => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::WRONLY;
                    rustix::fs::openat(&parent, name.as_slice(), flags, Mode::from_raw_mode(0o644))?;
                }
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&parent, name.as_slice(), Mode::from_raw_mode(0o755))?;
                }
                Err(error) => return Err(error),
            }
            if done.len() > 1 {
                done.push(b'/');
            }
            done.extend_from_slice(&name);
        }
        Ok(done)
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

/// A path that names what `fd` has open, for calls that take no descriptor. Needs the guest's own /proc.
pub(crate) fn by_descriptor(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(directory.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (directory, Root::new(fd))
    }

    #[test]
    fn missing_file_is_made_with_its_directories() {
        let (directory, root) = root();
        root.ensure("/a/./b//c", Leaf::File).unwrap();
        assert!(directory.path().join("a/b/c").is_file());
    }

    #[test]
    fn absolute_link_stays_inside() {
        let (directory, root) = root();
        symlink("/run", directory.path().join("var-run")).unwrap();
        root.ensure("/var-run/x/y", Leaf::Directory).unwrap();
        assert!(directory.path().join("run/x/y").is_dir());
        assert!(!std::path::Path::new("/run/x/y").exists());
    }

    #[test]
    fn dots_do_not_climb_out() {
        let (directory, root) = root();
        root.ensure("/../../../../up/here", Leaf::Directory).unwrap();
        assert!(directory.path().join("up/here").is_dir());
    }

    #[test]
    fn link_out_by_dots_stays_inside() {
        let (directory, root) = root();
        fs::create_dir(directory.path().join("d")).unwrap();
        symlink("../../../../etc/new-by-boxlite", directory.path().join("d/l")).unwrap();
        root.ensure("/d/l", Leaf::File).unwrap();
        assert!(directory.path().join("etc/new-by-boxlite").is_file());
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
