// SPDX-License-Identifier: Apache-2.0
//! What was made for a task and how to unmake it, on disk.
//!
//! Owns the undo list: every step of a launch pushes its undo *before* it acts where it can, and the list is written
//! to `record.json` in the task's run directory (a tmpfs), so that [`undo_all`] does the same work backwards in
//! three places: a launch that fails, a task that ends, and the `delete` command after a shim that was killed.
//! Needs no guest and no containerd; each undo can be repeated.

mod process;

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

pub use self::process::ProcessRecord;
use crate::host_cgroup::HostCgroup;

const FILE: &str = "record.json";
/// What the name of a directory begins with that has no name yet.
const UNFINISHED: &str = ".new-";
/// In the bundle: a link to the run directory, for `delete`, which knows the bundle and no configuration.
const POINTER: &str = "boxlite-run";
/// In the run directory: a link to the shim's socket, for `boxlite ps`, which knows the directory alone.
const SOCKET: &str = "shim.sock";
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
        let shim = ProcessRecord::of(std::process::id());
        let fresh = unfinished(&directory, shim.as_ref());
        let undo = vec![Undo::RunDirectory(directory.clone())];
        let mut record = Self { shim, task_pid: None, undo, directory: fresh.clone() };
        let _namespace = hold_namespace(&directory)?;
        if let Some(namespace) = directory.parent() {
            builder.recursive(true).create(namespace)?;
        }
        builder.recursive(false).create(&fresh)?;
        // With its record inside from the first moment it has its name: one without is nobody's.
        let named = record.write().and_then(|()| {
            let flags = RenameFlags::NOREPLACE;
            Ok(rustix::fs::renameat_with(CWD, &fresh, CWD, &directory, flags)?)
        });
        if let Err(error) = named {
            // The first failure is the one to tell; what stays is swept.
            let _ = std::fs::remove_dir_all(&fresh);
            return Err(error);
        }
        record.directory = directory;
        Ok(record)
    }

    /// Reads the record of a task whose shim is gone, be it that it was killed before the directory had its name.
    #[must_use]
    pub fn abandoned(directory: &Path) -> Option<Self> {
        let record = match Self::load(directory) {
            Ok(record) => record,
            Err(_) if is_unfinished_and_left(directory) => Self::of_nothing(directory),
            Err(_) => return None,
        };
        let alive = record.shim.as_ref().is_some_and(ProcessRecord::alive);
        (!alive).then_some(record)
    }

    /// Takes a directory that has a task's name and no record: nothing was made for it, and nobody is at it.
    #[must_use]
    pub fn without(directory: &Path) -> Option<Self> {
        let is_directory = std::fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir());
        (is_directory && !directory.join(FILE).exists()).then(|| Self::of_nothing(directory))
    }

    fn of_nothing(directory: &Path) -> Self {
        let undo = vec![Undo::RunDirectory(directory.to_owned())];
        Self { shim: None, task_pid: None, undo, directory: directory.to_owned() }
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
                let _ = process.kill();
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
        Undo::Process(process) => process.end().map_err(|error| format!("process {}: {error}", process.pid)),
    }
}

/// Where a run directory is made before it gets its name: beside it, and of the shim that makes it. No container's id
/// begins with a dot.
fn unfinished(directory: &Path, shim: Option<&ProcessRecord>) -> PathBuf {
    let (pid, start_time) = shim.map_or((0, 0), |shim| (shim.pid, shim.start_time));
    directory.with_file_name(format!("{UNFINISHED}{pid}-{start_time}"))
}

/// Whether a directory has no name yet, and whoever was making it is gone.
fn is_unfinished_and_left(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(maker) = name.strip_prefix(UNFINISHED) else { return false };
    let maker = maker.split_once('-').and_then(|(pid, start_time)| {
        Some(ProcessRecord { pid: pid.parse().ok()?, start_time: start_time.parse().ok()? })
    });
    !maker.is_some_and(|maker| maker.alive())
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

#[cfg(test)]
mod tests;
