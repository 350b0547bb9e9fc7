// SPDX-License-Identifier: Apache-2.0
//! Paths resolved inside a root directory, whatever links lie in it.
//!
//! Owns how a container's path becomes a descriptor; every mount and file goes by descriptor from then on. Missing
//! destinations are made here, by host and guest alike, which may do so at the same time: a name that appears meanwhile
//! is as good as one made here. [`Root::open`] first, [`Root::ensure`] when the path may be missing.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// More links than this in one path are a loop, as for the kernel.
const MAX_LINKS: usize = 40;
/// The kernel asks to repeat a walk over ".." that raced with a rename elsewhere.
const MAX_REPEATS: usize = 64;

/// What to make where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// Why a path is not there and was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// What was tried: "open" or "mkdir".
    pub verb: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.verb, self.errno)
    }
}

impl std::error::Error for Failed {}

/// A root directory.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// `fd`: the directory that is to be `/`.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The directory itself.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Opens what is at `path`, following links as a process with this root would.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(&self, path: impl rustix::path::Arg + Copy, flags: OFlags) -> Result<OwnedFd, Errno> {
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
    ///
    /// # Errors
    /// The kernel's.
    pub fn locate(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH)
    }

    /// Finds what is at `path`, making it and the directories before it when missing (mode 0755 and 0644, less the
    /// umask).
    ///
    /// # Errors
    /// [`Failed`].
    pub fn ensure(&self, path: &str, leaf: Leaf) -> Result<OwnedFd, Failed> {
        match self.locate(path) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(|errno| Failed { verb: "open", errno }),
        }
        let made = self.make(path.as_bytes(), leaf).map_err(|errno| Failed { verb: "mkdir", errno })?;
        self.open(made.as_slice(), OFlags::PATH).map_err(|errno| Failed { verb: "open", errno })
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
                Err(Errno::NOENT) => {
                    let file = leaf == Leaf::File && pending.is_empty();
                    make_one(&parent, &name, if file { Leaf::File } else { Leaf::Directory })?;
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

fn make_one(parent: &OwnedFd, name: &[u8], leaf: Leaf) -> Result<(), Errno> {
    let made = match leaf {
        Leaf::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::WRONLY;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
        Leaf::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
    };
    match made {
        // The other side made it.
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
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
    fn what_another_made_meanwhile_is_taken() {
        let (directory, root) = root();
        for leaf in [Leaf::Directory, Leaf::File] {
            make_one(root.fd(), b"x", leaf).unwrap();
            make_one(root.fd(), b"x", leaf).unwrap();
        }
        assert!(directory.path().join("x").is_dir());
    }

    #[test]
    fn two_at_once_make_the_same_places() {
        let (directory, root) = root();
        let paths: Vec<_> = (0..200).map(|number| format!("/a/{number}/b/c")).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| paths.iter().for_each(|path| drop(root.ensure(path, Leaf::File).unwrap())));
            }
        });
        assert!(directory.path().join("a/199/b/c").is_file());
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
        assert_eq!(root.ensure("/a/c", Leaf::File).unwrap_err().errno, Errno::LOOP);
    }

    #[test]
    fn file_in_the_way_is_an_error() {
        let (directory, root) = root();
        fs::write(directory.path().join("f"), "").unwrap();
        assert_eq!(root.ensure("/f/g", Leaf::Directory).unwrap_err().errno, Errno::NOTDIR);
    }
}
