// SPDX-License-Identifier: Apache-2.0
//! Standard streams: nothing lost, nothing held up by somebody else's reader.

use std::time::Duration;

use boxlite_protocol::plan::Process;
use boxlite_protocol::ttrpc::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::agent_test;
use crate::host::{container, patience, read_all, read_until, refusal, send};
use crate::plans::{plan, process};

/// Bytes a pipe holds.
const PIPE: u64 = 64 << 10;

/// Bytes a process has written.
fn written(pid: u32) -> u64 {
    let counters = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let count = counters.lines().find_map(|line| line.strip_prefix("wchar: "));
    count.unwrap().parse().unwrap()
}

/// Looks until it holds, with a limit.
async fn until(mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.unwrap();
}

agent_test!(output_and_error_are_told_apart, guest, {
    let (status, output, error) = guest.run(plan(&["sh", "-c", "echo out; echo err >&2"])).await;
    assert_eq!((status, output.as_str(), error.as_str()), (0, "out\n", "err\n"));
});

agent_test!(five_megabytes_arrive_whole, guest, {
    let mut io = guest.launch(plan(&["head", "-c", "5000000", "/dev/zero"])).await.unwrap();
    let mut bytes = Vec::new();
    io.stdout.as_mut().unwrap().read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len(), 5_000_000);
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(guest.wait("c", "").await.exit_status, 0);
});

agent_test!(input_comes_back_and_its_end_is_seen, guest, {
    let io = guest.launch(plan(&["cat"])).await.unwrap();
    let mut stdin = io.stdin.unwrap();
    let text = "0123456789abcdef".repeat(20_000);
    let sent = text.clone();
    let writer = async move {
        stdin.write_all(sent.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
        stdin
    };
    let (_stdin, output) = tokio::join!(writer, read_all(io.stdout));
    assert_eq!(output, text);
    assert_eq!(guest.wait("c", "").await.exit_status, 0);
});

agent_test!(unread_output_stops_nobody_else, guest, {
    let mut stuck = guest.launch(plan(&["cat", "/dev/zero"])).await.unwrap();
    let entries = guest.client.processes(patience(), &container("c")).await.unwrap().processes;
    let window = 256 << 10;
    until(|| written(entries[0].pid) > window).await;
    let exec = guest.exec("c", "e", process(&["echo", "free"])).await.unwrap();
    assert_eq!(read_all(exec.stdout).await, "free\n");
    assert_eq!(guest.wait("c", "e").await.exit_status, 0);
    guest.signal("c", "", 9, false).await.unwrap();
    // Its end is told all the same, and what it wrote before is there once somebody reads.
    assert_eq!(guest.wait("c", "").await.exit_status, 137);
    let mut rest = Vec::new();
    stuck.stdout.as_mut().unwrap().read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() as u64 > window + PIPE, "{} bytes", rest.len());
});

agent_test!(unread_output_of_an_exec_does_not_keep_its_end, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let mut stuck = guest.exec("c", "e", process(&["cat", "/dev/zero"])).await.unwrap();
    let entries = guest.client.processes(patience(), &container("c")).await.unwrap().processes;
    let writer = entries.iter().find(|entry| entry.command == "cat").unwrap().pid;
    until(|| written(writer) > 256 << 10).await;
    guest.signal("c", "e", 9, false).await.unwrap();
    assert_eq!(guest.wait("c", "e").await.exit_status, 137);
    let mut rest = Vec::new();
    stuck.stdout.as_mut().unwrap().read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() as u64 >= PIPE, "{} bytes", rest.len());
});

agent_test!(unread_input_stops_only_its_stream, guest, {
    let mut io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let mut stdin = io.stdin.take().unwrap();
    let writer = tokio::spawn(async move { stdin.write_all(&vec![b'x'; 4 << 20]).await });
    let exec = guest.exec("c", "e", process(&["echo", "free"])).await.unwrap();
    assert_eq!(read_all(exec.stdout).await, "free\n");
    assert!(!writer.is_finished());
    guest.signal("c", "", 9, false).await.unwrap();
    assert_eq!(guest.wait("c", "").await.exit_status, 137);
    writer.abort();
});

/// A shell that ends while a child of its waits for `/go` and then does `what`.
fn leaving_behind(what: &str) -> Process {
    process(&[
        "sh",
        "-c",
        &format!("(until [ -e /go ]; do sleep 0.02; done; {what}) & echo now; echo err >&2"),
    ])
}

agent_test!(an_exec_s_end_does_not_wait_for_its_children_and_they_are_heard_after_it, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let mut exec = guest.exec("c", "e", leaving_behind("echo late; echo late err >&2")).await.unwrap();
    let end = guest.wait("c", "e").await;
    assert_eq!((end.exit_status, end.stdout_bytes, end.stderr_bytes), (0, Some(4), Some(4)));
    read_until(&mut exec.stdout, "now\n").await;
    std::fs::write(guest.rootfs().join("go"), "").unwrap();
    assert_eq!(read_all(exec.stdout).await, "late\n");
    assert_eq!(read_all(exec.stderr).await, "err\nlate err\n");
});

agent_test!(a_child_that_writes_when_nobody_listens_any_more_lives_on, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let exec = guest.exec("c", "e", leaving_behind("echo late; echo late; echo alive > /tmp/alive"));
    let exec = exec.await.unwrap();
    guest.wait("c", "e").await;
    drop(exec);
    std::fs::write(guest.rootfs().join("go"), "").unwrap();
    until(|| std::fs::read(guest.rootfs().join("tmp/alive")).is_ok_and(|text| text == b"alive\n")).await;
});

agent_test!(what_the_children_of_an_exec_write_ends_with_the_container, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let exec = guest.exec("c", "e", leaving_behind("true")).await.unwrap();
    guest.wait("c", "e").await;
    guest.signal("c", "", 9, false).await.unwrap();
    assert_eq!(guest.wait("c", "").await.exit_status, 137);
    assert_eq!(read_all(exec.stdout).await, "now\n");
});

agent_test!(an_exec_that_is_alone_says_how_much_it_wrote_and_its_streams_end, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let exec = guest.exec("c", "e", process(&["head", "-c", "300000", "/dev/zero"])).await.unwrap();
    let (output, end) = tokio::join!(read_all(exec.stdout), guest.wait("c", "e"));
    assert_eq!((output.len(), end.stdout_bytes, end.stderr_bytes), (300_000, Some(300_000), Some(0)));
});

agent_test!(streams_not_named_are_the_null_device, guest, {
    let mut quiet = plan(&["sh", "-c", "cat; echo lost; ls -l /proc/self/fd/0"]);
    let process = quiet.process.as_mut().unwrap();
    (process.stdin, process.stderr) = (false, false);
    let (status, output, error) = guest.run(quiet).await;
    assert_eq!((status, error.as_str()), (0, ""));
    assert!(output.starts_with("lost\n") && output.contains("/dev/null"), "{output}");
});

agent_test!(stream_that_names_nothing_is_dropped, guest, {
    let name =
        boxlite_protocol::stream::StreamName::stdio(boxlite_protocol::stream::Kind::Stdin, "ghost", "");
    let _unclaimed = guest.opener.open(&name).await.unwrap();
    let mut io = guest.launch(plan(&["cat"])).await.unwrap();
    send(&mut io.stdin, "still here\n").await;
    read_until(&mut io.stdout, "still here").await;
});

agent_test!(refused_name_can_be_used_again, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    assert!(guest.exec("c", "e", process(&["/none"])).await.is_err());
    let first = guest.exec("c", "e", process(&["cat"])).await.unwrap();
    assert_eq!(refusal(guest.exec("c", "e", process(&["true"])).await).0, Code::ALREADY_EXISTS);
    drop(first.stdin);
    guest.wait("c", "e").await;
    let second = guest.exec("c", "e", process(&["echo", "mine"])).await.unwrap();
    assert_eq!(read_all(second.stdout).await, "mine\n");
});

agent_test!(missing_stream_is_told, guest, {
    let request = boxlite_protocol::agent::CreateContainerRequest {
        plan: Some(plan(&["true"])).into(),
        ..Default::default()
    };
    let answer = guest.client.create_container(patience(), &request).await;
    let (code, message) = refusal(answer);
    assert_eq!(code, Code::FAILED_PRECONDITION);
    assert_eq!(message, "the host opened no stdin stream");
});
