// SPDX-License-Identifier: Apache-2.0
//! A container's way: create, start, exec, signal, end; and what is refused on it.

use std::time::Duration;

use boxlite_protocol::ttrpc::Code;

use crate::agent_test;
use crate::child::in_time;
use crate::host::{Guest, container, is_root, patience, read_all, read_until, refusal, send, start};
use crate::plans::{plan, process};

agent_test!(exit_statuses_are_the_programs, guest, {
    assert_eq!(guest.run(plan(&["true"])).await.0, 0);
    assert_eq!(guest.run(plan(&["false"])).await.0, 1);
    assert_eq!(guest.run(plan(&["sh", "-c", "exit 42"])).await.0, 42);
});

agent_test!(killed_process_ends_with_128_and_the_signal, guest, {
    let mut io =
        guest.launch(plan(&["sh", "-c", "trap 'exit 7' TERM; echo up; sleep 60 & wait"])).await.unwrap();
    read_until(&mut io.stdout, "up").await;
    guest.signal("c", "", 15, false).await.unwrap();
    assert_eq!(guest.wait("c", "").await.exit_status, 7);
    guest.remove("c").await;

    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    guest.signal("c", "", 9, false).await.unwrap();
    let end = guest.wait("c", "").await;
    assert_eq!(end.exit_status, 137);
    assert!(end.exited_at_ns > 1_700_000_000_000_000_000);
    assert_eq!(refusal(guest.signal("c", "", 9, false).await).0, Code::NOT_FOUND);
});

agent_test!(signal_to_all_reaches_children, guest, {
    // The first process of a pid namespace ignores what it has no handler for.
    let script = "(trap 'exit 3' USR1; sleep 60 & echo up; wait) & wait $!; exit $?";
    let mut io = guest.launch(plan(&["sh", "-c", script])).await.unwrap();
    read_until(&mut io.stdout, "up").await;
    guest.signal("c", "", 10, false).await.unwrap();
    assert_eq!(guest.client.processes(patience(), &container("c")).await.unwrap().processes.len(), 3);
    guest.signal("c", "", 10, true).await.unwrap();
    assert_eq!(guest.wait("c", "").await.exit_status, 3);
});

agent_test!(program_waits_for_start, guest, {
    let mut io = guest.create(plan(&["echo", "started"])).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), read_until(&mut io.stdout, "s")).await;
    assert!(early.is_err(), "ran before it was started");
    guest.client.start_container(patience(), &start("c")).await.unwrap();
    assert_eq!(read_all(io.stdout).await, "started\n");
});

agent_test!(container_that_never_started_can_be_removed, guest, {
    let _io = guest.create(plan(&["true"])).await.unwrap();
    guest.remove("c").await;
    assert_eq!(refusal(guest.client.start_container(patience(), &start("c")).await).0, Code::NOT_FOUND);
    assert_eq!(guest.run(plan(&["true"])).await.0, 0);
});

agent_test!(exec_runs_beside_the_first_process, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let mut io =
        guest.exec("c", "e1", process(&["sh", "-c", "read x; echo got $x; ps; exit 9"])).await.unwrap();
    send(&mut io.stdin, "word\n").await;
    let output = read_all(io.stdout).await;
    assert!(output.starts_with("got word\n"), "{output}");
    // It sees the container's processes and no others.
    assert!(output.contains("sleep 60") && !output.contains("boxlite-agent"), "{output}");
    assert_eq!(guest.wait("c", "e1").await.exit_status, 9);
    // Waited for, it is forgotten, and its name is free.
    let _io = guest.exec("c", "e1", process(&["true"])).await.unwrap();
    assert_eq!(guest.wait("c", "e1").await.exit_status, 0);
});

agent_test!(execs_end_with_the_container, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let _exec = guest.exec("c", "e", process(&["sleep", "60"])).await.unwrap();
    guest.signal("c", "", 9, false).await.unwrap();
    assert_eq!(guest.wait("c", "e").await.exit_status, 137);
    assert_eq!(guest.wait("c", "").await.exit_status, 137);
    let late = guest.exec("c", "e2", process(&["true"])).await;
    assert_eq!(refusal(late).0, Code::FAILED_PRECONDITION);
});

agent_test!(names_are_unique_and_known, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    assert_eq!(refusal(guest.create(plan(&["true"])).await).0, Code::ALREADY_EXISTS);
    let _exec = guest.exec("c", "e", process(&["sleep", "60"])).await.unwrap();
    assert_eq!(refusal(guest.exec("c", "e", process(&["true"])).await).0, Code::ALREADY_EXISTS);
    assert_eq!(refusal(guest.exec("other", "e", process(&["true"])).await).0, Code::NOT_FOUND);
    assert_eq!(refusal(guest.signal("c", "other", 9, false).await).0, Code::NOT_FOUND);
});

agent_test!(processes_are_listed_with_both_pids, guest, {
    let mut io = guest.launch(plan(&["sh", "-c", "sleep 60 & echo up; wait"])).await.unwrap();
    read_until(&mut io.stdout, "up").await;
    let mut entries = guest.client.processes(patience(), &container("c")).await.unwrap().processes;
    entries.sort_by_key(|entry| entry.container_pid);
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!((entries[0].command.as_str(), entries[0].container_pid), ("sh", 1));
    assert_eq!((entries[1].container_pid, entries[1].parent), (2, entries[0].pid));
});

agent_test!(nothing_is_left_behind, guest, {
    let share = guest.share.path().to_owned();
    for round in 0..5 {
        let (status, ..) = guest.run(plan(&["sh", "-c", "sleep 60 & exit 5"])).await;
        assert_eq!(status, 5, "round {round}");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(share.to_str().unwrap()), "{mounts}");
    let children = format!("/proc/{0}/task/{0}/children", guest.agent().id());
    assert_eq!(std::fs::read_to_string(children).unwrap(), "");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", guest.agent().id())).unwrap().count();
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    guest.remove("c").await;
    let after = std::fs::read_dir(format!("/proc/{}/fd", guest.agent().id())).unwrap().count();
    assert_eq!(after, descriptors);
});

agent_test!(containers_end_with_the_channel, guest, {
    let answer = guest.create(plan(&["sleep", "60"])).await;
    let entries = guest.client.processes(patience(), &container("c")).await.unwrap().processes;
    assert!(answer.is_ok());
    // Checked by the macro: the agent ends although a container runs; here, that the container had been there.
    assert_eq!(entries.len(), 1);
});

#[tokio::test]
async fn containers_do_not_outlive_a_killed_agent() {
    if !is_root() {
        return;
    }
    in_time(killed_agent()).await;
}

async fn killed_agent() {
    let guest = Guest::start().await;
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let _exec = guest.exec("c", "e", process(&["sleep", "60"])).await.unwrap();
    let entries = guest.client.processes(patience(), &container("c")).await.unwrap().processes;
    assert_eq!(entries.len(), 2);
    guest.agent().signal(rustix::process::Signal::KILL);
    assert_eq!(guest.end().await, None);
    let runs = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains("zombie"))
    };
    let gone = async {
        while entries.iter().any(|entry| runs(entry.pid)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}
