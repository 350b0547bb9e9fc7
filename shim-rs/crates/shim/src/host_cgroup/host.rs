// SPDX-License-Identifier: Apache-2.0
//! Which cgroup hierarchies the host has: v1, v2 ("unified") or both ("hybrid"). Reading is apart from understanding.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::CgroupError;
use super::directory::{Directory, Kind};

/// Exists where systemd is process 1; sd_booted(3).
const SYSTEMD: &str = "/run/systemd/system";

/// The hierarchies mounted, and where a process is in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupHost {
    hierarchies: Vec<Hierarchy>,
    pub(super) systemd: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    kind: Kind,
    mount: PathBuf,
    /// The process' cgroup, below the mount.
    own: PathBuf,
}

impl CgroupHost {
    /// This host, with the calling process' place.
    pub fn detect() -> Result<Self, CgroupError> {
        Self::of_process(std::process::id())
    }

    /// This host, with the place of process `pid`.
    pub(super) fn of_process(pid: u32) -> Result<Self, CgroupError> {
        Self::of_places(&read(Path::new(&format!("/proc/{pid}/cgroup")))?)
    }

    /// This host, with the place that is written as in /proc/PID/cgroup.
    pub(super) fn of_places(places: &str) -> Result<Self, CgroupError> {
        let mounts = read(Path::new("/proc/self/mountinfo"))?;
        Ok(Self::parse(&mounts, places, Path::new(SYSTEMD).is_dir()))
    }

    /// From the text of /proc/self/mountinfo and /proc/PID/cgroup (proc_pid_mountinfo(5), cgroups(7)).
    ///
    /// A hierarchy mounted twice counts once, where it was mounted first. Lines that are not as documented are left out.
    #[must_use]
    pub fn parse(mountinfo: &str, places: &str, systemd: bool) -> Self {
        let mut hierarchies: Vec<(Vec<&str>, Hierarchy)> = Vec::new();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            let Some((names, place)) = places.lines().find_map(|line| mount.place(line)) else { continue };
            if hierarchies.iter().any(|(known, _)| *known == names) {
                continue;
            }
            let kind = match names.as_slice() {
                [] => Kind::Unified,
                names if names.contains(&"cpu") => Kind::Cpu,
                names if names.contains(&"cpuset") => Kind::Cpuset,
                _ => Kind::Other,
            };
            // A bind mount, or a container's view: the mount shows a part of the hierarchy.
            let own =
                Path::new(place).strip_prefix(&mount.root).or_else(|_| Path::new(place).strip_prefix("/"));
            let own = own.unwrap_or_else(|_| Path::new("")).to_owned();
            hierarchies.push((names, Hierarchy { kind, mount: mount.point, own }));
        }
        Self { hierarchies: hierarchies.into_iter().map(|(_, hierarchy)| hierarchy).collect(), systemd }
    }

    /// Moves another process to the place this was read for.
    pub fn take(&self, pid: u32) -> Result<(), CgroupError> {
        self.directories(Path::to_owned).iter().try_for_each(|directory| directory.take(pid))
    }

    /// A cgroup in every hierarchy; `path` makes it from the process' own place there.
    pub(super) fn directories(&self, path: impl Fn(&Path) -> PathBuf) -> Vec<Directory> {
        let directory = |hierarchy: &Hierarchy| Directory {
            kind: hierarchy.kind,
            mount: hierarchy.mount.clone(),
            path: path(&hierarchy.own),
        };
        self.hierarchies.iter().map(directory).collect()
    }
}

fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::Host { path: path.into(), source })
}

/// A line of mountinfo that mounts cgroups.
struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    /// Of the hierarchy, among them v1's controllers; none for v2.
    options: Option<Vec<&'a str>>,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let mut fields = after.split(' ');
        let options = match fields.next()? {
            "cgroup2" => None,
            "cgroup" => Some(fields.nth(1)?.split(',').collect()),
            _ => return None,
        };
        Some(Self { root, point, options })
    }

    /// Reads `ID:CONTROLLERS:PATH` if it is about this mount's hierarchy: its controllers' names and the path.
    fn place<'b>(&self, line: &'b str) -> Option<(Vec<&'b str>, &'b str)> {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let names: Vec<_> = names.split(',').filter(|name| !name.is_empty()).collect();
        let same = match &self.options {
            None => names.is_empty(),
            Some(options) => !names.is_empty() && names.iter().all(|name| options.contains(name)),
        };
        same.then_some((names, path))
    }
}

/// mountinfo writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let code =
            others.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(host: &CgroupHost) -> Vec<String> {
        let line = |h: &Hierarchy| format!("{:?} {} own={}", h.kind, h.mount.display(), h.own.display());
        host.hierarchies.iter().map(line).collect()
    }

    #[test]
    fn v1_with_controllers_mounted_together() {
        let mounts = "\
24 18 0:20 / /sys rw - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,clone_children
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 30 0:28 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct
";
        let places = "4:memory:/system.slice/containerd.service\n3:cpuset:/\n2:cpu,cpuacct:/system.slice/containerd.service\n1:name=systemd:/x:y\n";
        assert_eq!(
            shown(&CgroupHost::parse(mounts, places, true)),
            [
                "Other /sys/fs/cgroup/systemd own=x:y",
                "Cpu /sys/fs/cgroup/cpu,cpuacct own=system.slice/containerd.service",
                "Cpuset /sys/fs/cgroup/cpuset own=",
                "Other /sys/fs/cgroup/memory own=system.slice/containerd.service",
            ]
        );
    }

    #[test]
    fn hybrid_has_the_unified_hierarchy_beside_the_others() {
        let mounts = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
        assert_eq!(
            shown(&CgroupHost::parse(mounts, "2:cpuacct:/a\n1:cpu:/\n0::/b\n", false)),
            [
                "Cpu /sys/fs/cgroup/cpu own=",
                "Other /sys/fs/cgroup/cpuacct own=a",
                "Unified /sys/fs/cgroup/unified own=b"
            ]
        );
    }

    #[test]
    fn v2_alone_also_in_a_container_that_sees_a_part_of_it() {
        let mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        let host = CgroupHost::parse(mounts, "0::/system.slice/docker.service\n", true);
        assert_eq!(shown(&host), ["Unified /sys/fs/cgroup own=system.slice/docker.service"]);

        let mounts = "29 23 0:26 /docker/c1 /sys/fs/cgroup\\040here rw - cgroup2 cgroup rw\n";
        let host = CgroupHost::parse(mounts, "0::/docker/c1/init\n", false);
        assert_eq!(shown(&host), ["Unified /sys/fs/cgroup here own=init"]);
    }

    #[test]
    fn strange_lines_are_left_out() {
        for mounts in ["", "\n\n", "1 2 3 - cgroup\n", " - cgroup2 \n", "29 23 0:26 / /x rw - cgroup\n"] {
            assert_eq!(
                shown(&CgroupHost::parse(mounts, "0::/\n1:cpu:/\n::\nx\n", false)),
                [""; 0],
                "{mounts:?}"
            );
        }
    }
}
