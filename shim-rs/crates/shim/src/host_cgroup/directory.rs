// SPDX-License-Identifier: Apache-2.0
//! One cgroup in one hierarchy: a directory and its files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::CgroupError;
use super::members;

/// Between two tries at what the kernel is about to let go.
const UNLINKING: Duration = Duration::from_millis(1);

/// The controllers an ancestor hands down in the unified hierarchy, for the host's accounting and the CPU share.
const HANDED_DOWN: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// What a hierarchy is for, as far as making a cgroup in it depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// cgroup v2, alone or beside v1.
    Unified,
    /// cgroup v1's cpu, perhaps with others.
    Cpu,
    /// cgroup v1's cpuset, in which a new cgroup is unusable until it has CPUs and memory nodes.
    Cpuset,
    /// Any other of cgroup v1, also systemd's, which has no controller.
    Other,
}

/// A cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directory {
    pub(super) kind: Kind,
    /// Where the hierarchy is mounted.
    pub(super) mount: PathBuf,
    /// Below the mount.
    pub(super) path: PathBuf,
}

impl Directory {
    /// Makes the directory and those missing above it; `made` grows by each that was not there.
    ///
    /// `ours` is false where systemd decides which controllers are handed down.
    pub(super) fn make(&self, ours: bool, made: &mut Vec<PathBuf>) -> Result<(), CgroupError> {
        let mut parent = self.mount.clone();
        for name in &self.path {
            let path = parent.join(name);
            if ours && self.kind == Kind::Unified {
                hand_down(&parent);
            }
            match fs::create_dir(&path) {
                Ok(()) => made.push(path.clone()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(source) => return Err(CgroupError::Create { path, source }),
            }
            if self.kind == Kind::Cpuset {
                inherit_cpuset(&parent, &path)?;
            }
            parent = path;
        }
        Ok(())
    }

    /// Sets the share of the CPU where this hierarchy has the controller, and says whether it has.
    pub(super) fn set_share(&self, shares: u64, weight: u64) -> Result<bool, CgroupError> {
        let (file, value) = match self.kind {
            Kind::Cpu => ("cpu.shares", shares),
            Kind::Unified if self.weighs() => ("cpu.weight", weight),
            _ => return Ok(false),
        };
        write(&self.full().join(file), &value.to_string())?;
        Ok(true)
    }

    /// True if this is where the CPU's weight of cgroup v2 is set.
    pub(super) fn weighs(&self) -> bool {
        self.kind == Kind::Unified && self.full().join("cpu.weight").exists()
    }

    /// Moves a process in.
    pub(super) fn take(&self, pid: u32) -> Result<(), CgroupError> {
        write(&self.full().join("cgroup.procs"), &pid.to_string())
    }

    /// Removes the directory, once the processes that are ending in it have ended, or at the deadline.
    ///
    /// A killed process stays a member until the kernel has switched away from it for the last time, which is a moment
    /// after its pidfd says that it ended, and cgroup v1 tells nobody when that was: after the pidfds there is nothing
    /// left to wait on but the removal itself.
    pub(super) fn remove(&self, deadline: Instant) -> Result<(), CgroupError> {
        let path = self.full();
        loop {
            match fs::remove_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {}
                Err(source) => return Err(CgroupError::Remove { path, source }),
                Ok(()) => return Ok(()),
            }
            if Instant::now() >= deadline {
                return Err(CgroupError::Busy { path });
            }
            if !members::wait_for(&path, deadline) {
                std::thread::sleep(UNLINKING);
            }
        }
    }

    /// Opens what processes are moved in by.
    pub(super) fn open(&self) -> Result<fs::File, CgroupError> {
        let path = self.full().join("cgroup.procs");
        let opened = fs::OpenOptions::new().write(true).open(&path);
        opened.map_err(|source| CgroupError::Write { path, value: "0".into(), source })
    }

    /// True if nobody is in it, as in one that is not there.
    pub(super) fn is_deserted(&self) -> bool {
        match fs::read_to_string(self.full().join("cgroup.procs")) {
            Ok(members) => members.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    pub(super) fn full(&self) -> PathBuf {
        self.mount.join(&self.path)
    }
}

/// Has a cgroup of the unified hierarchy hand down what it has to those below it.
///
/// A cgroup with processes of its own cannot (EBUSY), and then its children go without, as they do with runc. Beside v1
/// there may be nothing to hand down.
fn hand_down(path: &Path) {
    let words = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
    let (there, handed) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let has = |words: &str, name: &str| words.split_whitespace().any(|word| word == name);
    for name in HANDED_DOWN.into_iter().filter(|name| has(&there, name) && !has(&handed, name)) {
        if let Err(error) = fs::write(path.join("cgroup.subtree_control"), format!("+{name}")) {
            tracing::debug!(path = %path.display(), controller = name, %error, "controller is not handed down");
        }
    }
}

/// Gives a new cgroup its parent's CPUs and memory nodes.
fn inherit_cpuset(parent: &Path, path: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if read(&path.join(file))?.trim().is_empty() {
            write(&path.join(file), read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::Host { path: path.into(), source })
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    // Not created: a missing file means the cgroup is not what it is taken for.
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(|source| CgroupError::Write { path: path.into(), value: value.into(), source })
}
