// SPDX-License-Identifier: Apache-2.0
//! The container's double: the process on the host whose pid the engine gets.
//!
//! Tools take `/proc/PID/root` for the container's files, `/proc/PID/ns/net` for its network, and a signal to PID for a
//! signal to its first process. QEMU's pid answers all three with the host, or with the machine's death. So each
//! container has a process that stands for it and does nothing else: this very program executed again, in the
//! container's tree ([`crate::share::tree`]), network namespace and cgroup, alone in its pid, uts and ipc namespaces,
//! named and numbered as the container's first process, without a privilege ([`process`]).
//!
//! ```text
//!  birth ─▶ it takes the tree as its root, drops everything, says READY ─▶ waits
//!             │ failed: says why on stderr, ends                           │ a signal arrives: its number comes here
//!             ▼                                                            │ killed: the container is to end
//!         the launch fails                                                 │ the socket closes: it ends (no shim, no double)
//! ```
//! Owns the process and the socket to it. Does not own the container: [`Double::next_signal`] tells, the task acts.
//! Order of calls: [`Birth::of`] (pure), [`Double::birth`] on the launch thread, [`Double::ready`], then
//! [`Double::next_signal`] until it says that the double has ended.

mod confine;
pub(crate) mod process;

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use boxlite_net::Namespace;
use boxlite_protocol::plan::LaunchPlan;
use boxlite_protocol::plan::mount::Kind;
use boxlite_vmm::Process;
use command_fds::{CommandFdExt, FdMapping};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::error::TaskError;
use crate::share::ShareMount;
use crate::share::tree::{self, Content, Place, Tree};

/// How long it may take to be ready: some milliseconds, and more when many start at once.
const READY: Duration = Duration::from_secs(10);
/// In its environment: the container's run directory, `/run/boxlite/NAMESPACE/ID`.
const RUN: &str = "BOXLITE_RUN";
/// Bytes of the container's command line that the host's `ps` shows. Linux takes two megabytes, and each would be the
/// double's.
const COMMAND_LINE: usize = 4096;

/// All that decides what a double is. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Birth {
    tree: Tree,
    /// The container's first process's.
    command: Vec<String>,
    uid: u32,
    gid: u32,
    hostname: String,
}

impl Birth {
    /// The double of the container with this plan, whose mounts are in the share as `shared` says.
    pub(crate) fn of(launch: &LaunchPlan, shared: &[ShareMount]) -> Self {
        let is_shared = |name: &str| shared.iter().any(|mount| mount.name == name);
        let places = launch.mounts.iter().filter_map(|mount| {
            let content = match mount.kind.enum_value() {
                Ok(Kind::SHARE) if is_shared(&mount.source) => Content::Shared(mount.source.clone()),
                Ok(Kind::FILESYSTEM | Kind::CGROUP) => Content::GuestOnly,
                // A node or a socket of the guest's: the host has nothing to show for it.
                _ => return None,
            };
            Some(Place { destination: mount.destination.clone(), content })
        });
        Self {
            tree: Tree {
                rootfs: launch.rootfs.clone(),
                readonly: launch.rootfs_readonly,
                places: places.collect(),
            },
            command: shown(&launch.process.args),
            uid: launch.process.uid,
            gid: launch.process.gid,
            hostname: launch.hostname.clone(),
        }
    }
}

/// The part of a command line that is shown; never empty, as no process's is.
fn shown(args: &[String]) -> Vec<String> {
    let mut room = COMMAND_LINE;
    let mut shown = Vec::new();
    for arg in args {
        // What ends at a NUL would not be executed either.
        let word = arg.split('\0').next().unwrap_or_default();
        let word: String = word
            .chars()
            .scan(0, |bytes, c| {
                *bytes += c.len_utf8();
                (*bytes <= room).then_some(c)
            })
            .collect();
        room = room.saturating_sub(word.len() + 1);
        shown.push(word);
        if room == 0 {
            break;
        }
    }
    if shown.is_empty() { vec!["container".to_owned()] } else { shown }
}

/// Where a double is born.
#[derive(Debug)]
pub(crate) struct Cradle<'a> {
    /// The program to execute: this one.
    pub(crate) program: PathBuf,
    /// The share's mount namespace, and the directory it was filled in.
    pub(crate) share: BorrowedFd<'a>,
    pub(crate) directory: &'a Path,
    pub(crate) network: &'a Namespace,
}

/// A container's double. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Double {
    process: Process,
    /// Read by one at a time.
    socket: Mutex<UnixStream>,
    made: Vec<String>,
}

impl Double {
    /// Starts it. Blocking, some milliseconds; needs a current tokio runtime, which watches it. It is born in the calling
    /// process's cgroup and not to be told of before [`Double::ready`]: until then its root is the host's.
    ///
    /// # Errors
    /// [`TaskError::Launch`]; nothing is left behind.
    pub(crate) fn birth(birth: &Birth, cradle: &Cradle<'_>) -> Result<Self, TaskError> {
        let (ours, theirs) =
            StdUnixStream::pair().map_err(TaskError::launch("making the double's socket"))?;
        ours.set_nonblocking(true).map_err(TaskError::launch("making the double's socket"))?;
        let socket = UnixStream::from_std(ours).map_err(TaskError::launch("making the double's socket"))?;
        let mut command = Command::new(&cradle.program);
        let mut words = birth.command.iter();
        command.arg0(words.next().map_or("container", String::as_str)).args(words);
        command.env_clear().env(process::REQUEST, process::request(birth.uid, birth.gid));
        // For whoever looks at the host's processes: whose double this is.
        command.env(RUN, cradle.directory.parent().unwrap_or(cradle.directory));
        command.current_dir(cradle.directory);
        let given = FdMapping { parent_fd: theirs.into(), child_fd: process::SOCKET };
        command.fd_mappings(vec![given]).map_err(TaskError::launch("passing the double its socket"))?;
        let runtime = tokio::runtime::Handle::current();
        let born = tree::inside(cradle.share, cradle.directory, &birth.tree, || {
            let _context = runtime.enter();
            cradle.network.enter().map_err(TaskError::launch("entering the network namespace"))?;
            if !birth.hostname.is_empty() {
                rustix::system::sethostname(birth.hostname.as_bytes())
                    .map_err(TaskError::launch("naming the double's host"))?;
            }
            Process::spawn(command).map_err(TaskError::launch("starting the container's double"))
        });
        let born = born.map_err(TaskError::launch("putting the container's files together"))?;
        Ok(Self { process: born.result?, socket: Mutex::new(socket), made: born.made })
    }

    /// Waits until its root is the container's and it can do no harm.
    ///
    /// # Errors
    /// [`TaskError::Launch`] with what it said.
    pub(crate) async fn ready(&self) -> Result<(), TaskError> {
        let failed =
            |why: String| TaskError::launch("confining the container's double")(io::Error::other(why));
        match tokio::time::timeout(READY, self.read()).await {
            Ok(Some(process::READY)) => Ok(()),
            Ok(_) => {
                let exit = self.process.exited().await;
                Err(failed(format!("{exit}: {}", self.process.stderr())))
            }
            Err(_) => Err(failed(format!("it was not ready within {} s", READY.as_secs()))),
        }
    }

    /// The next signal somebody on the host sent it; none once it has ended.
    pub(crate) async fn next_signal(&self) -> Option<u32> {
        self.read().await.map(u32::from)
    }

    /// The pid that the engine gets.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The places of the guest's file systems that were made for it, because the image has nothing there.
    pub(crate) fn made(&self) -> &[String] {
        &self.made
    }

    async fn read(&self) -> Option<u8> {
        // An error is an end: nobody else has the other side.
        self.socket.lock().await.read_u8().await.ok()
    }
}

#[cfg(test)]
mod tests;
