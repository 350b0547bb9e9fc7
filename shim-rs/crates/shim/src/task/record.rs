// SPDX-License-Identifier: Apache-2.0
//! What was made for a task and how to unmake it, on disk.
//!
//! Owns the undo list: every step of a launch pushes its undo *before* it acts where it can, and the list is written
//! to `record.json` in the task's run directory (a tmpfs), so that [`undo_all`] does the same work backwards in
//! three places: a launch that fails, a task that ends, and the `delete` command after a shim that was killed.
//! Needs no guest and no containerd; each undo can be repeated.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::host_cgroup::HostCgroup;

const FILE: &str = "record.json";
/// In the bundle: a link to the run directory, for `delete`, which knows the bundle and no configuration.
const POINTER: &str = "boxlite-run";
/// In the run directory: a link to the shim's socket, for `boxlite ps`, which knows the directory alone.
const SOCKET: &str = "shim.sock";
/// How long a killed process may take to be gone; containerd gives `delete` 5 s in all.
const DEATH: Duration = Duration::from_secs(3);

/// Has the bundle point to the task's run directory, wherever the configuration of the day puts it.
///
/// # Errors
/// The link cannot be made; one that is there is replaced.
pub fn point_to(bundle: &Path, directory: &Path) -> std::io::Result<()> {
    let link = bundle.join(POINTER);
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::os::unix::fs::symlink(directory, link),
    }
}

/// Where the bundle points to; none when no task was made from it.
#[must_use]
pub fn pointed_to(bundle: &Path) -> Option<PathBuf> {
    std::fs::read_link(bundle.join(POINTER)).ok()
}

/// The socket of the shim whose task has this run directory.
///
/// # Errors
/// No such task.
pub fn socket(directory: &Path) -> std::io::Result<PathBuf> {
    std::fs::read_link(directory.join(SOCKET))
}

/// A process of the host, by more than its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Number.
    pub pid: u32,
    /// Field 22 of /proc/PID/stat, in clock ticks since boot: tells a reused number.
    pub start_time: u64,
}

impl ProcessRecord {
    /// The process that has this number now; none when there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        start_time(pid).map(|start_time| Self { pid, start_time })
    }

    /// Whether it is still there and no zombie.
    #[must_use]
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// None for a process that is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from the last one.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// One thing to unmake.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Undo {
    /// The task's directory under the run path, with the record itself.
    RunDirectory(PathBuf),
    /// The container's cgroup on the host.
    Cgroup(HostCgroup),
    /// QEMU, virtiofsd or the container's double.
    Process(ProcessRecord),
}

/// The undo list with its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The shim; a record whose shim is gone may be swept.
    pub shim: Option<ProcessRecord>,
    /// The task's pid, once there is one.
    pub task_pid: Option<u32>,
    undo: Vec<Undo>,
    #[serde(skip)]
    directory: PathBuf,
}

impl Record {
    /// Makes the task's run directory and the record in it.
    ///
    /// # Errors
    /// A directory that cannot be made; one that is there already belongs to a live task or was not swept.
    pub fn create(directory: PathBuf) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        if let Some(run) = directory.parent().and_then(Path::parent) {
            builder.recursive(true).create(run)?;
        }
        {
            let _namespace = hold_namespace(&directory)?;
            if let Some(namespace) = directory.parent() {
                builder.recursive(true).create(namespace)?;
            }
            builder.recursive(false).create(&directory)?;
        }
        let shim = ProcessRecord::of(std::process::id());
        let mut record = Self { shim, task_pid: None, undo: Vec::new(), directory: directory.clone() };
        match record.push(Undo::RunDirectory(directory)) {
            Ok(()) => Ok(record),
            Err(error) => {
                // Without a record nobody would ever come for it. The first failure is the one to tell.
                let _ = remove_run_directory(&record.directory);
                Err(error)
            }
        }
    }

    /// Reads the record of a task whose shim is gone.
    #[must_use]
    pub fn abandoned(directory: &Path) -> Option<Self> {
        let record = Self::load(directory).ok()?;
        let alive = record.shim.as_ref().is_some_and(ProcessRecord::alive);
        (!alive).then_some(record)
    }

    /// Reads a task's record.
    ///
    /// # Errors
    /// Not there, or not ours.
    pub fn load(directory: &Path) -> std::io::Result<Self> {
        let text = std::fs::read(directory.join(FILE))?;
        let mut record: Self = serde_json::from_slice(&text)?;
        directory.clone_into(&mut record.directory);
        Ok(record)
    }

    /// The task's run directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Says where the shim is called. Without, a container runs, and cannot be looked into.
    pub fn name_socket(&self, socket: &Path) {
        if let Err(error) = std::os::unix::fs::symlink(socket, self.directory.join(SOCKET)) {
            tracing::warn!(%error, "boxlite ps will not find this shim");
        }
    }

    /// Remembers one more thing to unmake.
    ///
    /// # Errors
    /// The record cannot be written: what it is for must not be made then.
    pub fn push(&mut self, undo: Undo) -> std::io::Result<()> {
        self.undo.push(undo);
        self.write()
    }

    /// Remembers the task's pid.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn set_task_pid(&mut self, pid: u32) -> std::io::Result<()> {
        self.task_pid = Some(pid);
        self.write()
    }

    fn write(&self) -> std::io::Result<()> {
        let fresh = self.directory.join("record.new");
        std::fs::write(&fresh, serde_json::to_vec(self)?)?;
        std::fs::rename(fresh, self.directory.join(FILE))
    }

    /// Has all processes begin to end: none needs another for it, and each takes its time.
    pub fn kill(&self) {
        for undo in &self.undo {
            if let Undo::Process(process) = undo {
                // Its own undo tries again, and tells what fails.
                let _ = kill(process);
            }
        }
    }

    /// Unmakes everything, last made first. Blocking; seconds at most. What cannot be unmade is returned, and the
    /// rest is unmade all the same.
    #[must_use]
    pub fn undo_all(mut self) -> Vec<String> {
        self.kill();
        let mut failures = Vec::new();
        while let Some(undo) = self.undo.pop() {
            if let Err(failure) = undo_one(&undo) {
                failures.push(failure);
            }
        }
        failures
    }
}

fn undo_one(undo: &Undo) -> Result<(), String> {
    match undo {
        Undo::RunDirectory(path) => {
            remove_run_directory(path).map_err(|error| format!("{}: {error}", path.display()))
        }
        Undo::Cgroup(cgroup) => cgroup.remove().map_err(|error| crate::error::chain(&error)),
        Undo::Process(process) => end(process).map_err(|error| format!("process {}: {error}", process.pid)),
    }
}

/// Keeps the namespace's directory from going while a task's is made in it, and the other way round.
fn hold_namespace(directory: &Path) -> std::io::Result<Option<OwnedFd>> {
    let Some(run) = directory.parent().and_then(Path::parent) else { return Ok(None) };
    let lock = rustix::fs::open(run, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    Ok(Some(lock))
}

/// Removes a task's directory, and with the last task of a namespace that of the namespace.
fn remove_run_directory(directory: &Path) -> std::io::Result<()> {
    gone(std::fs::remove_dir_all(directory))?;
    let Some(namespace) = directory.parent().filter(|namespace| namespace.exists()) else { return Ok(()) };
    let _held = hold_namespace(directory)?;
    match std::fs::remove_dir(namespace) {
        // Another task is in it.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => gone(removed),
    }
}

/// What is not there need not be removed.
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sends SIGKILL; none when it is gone already.
fn kill(process: &ProcessRecord) -> std::io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
    // The number may have been given to another before the descriptor was opened; not after.
    if !process.alive() {
        return Ok(None);
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(Some(pidfd)),
        Err(error) => Err(error.into()),
    }
}

/// Kills and waits until it is gone (a zombie is).
fn end(process: &ProcessRecord) -> std::io::Result<()> {
    let Some(pidfd) = kill(process)? else { return Ok(()) };
    let deadline = Timespec { tv_sec: i64::try_from(DEATH.as_secs()).unwrap_or(3), tv_nsec: 0 };
    match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&deadline))? {
        0 => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "still there after SIGKILL")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
