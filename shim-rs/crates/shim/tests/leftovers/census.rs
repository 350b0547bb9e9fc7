// SPDX-License-Identifier: Apache-2.0
//! What is there that a task can leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use boxlite_shim::host_cgroup::{CgroupHost, HostCgroup};
use serde_json::json;

use crate::fake_machine::bundle::Bundle;
use crate::fake_machine::containerd::{NAMESPACE, Shim};
use crate::fake_machine::soon;

static ALONE: Mutex<()> = Mutex::new(());

/// Runs a test while no other runs, with a runtime of its own that is gone before the next one begins.
pub(crate) fn alone(test: impl Future<Output = ()>) {
    // A test that failed has been told of; its poison is no reason for others to fail.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _cgroups = Cgroups::enter();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(test);
}

/// Puts this process where an engine is, in a cgroup of its own. At the end, removes that and what the runtime leaves to
/// others, the cgroup above the containers', and what a failed test leaves.
struct Cgroups {
    /// Where this process came from.
    before: CgroupHost,
    engine: HostCgroup,
}

impl Cgroups {
    fn enter() -> Self {
        let before = CgroupHost::detect().unwrap();
        let engine = format!("/boxlite-test-engine-{}", std::process::id());
        let engine = HostCgroup::plan(Some(&engine), &before).unwrap();
        engine.create().unwrap();
        engine.join(std::process::id()).unwrap();
        Self { before, engine }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.before.take(std::process::id()).unwrap();
        self.engine.remove().unwrap();
        let parents = || hierarchies().into_iter().map(|hierarchy| hierarchy.join(&cgroup_parent()[1..]));
        if !parents().any(|parent| parent.exists()) {
            return;
        }
        for parent in parents() {
            for path in entries(&parent).iter().filter(|path| path.is_dir()).chain([&parent]) {
                // A test that failed may have left a process; the failure is its to tell.
                let _ = fs::remove_dir(path);
            }
        }
    }
}

/// A moment, between two looks at what nobody tells the end of.
pub(crate) async fn moment() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// What this process holds and what is on the host by its doing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// Children, dead ones too.
    children: BTreeSet<String>,
    /// Namespaces, taps and files of the tests this process has open.
    open: Vec<String>,
    /// Mount points, of all the host.
    mounts: Vec<String>,
    /// Below `[paths] run`.
    run: BTreeSet<PathBuf>,
    /// Below [`cgroup_parent`], in any hierarchy.
    cgroups: BTreeSet<PathBuf>,
    /// The cgroups this process is in.
    place: String,
}

impl Census {
    pub(crate) fn take(shim: &Shim) -> Self {
        let run = shim.run_path().join(NAMESPACE);
        let parents = hierarchies().into_iter().map(|hierarchy| hierarchy.join(&cgroup_parent()[1..]));
        Self {
            children: children(),
            open: open(shim.scratch.path()),
            mounts: mounts(),
            run: entries(&run),
            cgroups: parents.flat_map(|parent| entries(&parent)).filter(|path| path.is_dir()).collect(),
            place: fs::read_to_string("/proc/self/cgroup").unwrap(),
        }
    }

    pub(crate) fn has_no_cgroup(&self) -> bool {
        self.cgroups.is_empty()
    }

    /// The kernel and the runtime let go of what is closed a moment later than they say; what stays is left behind.
    pub(crate) async fn is_the_same_again(&self, shim: &Shim) {
        let settle = async {
            while Self::take(shim) != *self {
                moment().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), settle).await.is_err() {
            assert_eq!(Self::take(shim), *self, "left is now, right was before");
        }
    }
}

/// For the cgroups of these tests: `linux.cgroupsPath` is below it.
pub(crate) fn cgroup_parent() -> String {
    format!("/boxlite-test-{}", std::process::id())
}

/// Asks for a cgroup on the host.
pub(crate) fn with_cgroup(mut bundle: Bundle) -> Bundle {
    bundle.spec["linux"]["cgroupsPath"] = json!(format!("{}/{}", cgroup_parent(), bundle.id));
    bundle
}

/// Where cgroups are mounted.
fn hierarchies() -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroups = mountinfo.lines().filter(|line| line.contains(" - cgroup"));
    cgroups.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

fn children() -> BTreeSet<String> {
    let ours = std::process::id().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let is_ours = |stat: &String| {
        // The name may hold anything, so count from behind it.
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.split(' ').nth(1) == Some(&*ours))
    };
    stats.filter(is_ours).filter_map(|stat| stat.split(' ').next().map(str::to_owned)).collect()
}

fn open(scratch: &Path) -> Vec<String> {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
    let targets = targets.map(|target| target.display().to_string());
    let telling = |target: &String| {
        target.starts_with("net:")
            || target.starts_with("mnt:")
            || target == "/dev/net/tun"
            || Path::new(target).starts_with(scratch)
    };
    let mut found: Vec<_> = targets.filter(telling).collect();
    found.sort();
    found
}

fn mounts() -> Vec<String> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned);
    points.filter(|point| point.contains("boxlite")).collect()
}

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Waits until no process is in a namespace any more: `link` is what /proc/PID/ns/KIND pointed to.
pub(crate) async fn namespace_is_gone(kind: &str, link: &Path) {
    let inhabited = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let namespaces = processes.filter_map(|entry| fs::read_link(entry.path().join("ns").join(kind)).ok());
        namespaces.into_iter().any(|namespace| namespace == link)
    };
    soon("the end of a namespace", async {
        while inhabited() {
            moment().await;
        }
    })
    .await;
}
