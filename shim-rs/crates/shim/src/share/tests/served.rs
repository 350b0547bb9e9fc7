// SPDX-License-Identifier: Apache-2.0
//! A share and its daemon.

use boxlite_vmm::VmmError;

use super::*;

fn daemon(scratch: &Scratch) -> VirtiofsdConfig {
    VirtiofsdConfig {
        binary: "/usr/libexec/virtiofsd".into(),
        directory: PathBuf::new(),
        socket_directory: scratch.root.path().to_owned(),
    }
}

/// What the daemon has as its root, through `/proc`.
fn root_of(process: &Process) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", process.pid()))
}

/// Waits until the daemon has made the share its root. It tells nobody, so this looks, with a deadline.
async fn served(process: &Process, name: &str) {
    let looking = async {
        while !root_of(process).join(name).exists() || roots(process) != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), looking)
        .await
        .expect("the daemon took its root");
}

/// Mounts on `/` in the process's namespace: two while the old root lies under or over the new one.
fn roots(process: &Process) -> usize {
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid())).unwrap_or_default();
    mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count()
}

#[tokio::test]
async fn a_served_share_is_all_its_daemon_can_reach_and_goes_with_it() {
    let scratch = Scratch::new();
    let before = host_mounts();
    let open = open(&scratch.share(), &[scratch.bind("source", "c/rootfs")], &daemon(&scratch), || ())
        .expect("open");
    served(&open.process, "c/rootfs/file").await;
    assert_eq!(host_mounts(), before);
    assert!(!root_of(&open.process).join("etc").exists());
    // Its name was gone before the daemon started.
    assert!(fs::read_dir(scratch.root.path()).expect("scratch").flatten().all(|entry| entry.path().is_dir()));

    add(&open.process, &scratch.share(), &[scratch.bind("lower1", "d/rootfs")]).expect("added");
    assert!(root_of(&open.process).join("d/rootfs/one").exists());
    assert!(fs::write(root_of(&open.process).join("d/stray"), "x").is_err());
    remove(&open.process, &["d/rootfs"]).expect("removed");
    assert!(!root_of(&open.process).join("d").exists());
    assert!(scratch.path("lower1/one").exists());
    assert!(remove(&open.process, &["d/rootfs"]).is_err());

    drop(open.socket);
    open.process.exited().await;
    assert_eq!(host_mounts(), before);
}

#[tokio::test]
async fn a_share_that_is_not_served_is_left_alone() {
    let scratch = Scratch::new();
    // A process whose root is the host's, as the daemon's is at first.
    let mut command = Command::new("sleep");
    command.arg("60");
    let process = Process::spawn(command).expect("spawned");
    let refused =
        add(&process, &scratch.share(), &[scratch.bind("lower1", "stray/rootfs")]).expect_err("refused");
    assert!(matches!(refused, ShareError::Host { action: "enter the share", .. }), "{refused}");
    assert!(!Path::new("/stray").exists());
}

#[tokio::test]
async fn a_missing_daemon_leaves_nothing() {
    let scratch = Scratch::new();
    let missing = VirtiofsdConfig { binary: "/nowhere/virtiofsd".into(), ..daemon(&scratch) };
    let refused =
        open(&scratch.share(), &[scratch.bind("source", "c")], &missing, || ()).expect_err("refused");
    assert!(matches!(refused, ShareError::Server(VmmError::ProgramMissing { .. })));
    assert_eq!(fs::read_dir(scratch.share()).expect("share").count(), 0);
}
