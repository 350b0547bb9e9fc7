// SPDX-License-Identifier: Apache-2.0

use std::fs;
use std::process::{Child, Command};

use super::*;

const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

fn v2(systemd: bool) -> CgroupHost {
    CgroupHost::parse(V2, "0::/system.slice/containerd.service\n", systemd)
}

fn planned(path: &str, systemd: bool) -> Vec<String> {
    let cgroup = HostCgroup::plan(Some(path), &v2(systemd)).unwrap();
    cgroup.directories.iter().map(|directory| directory.path.display().to_string()).collect()
}

#[test]
fn each_notation_of_the_path_has_its_place() {
    assert_eq!(planned("/docker/abc", false), ["docker/abc"]);
    assert_eq!(planned("/kubepods/burstable/pod1/abc", true), ["kubepods/burstable/pod1/abc"]);
    assert_eq!(planned("docker/abc", false), ["system.slice/containerd.service/docker/abc"]);
    assert_eq!(planned("/../../docker/./x/../abc", false), ["docker/abc"]);
    assert_eq!(planned("../../../abc", false), ["system.slice/containerd.service/abc"]);
    assert_eq!(planned("/with:two:colons", false), ["with:two:colons"]);
    assert_eq!(planned("system.slice:docker:abc", false), ["system.slice/docker-abc.scope"]);
    assert_eq!(planned("", false), [""; 0]);
}

#[test]
fn a_scope_is_asked_of_systemd_only_where_it_runs() {
    let scope =
        |systemd| HostCgroup::plan(Some("system.slice:docker:abc"), &v2(systemd)).unwrap().scope.is_some();
    assert!(scope(true) && !scope(false));
    assert!(HostCgroup::plan(Some("/docker/abc"), &v2(true)).unwrap().scope.is_none());
}

#[test]
fn without_a_path_nothing_is_done() {
    let cgroup = HostCgroup::plan(None, &CgroupHost::parse("", "", false)).unwrap();
    cgroup.create().unwrap();
    cgroup.set_cpu_shares(1024).unwrap();
    cgroup.join(std::process::id()).unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn senseless_paths_and_hosts_without_cgroups_are_refused() {
    for path in ["/", "/..", "a\0b", "x:docker:abc"] {
        assert!(matches!(HostCgroup::plan(Some(path), &v2(false)), Err(CgroupError::Path { .. })), "{path}");
    }
    let bare = CgroupHost::parse("", "", false);
    assert!(matches!(HostCgroup::plan(Some("/docker/abc"), &bare), Err(CgroupError::NoHierarchy)));
}

#[test]
fn shares_become_weights_by_the_line_others_use() {
    for (shares, expected) in [(1, 1), (2, 1), (1024, 39), (2048, 79), (262_144, 10_000), (u64::MAX, 10_000)]
    {
        assert_eq!(weight(shares), expected, "{shares}");
    }
}

#[test]
fn what_is_recorded_is_what_is_removed() {
    let cgroup = HostCgroup::plan(Some("system.slice:docker:abc"), &v2(true)).unwrap();
    let text = serde_json::to_string(&cgroup).unwrap();
    assert_eq!(serde_json::from_str::<HostCgroup>(&text).unwrap(), cgroup);
}

/// A process that waits, ended with the test.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A cgroup of this host for one test, by root. The parents are the test's to remove.
struct Real {
    parent: String,
    host: CgroupHost,
    cgroup: HostCgroup,
}

impl Real {
    fn new(test: &str) -> Self {
        let parent = format!("boxlite-test-{test}-{}", std::process::id());
        let host = CgroupHost::detect().unwrap();
        let cgroup = HostCgroup::plan(Some(&format!("/{parent}/deep/leaf")), &host).unwrap();
        Self { parent, host, cgroup }
    }

    fn leaves(&self) -> usize {
        self.cgroup.directories.iter().filter(|leaf| leaf.mount.join(&leaf.path).exists()).count()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for below in ["deep/leaf", "deep", ""] {
            for directory in self.host.directories(|_| Path::new(&self.parent).join(below)) {
                directory.remove().unwrap();
            }
        }
    }
}

#[test]
fn a_real_cgroup_takes_a_process_in_every_hierarchy_and_goes() {
    let real = Real::new("take");
    real.cgroup.create().unwrap();
    real.cgroup.create().unwrap();
    assert_eq!(real.leaves(), real.cgroup.directories.len());
    real.cgroup.set_cpu_shares(512).unwrap();
    let sleeper = Sleeper(Command::new("sleep").arg("60").spawn().unwrap());
    real.cgroup.join(sleeper.0.id()).unwrap();
    let places = fs::read_to_string(format!("/proc/{}/cgroup", sleeper.0.id())).unwrap();
    assert!(places.lines().all(|line| line.ends_with(&format!("/{}/deep/leaf", real.parent))), "{places}");

    assert!(matches!(real.cgroup.remove(), Err(CgroupError::Busy { .. })));
    HostCgroup::leave(sleeper.0.id()).unwrap();
    let of = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(of(sleeper.0.id()), of(1));
    real.cgroup.remove().unwrap();
    real.cgroup.remove().unwrap();
    assert_eq!(real.leaves(), 0);
}

#[test]
fn a_cgroup_that_cannot_be_made_is_named_and_leaves_nothing() {
    let real = Real::new("undo");
    let mut broken = real.cgroup.clone();
    let last = broken.directories.last_mut().unwrap();
    last.path = Path::new("cgroup.procs").join("leaf");
    let expected = last.mount.join("cgroup.procs");
    let error = broken.create().unwrap_err();
    assert!(matches!(&error, CgroupError::Create { path, .. } if *path == expected), "{error:?}");
    let parents = real.host.directories(|_| PathBuf::from(&real.parent));
    assert!(parents.iter().all(|parent| !parent.mount.join(&parent.path).exists()));
}
