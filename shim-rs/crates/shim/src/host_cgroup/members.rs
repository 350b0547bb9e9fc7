// SPDX-License-Identifier: Apache-2.0
//! The processes that are in a cgroup, and their end.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use boxlite_linux::process::{self, ended_within};
use rustix::process::Pid;

use super::directory::Directory;

/// How long killed processes may take to leave a cgroup before it is tried without them.
pub(super) const ENDING: Duration = Duration::from_secs(1);

/// How long the removal then waits for them. What is left of a cgroup is left for good, and a host that is busy takes
/// seconds to give back the memory of a machine.
pub(super) const LEAVING: Duration = Duration::from_secs(10);

/// Kills whoever is in these cgroups but the calling process, until nobody is, or for as long as [`ENDING`]. Who stays
/// keeps the cgroup from being removed, which tells of it.
pub(super) fn kill(directories: &[Directory]) {
    let deadline = Instant::now() + ENDING;
    let once = || directories.iter().flat_map(|directory| kill_once(&directory.full())).collect::<Vec<_>>();
    let mut ending = once();
    while !ending.is_empty() && Instant::now() < deadline {
        tracing::debug!(processes = ending.len(), "killed what was left in the container's cgroup");
        wait(&ending, deadline);
        // Who forked while others were killed has left somebody.
        ending = once();
    }
}

/// Sends SIGKILL to the members of one cgroup; who they were.
fn kill_once(path: &Path) -> Vec<OwnedFd> {
    let own = rustix::process::getpid();
    let members = pids(path);
    let opened = members.iter().filter(|pid| **pid != own).filter_map(open);
    // A dead one is a member for a moment longer.
    let opened: Vec<_> = opened.filter(|(_, pidfd)| !wait_one(pidfd, Duration::ZERO)).collect();
    if opened.is_empty() {
        return Vec::new();
    }
    // cgroup v2 does it at once, also to who forks meanwhile; v1 and kernels before 5.14 do not have the file.
    if !members.contains(&own) && fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return opened.into_iter().map(|(_, pidfd)| pidfd).collect();
    }
    // A number may have changed hands before its descriptor was opened. Whoever has it is a member now, or is spared.
    let members = pids(path);
    let killed = opened.into_iter().filter(|(pid, _)| members.contains(pid)).map(|(_, pidfd)| pidfd);
    killed.inspect(send_kill).collect()
}

fn open(pid: &Pid) -> Option<(Pid, OwnedFd)> {
    // Fails for one that has ended.
    process::open(*pid).ok().map(|pidfd| (*pid, pidfd))
}

fn send_kill(pidfd: &OwnedFd) {
    if let Err(error) = process::kill(pidfd) {
        tracing::warn!(%error, "a member of the container's cgroup cannot be killed");
    }
}

/// Waits until the processes in the cgroup have ended, or until the deadline; false when there were none.
pub(super) fn wait_for(path: &Path, deadline: Instant) -> bool {
    let ending: Vec<_> = pids(path).iter().filter_map(open).map(|(_, pidfd)| pidfd).collect();
    wait(&ending, deadline);
    !ending.is_empty()
}

fn wait(ending: &[OwnedFd], deadline: Instant) {
    for pidfd in ending {
        wait_one(pidfd, deadline.saturating_duration_since(Instant::now()));
    }
}

/// True if the process has ended within that time.
fn wait_one(pidfd: &OwnedFd, left: Duration) -> bool {
    ended_within(pidfd, left).unwrap_or_else(|error| {
        tracing::debug!(%error, "a member of the cgroup cannot be waited for");
        false
    })
}

/// Whether the calling process is in one of these cgroups.
pub(super) fn own(directories: &[Directory]) -> bool {
    let own = rustix::process::getpid();
    directories.iter().any(|directory| pids(&directory.full()).contains(&own))
}

/// Those that this process can see; none of a cgroup that is gone.
fn pids(path: &Path) -> Vec<Pid> {
    let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    members.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}
