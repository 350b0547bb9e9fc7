// SPDX-License-Identifier: Apache-2.0
//! The engine's hooks on the host: when they run and what they are told.

use std::path::Path;

use serde_json::Value;

use crate::fake_machine::containerd::Shim;

fn state(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_before_the_start_see_the_machine_in_its_namespace() {
    let shim = Shim::start().await;
    let namespace = "readlink /proc/$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' state)/ns/net >netns";
    let bundle = shim.bundle("c").args(&["sleep", "1000"]);
    let bundle =
        bundle.hook("prestart", "echo prestart >>order").hook("createRuntime", "echo createRuntime >>order");
    let bundle = bundle.hook("createRuntime", &format!("cat >state; {namespace}"));
    let container = shim.create(&bundle).await;
    let told = state(&bundle.directory.join("state"));
    assert_eq!(told["id"], "c");
    assert_eq!(told["pid"], container.pid);
    assert_eq!(told["status"], "created");
    assert_eq!(told["bundle"], bundle.directory.to_str().unwrap());
    let seen = std::fs::read_to_string(bundle.directory.join("netns")).unwrap();
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(seen.starts_with("net:[") && seen.trim() != ours.to_str().unwrap(), "{seen}");
    let order = std::fs::read_to_string(bundle.directory.join("order")).unwrap();
    assert_eq!(order, "prestart\ncreateRuntime\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_after_the_start_and_after_the_end_run_once_each() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["sleep", "1000"]);
    let bundle = bundle.hook("poststart", "cat >poststart").hook("poststop", "cat >poststop");
    let container = shim.create(&bundle).await;
    let (poststart, poststop) = (bundle.directory.join("poststart"), bundle.directory.join("poststop"));
    assert!(!poststart.exists());
    container.start().await;
    assert_eq!(state(&poststart)["status"], "running");
    container.kill(9).await;
    container.wait().await;
    container.delete().await;
    let told = state(&poststop);
    assert_eq!((told["status"].as_str(), told["id"].as_str()), (Some("stopped"), Some("c")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_hook_after_the_start_changes_nothing() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("exit 3").hook("poststart", "exit 1").hook("poststop", "exit 1");
    let container = shim.run(&bundle).await;
    assert_eq!(container.wait().await, 3);
    assert_eq!(container.delete().await, 3);
    assert_eq!(shim.events.words(), ["create", "start", "exit 3", "delete 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poststop_runs_for_a_task_that_was_never_started() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").hook("poststop", "touch poststop");
    shim.create(&bundle).await.delete().await;
    assert!(bundle.directory.join("poststop").exists());
}
