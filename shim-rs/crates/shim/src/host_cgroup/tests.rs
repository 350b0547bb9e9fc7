// SPDX-License-Identifier: Apache-2.0

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

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
        let everywhere = |below: &str| self.host.directories(|_| Path::new(&self.parent).join(below));
        // A test that failed may have left a process.
        members::kill(&everywhere("deep/leaf"));
        for directory in ["deep/leaf", "deep", ""].into_iter().flat_map(everywhere) {
            directory.remove(Instant::now() + members::ENDING).unwrap();
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

    remember_origin().unwrap();
    HostCgroup::leave(sleeper.0.id()).unwrap();
    assert_eq!(place_of(sleeper.0.id()), place_of(std::process::id()));
    real.cgroup.remove().unwrap();
    real.cgroup.remove().unwrap();
    assert_eq!(real.leaves(), 0);
}

fn place_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

/// A process with a child, both waiting, in the cgroup.
fn family(cgroup: &HostCgroup) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read go; sleep 60 & echo; wait"]);
    let mut parent = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cgroup.join(parent.id()).unwrap();
    parent.stdin.take().unwrap().write_all(b"go\n").unwrap();
    parent.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    parent
}

#[test]
fn whoever_is_left_in_a_cgroup_is_killed_with_it() {
    let mut real = Real::new("kill");
    real.cgroup.create().unwrap();
    let mut parent = family(&real.cgroup);
    real.cgroup.remove().unwrap();
    assert_eq!(parent.wait().unwrap().signal(), Some(9));
    assert_eq!(real.leaves(), 0);

    // As on a host without cgroup v2, or with a kernel that does not kill cgroups.
    real.cgroup.directories.retain(|directory| directory.kind != directory::Kind::Unified);
    if real.cgroup.directories.is_empty() {
        eprintln!("skipped: this host has no cgroup v1");
        return;
    }
    real.cgroup.create().unwrap();
    let mut parent = family(&real.cgroup);
    real.cgroup.remove().unwrap();
    assert_eq!(parent.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_killed_process_that_takes_seconds_to_end_leaves_no_cgroup() {
    let real = Real::new("slow");
    real.cgroup.create().unwrap();
    let states = real.cgroup.directories.iter().map(|directory| directory.full().join("freezer.state"));
    let Some(state) = states.into_iter().find(|state| state.exists()) else {
        eprintln!("skipped: this host has no freezer of cgroup v1, in which nobody dies");
        return;
    };
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    real.cgroup.join(sleeper.id()).unwrap();
    fs::write(&state, "FROZEN").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(3 * members::ENDING);
            fs::write(&state, "THAWED").unwrap();
        });
        real.cgroup.remove().unwrap();
    });
    assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    assert_eq!(real.leaves(), 0);
}

#[test]
fn a_cgroup_that_others_were_in_before_is_left_to_them() {
    let real = Real::new("others");
    real.cgroup.create().unwrap();
    let mut sleeper = Sleeper(Command::new("sleep").arg("60").spawn().unwrap());
    real.cgroup.join(sleeper.0.id()).unwrap();
    let path = Path::new("/").join(&real.parent).join("deep/leaf");
    let again = HostCgroup::plan(path.to_str(), &real.host).unwrap();
    again.create().unwrap();
    assert!(matches!(again.remove(), Err(CgroupError::Busy { .. })));
    assert!(sleeper.0.try_wait().unwrap().is_none(), "it was killed");
    drop(sleeper);
    real.cgroup.remove().unwrap();
}

/// Set in the process of the test below.
const INSIDE: &str = "BOXLITE_TEST_INSIDE";

#[test]
fn a_process_that_was_moved_finds_back_and_has_others_born_there() {
    let (engine, real) = (Real::new("engine"), Real::new("own"));
    engine.cgroup.create().unwrap();
    real.cgroup.create().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host_cgroup::tests::finds_back", "--ignored"])
        .env(INSIDE, serde_json::to_string(&(&engine.cgroup, &real.cgroup)).unwrap())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(real.leaves(), 0);
}

#[test]
#[ignore = "is started by the test above, in a process of its own"]
fn finds_back() {
    let Ok(cgroup) = std::env::var(INSIDE) else { return };
    let (engine, cgroup): (HostCgroup, HostCgroup) = serde_json::from_str(&cgroup).unwrap();
    engine.join(std::process::id()).unwrap();
    remember_origin().unwrap();
    let origin = place_of(std::process::id());
    cgroup.join(std::process::id()).unwrap();
    let inside = place_of(std::process::id());
    let place_of_a_child = |outside: bool| {
        let mut cat = Command::new("cat");
        if outside {
            start_outside(&mut cat).unwrap();
        }
        String::from_utf8(cat.arg("/proc/self/cgroup").output().unwrap().stdout).unwrap()
    };
    assert_eq!(place_of_a_child(false), inside);
    assert_eq!(place_of_a_child(true), origin);
    HostCgroup::leave(std::process::id()).unwrap();
    assert_eq!(place_of(std::process::id()), origin);
    cgroup.remove().unwrap();
}

#[test]
fn who_removes_the_cgroup_it_is_in_lives_and_is_told() {
    let real = Real::new("own");
    real.cgroup.create().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host_cgroup::tests::removes_its_own_cgroup", "--ignored"])
        .env(INSIDE, serde_json::to_string(&real.cgroup).unwrap())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(real.leaves(), 0);
}

#[test]
#[ignore = "is started by the test above, in a process of its own"]
fn removes_its_own_cgroup() {
    let Ok(cgroup) = std::env::var(INSIDE) else { return };
    let cgroup: HostCgroup = serde_json::from_str(&cgroup).unwrap();
    remember_origin().unwrap();
    cgroup.join(std::process::id()).unwrap();
    let mut left = Command::new("sleep").arg("60").spawn().unwrap();
    assert!(matches!(cgroup.remove(), Err(CgroupError::Busy { .. })));
    assert_eq!(left.wait().unwrap().signal(), Some(9));
    HostCgroup::leave(std::process::id()).unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn a_process_whose_origin_is_gone_is_taken_where_process_1_is() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host_cgroup::tests::loses_its_origin", "--ignored"])
        .env(INSIDE, format!("/boxlite-test-lost-{}", std::process::id()))
        .status();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "is started by the test above, in a process of its own"]
fn loses_its_origin() {
    let Ok(path) = std::env::var(INSIDE) else { return };
    let host = CgroupHost::detect().unwrap();
    let [first, second] =
        ["a", "b"].map(|name| HostCgroup::plan(Some(&format!("{path}-{name}")), &host).unwrap());
    for cgroup in [&first, &second] {
        cgroup.create().unwrap();
        cgroup.join(std::process::id()).unwrap();
        remember_origin().unwrap();
    }
    first.remove().unwrap();
    let mut cat = Command::new("cat");
    start_outside(&mut cat).unwrap();
    let born = cat.arg("/proc/self/cgroup").output().unwrap().stdout;
    assert_eq!(String::from_utf8(born).unwrap(), place_of(1));
    HostCgroup::leave(std::process::id()).unwrap();
    assert_eq!(place_of(std::process::id()), place_of(1));
    second.remove().unwrap();
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
