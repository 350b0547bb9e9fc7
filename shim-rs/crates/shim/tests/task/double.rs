// SPDX-License-Identifier: Apache-2.0
//! The pid that the engine gets is the container's: its files, its name, its signals, its end.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::json;

use crate::fake_machine::containerd::Shim;
use crate::fake_machine::machine::signal;
use crate::fake_machine::process::Exec;
use crate::fake_machine::soon;

fn root_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root"))
}

fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap().to_owned();
    line.split_once(':').unwrap().1.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_root_is_the_containers_from_the_first_moment() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("sleep 1000");
    symlink("/../../../../../../../tmp", bundle.inside("/away")).unwrap();
    let process = shim.create(&bundle).await;
    let root = root_of(process.pid);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&root), inode(&bundle.inside("/")));
    assert_eq!(inode(&root.join("etc/hosts")), inode(&bundle.directory.join("hosts")));
    assert!(!root.join("etc/shadow").exists());
    // A link is the container's to follow, and ends in its root whoever follows it by way of a process there.
    assert_eq!(fs::read_link(root.join("away")).unwrap(), Path::new("/../../../../../../../tmp"));
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid)).unwrap();
    let points: Vec<_> = mounts.lines().map(|line| line.split(' ').nth(4).unwrap()).collect();
    assert_eq!(points.iter().filter(|point| **point == "/").count(), 1, "{mounts}");
    for line in mounts.lines() {
        let options = line.split(' ').nth(5).unwrap();
        for wanted in ["nosuid", "nodev", "noexec"] {
            assert!(options.split(',').any(|option| option == wanted), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_named_numbered_and_alone_as_the_first_process_is_and_can_do_nothing() {
    let shim = Shim::start().await;
    let mut bundle = shim.bundle("c").args(&["/bin/sh", "-c", "sleep 1000; :"]);
    bundle.spec["process"]["user"] = json!({ "uid": 1234, "gid": 4321, "additionalGids": [0, 6] });
    bundle.spec["process"]["oomScoreAdj"] = json!(321);
    let process = shim.run(&bundle).await;
    let pid = process.pid;
    assert_eq!(status(pid, "Name"), "sh");
    assert_eq!(fs::read(format!("/proc/{pid}/cmdline")).unwrap(), b"/bin/sh\0-c\0sleep 1000; :\0");
    assert_eq!(status(pid, "Uid").split('\t').collect::<Vec<_>>(), ["1234"; 4]);
    assert_eq!(status(pid, "Gid").split('\t').collect::<Vec<_>>(), ["4321"; 4]);
    assert_eq!(status(pid, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (status(pid, "NoNewPrivs"), status(pid, "Seccomp"), status(pid, "Threads")),
        ("1".into(), "2".into(), "1".into())
    );
    assert_eq!(status(pid, "NSpid").split('\t').next_back(), Some("1"));
    let ours = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    let its = |kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    for kind in ["mnt", "net", "pid", "uts", "ipc"] {
        assert_ne!(its(kind), ours(kind), "{kind}");
    }
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(open <= 5, "standard streams, the socket and its signals, not {open}");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "321");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_user_has_no_capability_either() {
    let shim = Shim::start().await;
    let process = shim.run(&shim.bundle("c").shell("sleep 1000")).await;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(process.pid, set), "0000000000000000", "{set}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_to_it_reaches_the_first_process() {
    let shim = Shim::start().await;
    let line = "trap 'echo hup; exit 7' HUP; echo ready; while :; do sleep 0.02; done";
    let process = shim.create(&shim.bundle("c").shell(line).nobody_reads()).await;
    let mut listener = process.listen();
    process.start().await;
    listener.until("ready\n").await;
    signal(process.pid, Signal::HUP);
    assert_eq!(process.wait().await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_it_stops_nothing_else() {
    let shim = Shim::start().await;
    let line = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.02; done";
    let process = shim.create(&shim.bundle("c").shell(line).nobody_reads()).await;
    let mut listener = process.listen();
    process.start().await;
    listener.until("ready\n").await;
    signal(process.pid, Signal::STOP);
    assert_eq!(process.exec("e", &Exec::args(&["true"])).await.wait().await, 0);
    signal(process.pid, Signal::USR1);
    signal(process.pid, Signal::CONT);
    assert_eq!(process.wait().await, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_it_ends_the_container_with_137() {
    let shim = Shim::start().await;
    let process = shim.run(&shim.bundle("c").shell("sleep 1000")).await;
    signal(process.pid, Signal::KILL);
    assert_eq!(process.wait().await, 137);
    process.delete().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_it_before_the_start_ends_the_container_too() {
    let shim = Shim::start().await;
    let process = shim.create(&shim.bundle("c").shell("sleep 1000")).await;
    signal(process.pid, Signal::KILL);
    assert_eq!(process.wait().await, 137);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_container() {
    let shim = Shim::start().await;
    let process = shim.run(&shim.bundle("c").shell("exit 3")).await;
    assert_eq!(process.wait().await, 3);
    process.delete().await;
    soon("the double's end", async {
        while Path::new(&format!("/proc/{}/root/etc", process.pid)).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
}
