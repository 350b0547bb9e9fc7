// SPDX-License-Identifier: Apache-2.0
//! The directory a guest sees: root file systems and volumes under names of ours, served by virtiofsd.
//!
//! It exists only in a mount namespace of its own. A short-lived thread makes that namespace, clones each source
//! into it, and starts the daemon from there; the daemon makes the directory its root and lets go of everything else.
//! So the host's mount table shows nothing, no other process can reach the tree, and all of it is gone when the
//! daemon is gone.
//!
//! ```text
//! own namespace -> each source becomes a detached mount -> tmpfs on the directory -> mounts put at their names
//!   -> tmpfs read-only -> virtiofsd takes it as its root -> the thread ends
//! ```
//!
//! Order of calls: [`open`] once per machine; [`add`] and [`remove`] for later containers of a pod; [`tree::inside`] for
//! each container, whose root and volumes it puts together as the container sees them. [`open_plain`] makes the same
//! directory without a daemon, for the fake machine.
//!
//! After a shim was killed, `delete` kills QEMU and virtiofsd by their recorded pid and start time. There is nothing
//! to unmount. virtiofsd is two processes: the one recorded only waits for the one that serves, which dies with it.
//!
//! Not here: which sources are shared and under what names (`plan`), and the machine.

mod attach;
mod error;
mod options;
mod prepare;
mod sys;
#[cfg(test)]
mod tests;
pub mod tree;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use boxlite_vmm::Process;
use boxlite_vmm::virtiofsd::{self, VirtiofsdConfig};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

pub use error::ShareError;

use attach::Root;
use prepare::{Detached, Stage, through};

/// The share's own directories: a place per mount and little else. It is read-only for the guest besides.
const TMPFS: &std::ffi::CStr = c"mode=0700,size=64k,nr_inodes=4096";
/// The inodes above: with the type, they tell a share's tmpfs.
const TMPFS_INODES: u64 = 4096;
/// The kernel's magic number of a tmpfs.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// One tree or file in the share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareMount {
    /// What is shared.
    pub source: Source,
    /// Where in the share: a plain relative path, "abc/rootfs" or "abc/m0". Never the parent of another.
    pub name: String,
    /// Refuse writes, also on what is mounted below the source.
    pub readonly: bool,
    /// Share what is mounted below the source too. [`Source::Mounts`] always does.
    pub recursive: bool,
}

/// Where a share's mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory or file of the host. Links are followed, once.
    Path(PathBuf),
    /// Mounts to carry out in this order, the first as the root of the others.
    Mounts(Vec<Mount>),
}

/// A mount as an engine describes it (containerd's `Mount`). The type says what it is; nothing is guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// "overlay", "bind", or whatever the kernel knows.
    pub fstype: String,
    /// Source, or a label where the type has none.
    pub source: String,
    /// Directory inside the mounts before this one; empty for the root.
    pub target: String,
    /// Flags and the file system's own options.
    pub options: Vec<String>,
}

/// A share that is being served. Dropping the process ends it.
#[derive(Debug)]
pub struct OpenShare {
    /// virtiofsd; what pins the mounts.
    pub process: Process,
    /// Connected vhost-user socket, for the machine.
    pub socket: OwnedFd,
    /// The mount namespace the directory was filled in: see [`within`] and [`tree::inside`].
    pub namespace: OwnedFd,
}

/// Fills `directory` in a namespace of its own, and serves it; `ready` is called in between.
///
/// Blocking: some milliseconds. `directory` must exist and be empty and ours alone; the host sees it stay empty.
/// `daemon.directory` is taken to be `directory`. Needs a current tokio runtime, which watches the daemon.
///
/// # Errors
/// [`ShareError`]; nothing is left behind.
pub fn open(
    directory: &Path,
    mounts: &[ShareMount],
    daemon: &VirtiofsdConfig,
    ready: impl FnOnce() + Send,
) -> Result<OpenShare, ShareError> {
    let runtime = tokio::runtime::Handle::try_current()
        .map_err(|error| ShareError::host("find the async runtime")(io::Error::other(error)))?;
    let daemon = VirtiofsdConfig { directory: directory.to_owned(), ..daemon.clone() };
    in_own_namespace(|| {
        fill(directory, mounts)?;
        ready();
        let _context = runtime.enter();
        let (process, socket) = virtiofsd::launch(&daemon).map_err(ShareError::Server)?;
        Ok(OpenShare { process, socket, namespace: here()? })
    })
}

/// The calling thread's mount namespace.
fn here() -> Result<OwnedFd, ShareError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/thread-self/ns/mnt", flags, Mode::empty())
        .map_err(ShareError::host("keep the mount namespace"))
}

/// Fills `directory` in a namespace of its own, and returns that namespace; see [`within`]. As [`open`] otherwise.
///
/// # Errors
/// [`ShareError`]; nothing is left behind.
pub fn open_plain(directory: &Path, mounts: &[ShareMount]) -> Result<OwnedFd, ShareError> {
    in_own_namespace(|| {
        fill(directory, mounts)?;
        here()
    })
}

/// Runs `work` on a thread inside a namespace of [`open_plain`]: processes it starts stay there.
///
/// # Errors
/// [`ShareError::Host`] when the namespace cannot be entered.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, ShareError> {
    on_thread(|| {
        sys::own_working_directory().map_err(ShareError::host("leave the working directory"))?;
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))
            .map_err(ShareError::host("enter the mount namespace"))?;
        Ok(work())
    })
}

/// Adds mounts to a share that is being served; the guest sees them at once. Blocking, as [`open`].
///
/// `directory` is the one given to [`open`].
///
/// # Errors
/// [`ShareError`]; of several mounts, those before the failing one stay: [`remove`] them.
pub fn add(share: &Process, directory: &Path, mounts: &[ShareMount]) -> Result<(), ShareError> {
    in_own_namespace(|| {
        let prepared = prepare_all(directory, mounts)?;
        let root = enter_share(share)?;
        attach_all(&root, mounts, &prepared)
    })
}

/// Takes mounts out of a share that is being served. What the guest has open of them lives on until it lets go.
///
/// # Errors
/// [`ShareError`]; a name that is not there is one.
pub fn remove(share: &Process, names: &[&str]) -> Result<(), ShareError> {
    on_thread(|| {
        sys::own_working_directory().map_err(ShareError::host("leave the working directory"))?;
        let root = enter_share(share)?;
        for name in names {
            attach::components(name)?;
            let path = Path::new("/").join(name);
            rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                .map_err(ShareError::host("take a mount out of the share"))?;
            root.forget(name)?;
        }
        Ok(())
    })
}

/// Enters the daemon's mount namespace, whose root is the share.
fn enter_share(share: &Process) -> Result<Root, ShareError> {
    rustix::thread::move_into_thread_name_spaces(share.pidfd(), ThreadNameSpaceType::MOUNT)
        .map_err(ShareError::host("enter the share"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).map_err(ShareError::host("open the share"))?;
    // Until the daemon has taken the share as its root, the root here is a copy of the host's: not to be touched.
    let stat = rustix::fs::fstatfs(&root).map_err(ShareError::host("open the share"))?;
    if stat.f_files != TMPFS_INODES || stat.f_type != TMPFS_MAGIC {
        return Err(ShareError::host("enter the share")(io::Error::other("it is not served yet")));
    }
    Root::over(root)
}

fn fill(directory: &Path, mounts: &[ShareMount]) -> Result<(), ShareError> {
    let prepared = prepare_all(directory, mounts)?;
    let stage = Stage::open(directory)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("boxlite", through(stage.mountpoint()), "tmpfs", flags, TMPFS)
        .map_err(ShareError::host("mount the share's directory"))?;
    let root = Root::over(stage.top().map_err(ShareError::host("open the share's directory"))?)?;
    attach_all(&root, mounts, &prepared)
}

fn prepare_all(directory: &Path, mounts: &[ShareMount]) -> Result<Vec<Detached>, ShareError> {
    let stage = Stage::open(directory)?;
    mounts.iter().map(|mount| prepare::prepare(mount, &stage)).collect()
}

fn attach_all(root: &Root, mounts: &[ShareMount], prepared: &[Detached]) -> Result<(), ShareError> {
    mounts.iter().zip(prepared).try_for_each(|(mount, detached)| root.attach(&mount.name, detached))
}

/// Runs `work` on a thread with a copy of this thread's mounts. The copy follows the host (what is unmounted there
/// must not stay pinned here) and never the other way round.
fn in_own_namespace<T: Send>(work: impl FnOnce() -> Result<T, ShareError> + Send) -> Result<T, ShareError> {
    on_thread(|| {
        sys::leave_mount_namespace().map_err(ShareError::host("make a mount namespace"))?;
        rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .map_err(ShareError::host("detach from the host's mounts"))?;
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        work()
    })
}

/// Runs `work` on a thread of its own, whose namespaces and working directory go with it.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T, ShareError> + Send) -> Result<T, ShareError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("share".to_owned()).spawn_scoped(scope, work);
        let thread = thread.map_err(ShareError::host("start a thread"))?;
        let died = |_| ShareError::host("finish on a thread")(io::Error::other("the thread panicked"));
        thread.join().map_err(died)?
    })
}
