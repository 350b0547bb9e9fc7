// SPDX-License-Identifier: Apache-2.0
//! One container's cgroup: a directory of files.
//!
//! Owns making, filling, killing and removing it. Which files get which values is the host's decision.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use boxlite_protocol::plan::CgroupFile;
use rustix::fs::{Mode, OFlags};

use crate::error::{Fault, Trying};
use crate::sys;

/// What a host is told about a container's use of the machine.
const STATISTICS: [&str; 16] = [
    "cpu.stat",
    "memory.current",
    "memory.max",
    "memory.stat",
    "memory.events",
    "memory.peak",
    "memory.swap.current",
    "memory.swap.max",
    "pids.current",
    "pids.max",
    "io.stat",
    "cgroup.events",
    "cpu.pressure",
    "memory.pressure",
    "io.pressure",
    "cpu.max",
];

/// A container's cgroup.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
}

impl Cgroup {
    /// Makes it, with what the kernel puts in.
    pub(crate) fn create(parent: &Path, name: &str) -> Result<Self, Fault> {
        let path = parent.join(name);
        fs::create_dir(&path).trying(|| format!("create cgroup {name}"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(directory) => Ok(Self { path, directory }),
            Err(error) => {
                // An empty directory is harmless and goes with the machine.
                let _ = fs::remove_dir(&path);
                Err(Fault::system(&format!("open cgroup {name}"), error))
            }
        }
    }

    /// Has a device program decide for it.
    pub(crate) fn attach(&self, program: BorrowedFd<'_>) -> Result<(), Fault> {
        sys::attach_device_program(self.directory.as_fd(), program)
            .trying(|| "attach device program".to_owned())
    }

    /// Writes files in order.
    pub(crate) fn write(&self, files: &[CgroupFile]) -> Result<(), Fault> {
        for file in files {
            if file.name.contains('/') || file.name.starts_with('.') {
                return Err(Fault::refused(format!("cgroup file {:?}: not a name", file.name)));
            }
            self.write_file(&file.name, &file.value)
                .trying(|| format!("write {:?} to {}", file.value, file.name))?;
        }
        Ok(())
    }

    /// A cgroup file takes one value by one write; opening it must not create one.
    fn write_file(&self, name: &str, value: &str) -> io::Result<()> {
        fs::OpenOptions::new().write(true).open(self.path.join(name))?.write_all(value.as_bytes())
    }

    /// For clone3 to start a process in it.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// The cgroup a process of the container is in: this one, or one that the container made below it.
    pub(crate) fn place_of(&self, pid: i32) -> Result<OwnedFd, Fault> {
        let what = || format!("find the cgroup of process {pid}");
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).trying(what)?;
        let below = below(&text, name)
            .ok_or_else(|| Fault::refused(format!("{}: not in the container's", what())))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, below, flags, Mode::empty()).trying(what)
    }

    /// Where memory events are counted, for a watch.
    pub(crate) fn memory_events(&self) -> PathBuf {
        self.path.join("memory.events")
    }

    /// How many processes the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        oom_kills(&self.memory_events())
    }

    /// Its own files, those that exist.
    pub(crate) fn statistics(&self) -> Vec<CgroupFile> {
        let read = |name: &str| {
            // A controller that is not there has no file.
            let value = fs::read_to_string(self.path.join(name)).ok()?;
            Some(CgroupFile { name: name.to_owned(), value, ..CgroupFile::default() })
        };
        STATISTICS.iter().filter_map(|name| read(name)).collect()
    }

    /// Ends every process in it and below.
    pub(crate) fn kill(&self) -> Result<(), Fault> {
        self.write_file("cgroup.kill", "1").trying(|| "write cgroup.kill".to_owned())
    }

    /// Pids of every process in it and below, in the agent's namespace.
    pub(crate) fn members(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        collect(&self.path, &mut pids);
        pids
    }

    /// Whether a process is in it or below.
    pub(crate) fn populated(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events")).is_ok_and(|text| count(&text, "populated") != 0)
    }

    /// Where changes of [`Cgroup::populated`] can be watched.
    pub(crate) fn events(&self) -> PathBuf {
        self.path.join("cgroup.events")
    }

    /// Removes it, and what the container made below it. It must hold no process.
    pub(crate) fn remove(&self) -> Result<(), Fault> {
        remove_tree(&self.path).trying(|| "remove cgroup".to_owned())
    }
}

/// How many processes a memory.events file counts as killed.
pub(crate) fn oom_kills(file: &Path) -> u64 {
    // Without the memory controller there is no such file, and no such kill.
    fs::read_to_string(file).map_or(0, |text| count(&text, "oom_kill"))
}

fn count(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or(0)
}

/// What follows the cgroup called `name` in a /proc/PID/cgroup; `None` for a process that is elsewhere.
fn below(text: &str, name: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut parts = path.split('/').skip_while(|part| *part != name);
    parts.next()?;
    let mut below = PathBuf::from(".");
    for part in parts {
        if matches!(part, "" | "." | "..") {
            return None;
        }
        below.push(part);
    }
    Some(below)
}

fn directories(path: &Path) -> impl Iterator<Item = PathBuf> {
    // One that vanished while looked at holds nothing.
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

fn collect(path: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process outside of this namespace, which a container's cannot be.
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    directories(path).for_each(|child| collect(&child, pids));
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for child in directories(path) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(count(text, "oom_kill"), 2);
        assert_eq!(count(text, "oom"), 3);
        assert_eq!(count(text, "absent"), 0);
    }

    #[test]
    fn place_of_a_process_is_told_from_the_containers_cgroup_on() {
        let found = |text: &str| below(text, "c").map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(found("0::/c\n").as_deref(), Some("."));
        assert_eq!(found("1:name=systemd:/x\n0::/c/init.scope/c\n").as_deref(), Some("./init.scope/c"));
        assert_eq!(found("0::/outer/c/a b\n").as_deref(), Some("./a b"));
        for elsewhere in ["0::/\n", "0::/cc\n", "0::/../d\n", "0::/c/../d\n", "4:memory:/c\n", ""] {
            assert_eq!(found(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn missing_controller_file_is_named_and_not_made() {
        let parent = tempfile::tempdir().unwrap();
        let file = CgroupFile { name: "memory.max".into(), value: "1".into(), ..CgroupFile::default() };
        let cgroup = Cgroup::create(parent.path(), "c").unwrap();
        let fault = cgroup.write(&[file]).unwrap_err();
        assert_eq!(fault.message, "write \"1\" to memory.max: no such file or directory");
        assert_eq!(fs::read_dir(parent.path().join("c")).unwrap().count(), 0);
    }

    #[test]
    fn file_name_cannot_leave_the_cgroup() {
        let parent = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::create(parent.path(), "c").unwrap();
        let file = CgroupFile { name: "../x".into(), ..CgroupFile::default() };
        assert!(cgroup.write(&[file]).is_err());
    }
}
