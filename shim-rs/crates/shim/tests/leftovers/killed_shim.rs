// SPDX-License-Identifier: Apache-2.0
//! A shim that is killed, and the `delete` action that comes after it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use boxlite_protocol::protobuf::Message;
use boxlite_shim::host_cgroup::{CgroupHost, HostCgroup};
use boxlite_shim::sandbox::record::{Record, Undo, point_to};
use containerd_shim_protos::api::DeleteResponse;
use rustix::process::{Pid, Signal, WaitIdOptions};

use crate::census::{alone, cgroup_parent};
use crate::fake_machine::containerd::Shim;
use crate::fake_machine::machine::signal;

/// Set in the process that is to be killed: the cgroup's parent of the test that kills it.
const HOLD: &str = "BOXLITE_TEST_HOLD";
/// containerd's patience with `delete`.
const PATIENCE: Duration = Duration::from_secs(5);

fn delete(bundle: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_containerd-shim-boxlite-v1"));
    command.args(["-namespace", "test", "-address", "/nowhere/containerd.sock", "-id", "c", "delete"]);
    command.current_dir(bundle).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn delete_after_a_killed_shim_leaves_nothing_of_a_guest_that_hangs() {
    alone(async {
        let scratch = tempfile::Builder::new().prefix("boxlite-test-").tempdir().unwrap();
        // What the killed shim leaves comes to this process, which can see it end.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let mut shim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_shim::holds_a_task", "--ignored", "--nocapture"])
            .env(HOLD, cgroup_parent())
            .env("TMPDIR", scratch.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(shim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let held =
            lines.find_map(|line| line.split_once("holding ").map(|(_, rest)| rest.to_owned())).unwrap();
        let [double, machine, bundle] = held.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let [double, machine]: [u32; 2] = [double, machine].map(|pid| pid.parse().unwrap());
        let bundle = std::path::PathBuf::from(bundle);
        let run = std::fs::read_link(bundle.join("boxlite-run")).expect("the bundle says where to look");
        assert!(run.join("record.json").exists());

        // Like QEMU, it does not notice that the shim is gone.
        signal(machine, Signal::STOP);
        shim.kill().unwrap();
        shim.wait().unwrap();
        let began = Instant::now();
        let output = delete(&bundle);
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        let response = DeleteResponse::parse_from_bytes(&output.stdout).unwrap();
        assert_eq!((response.exit_status, response.pid), (137, double));
        assert!(response.exited_at.seconds > 0);
        assert!(!run.exists());
        let machine = Pid::from_raw(machine.try_into().unwrap()).unwrap();
        let ended = rustix::process::waitid(
            rustix::process::WaitId::Pid(machine),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        assert!(ended.unwrap().is_some(), "the machine lives");

        // Asked again, it has nothing to do and says the same.
        let output = delete(&bundle);
        assert!(output.status.success());
        let again = DeleteResponse::parse_from_bytes(&output.stdout).unwrap();
        assert_eq!(again.exit_status, 137);
    });
}

#[test]
fn delete_ends_what_was_started_and_not_yet_written_down() {
    alone(async {
        let scratch = tempfile::Builder::new().prefix("boxlite-test-").tempdir().unwrap();
        let run = scratch.path().join("run/test/c");
        let path = format!("{}/c", cgroup_parent());
        let cgroup = HostCgroup::plan(Some(&path), &CgroupHost::detect().unwrap()).unwrap();
        let mut record = Record::create(run.clone()).unwrap();
        record.push(Undo::Cgroup(cgroup.clone())).unwrap();
        point_to(scratch.path(), &run).unwrap();
        cgroup.create().unwrap();
        // Here the shim was killed.
        let mut machine = Command::new("sleep").arg("1000").spawn().unwrap();
        cgroup.join(machine.id()).unwrap();

        let began = Instant::now();
        let output = delete(scratch.path());
        let ended = machine.try_wait().unwrap();
        machine.kill().unwrap();
        machine.wait().unwrap();
        assert!(ended.is_some(), "the machine lives");
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(!run.exists());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started, and killed, by the test above"]
async fn holds_a_task() {
    let Ok(parent) = std::env::var(HOLD) else { return };
    let shim = Shim::start().await;
    let mut bundle = shim.bundle("c").nobody_reads().args(&["sleep", "1000"]);
    bundle.spec["linux"]["cgroupsPath"] = serde_json::json!(format!("{parent}/c"));
    let container = shim.run(&bundle).await;
    println!("holding {} {} {}", container.pid, shim.host.machine_pid(), bundle.directory.display());
    std::future::pending::<()>().await;
}

#[test]
fn delete_of_what_was_never_made_answers_too() {
    // It is a child of this process, which others count.
    alone(async {
        let bundle = tempfile::tempdir().unwrap();
        let output = delete(bundle.path());
        assert!(output.status.success());
        let response = DeleteResponse::parse_from_bytes(&output.stdout).unwrap();
        assert_eq!((response.exit_status, response.pid), (137, 0));
    });
}
