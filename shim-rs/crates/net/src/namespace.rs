// SPDX-License-Identifier: Apache-2.0
//! Network namespaces: make, open, enter. Not what is in them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::{panic, thread};

use rustix::fs::fstatfs;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::NetError;
use crate::netlink::{self, Socket};
use crate::sys;

/// The magic number of nsfs, linux/magic.h. A file that once was a namespace's mount point is an ordinary, empty one.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// An open network namespace. It lives as long as this, or a process in it, does.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    /// Made here: nobody had it before, and what is left in it goes with it.
    own: bool,
}

impl Namespace {
    /// A new namespace whose loopback is up and which holds nothing else.
    ///
    /// A thread of its own makes it: the caller's threads stay where they are.
    pub fn create() -> Result<Self, NetError> {
        let what = "create a network namespace";
        on_thread(|| {
            sys::leave_network_namespace().map_err(|errno| match errno {
                Errno::INVAL => NetError::Unsupported { what, source: errno.into() },
                other => NetError::from_errno(what, other),
            })?;
            let fd =
                File::open("/proc/thread-self/ns/net").map_err(|source| NetError::from_io(what, source))?;
            Socket::open()?.apply(what, &[netlink::loopback_up()])?;
            Ok(Self { fd: fd.into(), own: true })
        })?
    }

    /// The namespace at `path`: `/proc/<pid>/ns/net`, or a file it is mounted on.
    pub fn open(path: &Path) -> Result<Self, NetError> {
        let missing = |source| NetError::NamespaceMissing { path: path.into(), source };
        let file = File::open(path).map_err(missing)?;
        let kind =
            fstatfs(&file).map_err(|errno| NetError::from_errno("examine a network namespace", errno))?;
        if u64::try_from(kind.f_type) != Ok(NSFS_MAGIC) {
            return Err(missing(Errno::INVAL.into()));
        }
        Ok(Self { fd: file.into(), own: false })
    }

    /// Whether [`Namespace::create`] made it.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// For a thread that is made for it: what it starts, a VMM for example, is born in the namespace.
    pub fn enter(&self) -> Result<(), NetError> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| NetError::from_errno("enter a network namespace", errno))
    }

    /// Runs `f` inside the namespace, on a thread that ends with it, and waits for its value.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        on_thread(|| self.enter().map(|()| f()))?
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `f` on a short-lived thread; a panic in it goes on in the caller.
fn on_thread<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, NetError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, f)
            .map_err(|source| NetError::System { what: "start a thread", source })?;
        Ok(thread.join().unwrap_or_else(|cause| panic::resume_unwind(cause)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_network_namespace_is_named() {
        let left = tempfile::NamedTempFile::new().unwrap();
        for path in [Path::new("/nonexistent/netns"), left.path()] {
            let error = Namespace::open(path).unwrap_err();
            assert!(
                matches!(&error, NetError::NamespaceMissing { path: named, .. } if named == path),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_namespace_is_opened_by_path_and_the_callers_thread_stays_out_of_it() {
        let here = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let before = here();
        let ns = Namespace::open(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!(ns.run(here).unwrap(), before);
        let new = Namespace::create().unwrap();
        assert_ne!(new.run(here).unwrap(), before);
        assert_eq!(here(), before);
    }

    #[test]
    fn the_loopback_of_a_new_namespace_is_up() {
        let bound = Namespace::create().unwrap().run(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            socket.send_to(b"x", socket.local_addr()?)
        });
        assert_eq!(bound.unwrap().unwrap(), 1);
    }
}
