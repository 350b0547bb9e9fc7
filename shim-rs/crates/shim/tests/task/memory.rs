// SPDX-License-Identifier: Apache-2.0
//! Which process goes when the host runs out of memory.

use rustix::thread::CapabilitySet;
use serde_json::json;

use crate::fake_machine::containerd::Shim;

fn score(pid: &str) -> i32 {
    std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

async fn score_of_a_machine_for(asked: i32) -> i32 {
    let shim = Shim::start().await;
    let mut bundle = shim.bundle("c");
    bundle.spec["process"]["oomScoreAdj"] = json!(asked);
    let container = shim.create(&bundle).await;
    let [score, machines] = [container.pid, shim.host.machine_pid()].map(|pid| score(&pid.to_string()));
    assert_eq!(score, machines, "the double says what holds for the machine");
    container.delete().await;
    score
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_goes_when_its_container_would() {
    assert_eq!(score_of_a_machine_for(321).await, 321);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_may_not_be_spared_is_made_all_the_same() {
    let sets = rustix::thread::capabilities(None).unwrap();
    let spared = sets.effective.contains(CapabilitySet::SYS_RESOURCE);
    let expected = if spared { -500 } else { score("self") };
    assert_eq!(score_of_a_machine_for(-500).await, expected);
}
