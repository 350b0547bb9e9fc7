// SPDX-License-Identifier: Apache-2.0
//! A Create that fails at each of its steps in turn: it says why, and nothing is left.

use containerd_shim_protos::api::Mount;
use containerd_shim_protos::ttrpc::Code;
use serde_json::json;

use crate::census::{Census, alone, with_cgroup};
use crate::fake_machine::bundle::Bundle;
use crate::fake_machine::containerd::{Shim, refusal};
use crate::fake_machine::fifo::Fifos;
use crate::fake_machine::machine::Kind;

/// Creates what must fail, and returns the words.
async fn fails(shim: &Shim, bundle: &Bundle) -> (Code, String) {
    let before = Census::take(shim);
    let refused = refusal(shim.try_create(bundle).await.map(drop));
    before.is_the_same_again(shim).await;
    assert!(shim.service.is_idle());
    assert_eq!(shim.events.words(), Vec::<String>::new());
    refused
}

/// After the failure the id is as free as before.
async fn works(shim: &Shim, bundle: &Bundle) {
    let container = shim.run(&bundle.clone().shell("exit 3")).await;
    assert_eq!(container.wait().await, 3);
    container.delete().await;
}

#[test]
fn a_refused_spec_makes_nothing() {
    alone(async {
        let shim = Shim::start().await;
        let sound = with_cgroup(shim.bundle("c").nobody_reads());
        let mut bundle = sound.clone();
        bundle.spec["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        let (code, message) = fails(&shim, &bundle).await;
        assert_eq!(code, Code::FAILED_PRECONDITION, "{message}");
        assert!(!shim.run_path().exists(), "a refusal comes before anything is made");
        works(&shim, &sound).await;
    });
}

#[test]
fn a_bundle_without_a_spec_makes_nothing() {
    alone(async {
        let shim = Shim::start().await;
        let bundle = shim.bundle("c").nobody_reads();
        let request = shim.request(&bundle, &Fifos::default());
        let before = Census::take(&shim);
        let (_, message) = refusal(shim.try_create_from(&bundle, request).await.map(drop));
        assert!(message.contains("config.json"), "{message}");
        before.is_the_same_again(&shim).await;
    });
}

#[test]
fn a_run_directory_that_is_taken_is_left_to_its_owner() {
    alone(async {
        let (shim, other) = (Shim::start().await, Shim::start().await);
        let owner = other.create(&other.bundle("c")).await;
        std::fs::create_dir_all(shim.run_directory("c").parent().unwrap()).unwrap();
        // The other's, whose shim (this process) lives.
        std::os::unix::fs::symlink(other.run_directory("c"), shim.run_directory("c")).unwrap();
        let bundle = shim.bundle("c").nobody_reads();
        let (_, message) = fails(&shim, &bundle).await;
        assert!(message.contains("making the run directory failed: File exists"), "{message}");
        assert!(other.run_directory("c").join("record.json").exists());
        // What `delete` would undo is not the other's.
        assert_eq!(boxlite_shim::sandbox::record::pointed_to(&bundle.directory), None);
        std::fs::remove_file(shim.run_directory("c")).unwrap();
        owner.delete().await;
    });
}

#[test]
fn a_run_directory_of_a_dead_shim_is_cleared_and_taken() {
    alone(async {
        use boxlite_shim::sandbox::record::{ProcessRecord, Record, Undo};
        let shim = Shim::start().await;
        let mut left = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let mut record = Record::create(shim.run_directory("c")).unwrap();
        record.push(Undo::Process(ProcessRecord::of(left.id()).unwrap())).unwrap();
        record.shim = None;
        record.set_task_pid(left.id()).unwrap();
        works(&shim, &shim.bundle("c").nobody_reads()).await;
        assert!(!left.wait().unwrap().success(), "the dead shim's process was not ended");
    });
}

#[test]
fn a_network_namespace_that_is_not_there_leaves_nothing() {
    alone(async {
        let shim = Shim::start().await;
        let sound = with_cgroup(shim.bundle("c").nobody_reads());
        let mut bundle = sound.clone();
        for namespace in bundle.spec["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = json!("/nowhere/netns");
            }
        }
        let (_, message) = fails(&shim, &bundle).await;
        assert!(message.contains("/nowhere/netns"), "{message}");
        works(&shim, &sound).await;
    });
}

#[test]
fn a_root_file_system_that_cannot_be_mounted_leaves_nothing() {
    alone(async {
        let shim = Shim::start().await;
        let sound = with_cgroup(shim.bundle("c").nobody_reads());
        let mut bundle = sound.clone();
        // The first is there and is mounted, the second fails.
        let bind = Mount {
            type_: "bind".into(),
            source: bundle.inside("").display().to_string(),
            options: vec!["rbind".into(), "rw".into()],
            ..Default::default()
        };
        let overlay = Mount {
            type_: "overlay".into(),
            source: "overlay".into(),
            options: vec!["lowerdir=/nowhere/lower".into()],
            ..Default::default()
        };
        bundle.mounts = vec![bind.clone(), overlay];
        let (_, message) = fails(&shim, &bundle).await;
        assert!(message.contains("overlay"), "{message}");
        bundle.mounts = vec![bind];
        works(&shim, &bundle).await;
    });
}

#[test]
fn a_share_that_does_not_open_leaves_nothing() {
    alone(async {
        let shim = Shim::with(Kind::NoShare).await;
        let (code, message) = fails(&shim, &with_cgroup(shim.bundle("c").nobody_reads())).await;
        assert_eq!((code, message.as_str()), (Code::UNKNOWN, "opening the share failed: no share today"));
    });
}

#[test]
fn a_machine_that_does_not_start_leaves_nothing() {
    alone(async {
        let shim = Shim::with(Kind::NoProcess).await;
        let (_, message) = fails(&shim, &with_cgroup(shim.bundle("c").nobody_reads())).await;
        assert_eq!(message, "starting the machine failed: cannot start a machine today: too hot");
    });
}

#[test]
fn a_hook_that_fails_leaves_nothing() {
    alone(async {
        let shim = Shim::start().await;
        for when in ["prestart", "createRuntime"] {
            let sound = with_cgroup(shim.bundle(when).nobody_reads());
            let line = format!("echo no {when} >&2; exit 4");
            let (_, message) = fails(&shim, &sound.clone().hook(when, &line)).await;
            assert!(message.contains("exited with 4"), "{message}");
            assert!(message.contains(&format!("no {when}")), "{message}");
        }
    });
}

#[test]
fn a_hook_that_fails_on_a_machine_that_never_boots_leaves_nothing() {
    alone(async {
        for kind in [Kind::Mute, Kind::DiesInBoot] {
            let shim = Shim::with(kind).await;
            fails(&shim, &with_cgroup(shim.bundle("c").nobody_reads()).hook("prestart", "exit 1")).await;
        }
    });
}
