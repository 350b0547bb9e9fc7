// SPDX-License-Identifier: Apache-2.0
//! The container's cgroup on the host: where the shim, the VMM and virtiofsd run.
//!
//! It is there for the host's accounting and fairness: what the container costs is found where the engine and Kubernetes
//! look for it, and the share of the CPU holds against other containers. The container's own limits are not set here
//! but in its cgroup in the guest, where they are exact: on the host, a memory limit would have to hold the guest's
//! kernel, its page cache and the VMM as well, and meeting it would kill the machine instead of one process in it. A pod's
//! cgroup, which kubelet makes above this one with the RuntimeClass' overhead added, keeps its limits.
//!
//! `host` reads what hierarchies there are, `path` what the engine asks for; both decide, and [`HostCgroup`] carries the
//! result. `scope` asks systemd where systemd owns the tree. `members` ends what is in a cgroup, `origin` knows the way out.
//!
//! Order of calls: [`remember_origin`] before all else, [`expect_moves`] as soon as a move is to be expected;
//! [`CgroupHost::detect`], [`HostCgroup::plan`], then `create`, `set_cpu_shares`, `join`; at the end
//! [`HostCgroup::leave`] and `remove`, by the same process or, from the recorded value, by another. All of it blocks.

mod directory;
mod host;
mod members;
mod origin;
mod path;
mod scope;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use directory::Directory;
pub use host::CgroupHost;
pub use origin::{remember_origin, start_outside};
use path::Place;
use scope::Scope;

/// Why the host's cgroup is not as asked for.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// `linux.cgroupsPath` makes no sense.
    #[error("cgroup path {path:?} {why}")]
    Path {
        /// As the engine gave it.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The host's cgroups cannot be made out.
    #[error("could not read {}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A cgroup is asked for and the host mounts none.
    #[error("no cgroup hierarchy is mounted on the host; mount one on /sys/fs/cgroup")]
    NoHierarchy,
    /// The cgroup, or one above it that does not exist either, cannot be made.
    #[error("could not make cgroup {}; make its parent first or choose another (--cgroup-parent)", path.display())]
    Create {
        /// The first directory that could not be made.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A file of a cgroup cannot be read or written.
    #[error("could not write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// Something still runs in the cgroup.
    #[error("cgroup {} is in use", path.display())]
    Busy {
        /// Its directory.
        path: PathBuf,
    },
    /// The cgroup cannot be removed.
    #[error("could not remove cgroup {}", path.display())]
    Remove {
        /// Its directory.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// systemd's tools could not be run.
    #[error("could not run {program}, which makes scopes on a host run by systemd")]
    Tool {
        /// The program.
        program: &'static str,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// systemd refused.
    #[error("systemd refused scope {scope}: {answer}")]
    Scope {
        /// The unit.
        scope: String,
        /// What the tool printed.
        answer: String,
    },
}

/// One container's cgroup, in every hierarchy of the host. What a record holds of it is enough to remove it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCgroup {
    directories: Vec<Directory>,
    scope: Option<Scope>,
    /// Nobody was in it when it was planned: whoever is in it at the end is there by the container.
    #[serde(default)]
    alone: bool,
}

impl HostCgroup {
    /// Decides where `linux.cgroupsPath` is on this host. Touches nothing.
    ///
    /// - `/a/b`: that path in every hierarchy; `a/b`: below the shim's own cgroup, as with runc
    /// - `slice:prefix:name`: a transient scope if systemd runs the host, else the directory it would have
    /// - none or empty: no cgroup, processes stay in the shim's
    pub fn plan(cgroups_path: Option<&str>, host: &CgroupHost) -> Result<Self, CgroupError> {
        let (directories, scope) = match path::parse(cgroups_path.unwrap_or_default())? {
            Place::Stay => (Vec::new(), None),
            Place::Absolute(path) => (host.directories(|_| path.clone()), None),
            Place::Relative(path) => (host.directories(|own| own.join(&path)), None),
            Place::Scope(scope) => {
                let path = scope.path();
                (host.directories(|_| path.clone()), host.systemd.then_some(scope))
            }
        };
        if directories.is_empty() && cgroups_path.is_some_and(|path| !path.is_empty()) {
            return Err(CgroupError::NoHierarchy);
        }
        let alone = directories.iter().all(Directory::is_deserted);
        Ok(Self { directories, scope, alone })
    }

    /// Makes the cgroup, with what is missing above it, as runc does. One that exists is taken as it is.
    ///
    /// systemd makes no scope without a process in it: there the calling process enters with this.
    /// A failure leaves no directory behind; a scope goes when the process has left it.
    pub fn create(&self) -> Result<(), CgroupError> {
        if let Some(scope) = &self.scope {
            scope.start(std::process::id())?;
        }
        let mut made = Vec::new();
        for directory in &self.directories {
            if let Err(error) = directory.make(self.scope.is_none(), &mut made) {
                for path in made.iter().rev() {
                    if let Err(source) = std::fs::remove_dir(path) {
                        tracing::warn!(path = %path.display(), error = %source, "a cgroup was left behind");
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives the cgroup its share of the CPU: `linux.resources.cpu.shares`, where 1024 is one container's. 0 asks for nothing.
    pub fn set_cpu_shares(&self, shares: u64) -> Result<(), CgroupError> {
        if shares == 0 || self.directories.is_empty() {
            return Ok(());
        }
        let weight = weight(shares);
        if let Some(scope) = &self.scope {
            return match self.directories.iter().any(Directory::weighs) {
                true => scope.set("CPUWeight", weight),
                false => scope.set("CPUShares", shares),
            };
        }
        let mut taken = false;
        for directory in &self.directories {
            taken |= directory.set_share(shares, weight)?;
        }
        if !taken {
            tracing::warn!(
                shares,
                "the host has no cpu controller for this cgroup, the CPU share is not set"
            );
        }
        Ok(())
    }

    /// Moves a process, with all its threads, into the cgroup; what it starts from then on is born there.
    pub fn join(&self, pid: u32) -> Result<(), CgroupError> {
        self.directories.iter().try_for_each(|directory| directory.take(pid))
    }

    /// Moves a process out of whatever cgroup it is in, to where this process was started ([`remember_origin`]); where
    /// that is not known or gone, to the cgroup of process 1: one that takes processes on every host.
    ///
    /// A shim that lives in the container's cgroup does this before it removes it.
    pub fn leave(pid: u32) -> Result<(), CgroupError> {
        origin::leave(pid)
    }

    /// Removes the cgroup; one that is gone is fine. What was made above it stays, for others may have come to use it.
    ///
    /// What still runs in it is killed: a process may have been started and its shim killed before it was written down.
    /// Not so in a cgroup that others were in before, and never the calling process.
    ///
    /// All hierarchies are tried; the first failure is returned.
    pub fn remove(&self) -> Result<(), CgroupError> {
        if self.alone {
            members::kill(&self.directories);
        }
        // Who was killed is on its way out; who is spared stays, and is not waited for.
        let leaving = self.alone && !members::own(&self.directories);
        let patience = if leaving { members::LEAVING } else { members::ENDING };
        // For all of them: the processes are the same.
        let deadline = Instant::now() + patience;
        let results: Vec<_> = self.directories.iter().map(|directory| directory.remove(deadline)).collect();
        results.into_iter().collect()
    }
}

/// Has the kernel get ready for moves of processes. Blocks for some 10 ms, and moves nothing.
///
/// A move holds up all forks and ends of processes for an instant. When there was none lately, the kernel first waits for
/// a grace period of RCU, so that those need not look for moves otherwise (`cgroup_threadgroup_rwsem`, a
/// percpu_rw_semaphore, in kernel/cgroup/cgroup.c); moves that follow within milliseconds are spared that. It takes the same
/// steps to move a process to where it is.
pub fn expect_moves() -> Result<(), CgroupError> {
    let own = CgroupHost::detect()?.directories(Path::to_owned);
    own.first().map_or(Ok(()), |directory| directory.take(std::process::id()))
}

/// cgroup v1's shares (2 to 262144) on the scale of v2's weight (1 to 10000), by the line runc and crun use as well.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests;
