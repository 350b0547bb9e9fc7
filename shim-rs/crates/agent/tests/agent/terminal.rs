// SPDX-License-Identifier: Apache-2.0
//! Terminals: of a first process and of an exec.

use boxlite_protocol::agent::ResizeRequest;

use crate::agent_test;
use crate::host::{patience, read_all, read_until, send};
use crate::plans::{plan, process};

fn terminal(process: &mut boxlite_protocol::plan::Process) {
    process.terminal = true;
    (process.rows, process.columns) = (40, 100);
}

agent_test!(first_process_has_a_terminal_of_the_size, guest, {
    let mut plan = plan(&["sh"]);
    terminal(plan.process.as_mut().unwrap());
    let mut io = guest.launch(plan).await.unwrap();
    send(&mut io.stdin, "tty; stty size; echo all-$((1 + 1))\n").await;
    let text = read_until(&mut io.stdout, "all-2\r\n").await;
    assert!(text.contains("/dev/pts/0\r\n"), "{text}");
    assert!(text.contains("40 100\r\n"), "{text}");
    let size = ResizeRequest { container_id: "c".into(), rows: 50, columns: 120, ..ResizeRequest::default() };
    guest.client.resize(patience(), &size).await.unwrap();
    send(&mut io.stdin, "stty size\n").await;
    read_until(&mut io.stdout, "50 120").await;
    send(&mut io.stdin, "exit 4\n").await;
    assert_eq!(guest.wait("c", "").await.exit_status, 4);
    assert!(read_all(io.stdout).await.contains("exit 4"));
});

agent_test!(interrupt_key_reaches_the_foreground, guest, {
    let mut plan = plan(&["sh", "-c", "trap 'exit 9' INT; echo up; while :; do sleep 1; done"]);
    terminal(plan.process.as_mut().unwrap());
    let mut io = guest.launch(plan).await.unwrap();
    read_until(&mut io.stdout, "up").await;
    send(&mut io.stdin, "\u{3}").await;
    assert_eq!(guest.wait("c", "").await.exit_status, 9);
});

agent_test!(console_is_the_terminal, guest, {
    let mut plan = plan(&["sh", "-c", "echo there > /dev/console"]);
    terminal(plan.process.as_mut().unwrap());
    let io = guest.launch(plan).await.unwrap();
    assert_eq!(read_all(io.stdout).await, "there\r\n");
    assert_eq!(guest.wait("c", "").await.exit_status, 0);
});

agent_test!(exec_has_a_terminal_of_its_own, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let mut shell = process(&["sh", "-c", "tty; stty size; sleep 60 & exit 6"]);
    terminal(&mut shell);
    shell.uid = 1000;
    let io = guest.exec("c", "e", shell).await.unwrap();
    assert_eq!(read_all(io.stdout).await, "/dev/pts/0\r\n40 100\r\n");
    assert_eq!(guest.wait("c", "e").await.exit_status, 6);
});
