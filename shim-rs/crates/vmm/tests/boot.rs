// SPDX-License-Identifier: Apache-2.0
//! Real machines: what the traits promise, seen from outside.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use boxlite_vmm::virtiofsd::{self, VirtiofsdConfig};
use boxlite_vmm::{Hypervisor, ProcessExit, Qemu, Share, VmmError};
use tokio::time::timeout;

mod guest;
use guest::{Dialogue, Guest};

/// Boots take a second; a loaded host may need many.
const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

#[tokio::test]
async fn the_channel_carries_what_was_written_before_the_guest_was_up() {
    let Some(guest) = Guest::prepare() else { return };
    let machine = Qemu.launch(guest.config()).expect("launch");
    let mut channel = Dialogue::with(&*machine);
    assert!(machine.take_channel().is_none());
    channel.send("echo early").await;
    assert_eq!(within(channel.answer()).await.as_deref(), Some("early"));
    assert_eq!(within(channel.ask("port")).await, "test.port");
    assert!(machine.console_tail().contains("test guest: up"));
    within(machine.end()).await;
    assert_eq!(within(channel.answer()).await, None);
    let exit = within(machine.exited()).await;
    assert_eq!((exit.process, exit.requested, exit.guest), (ProcessExit::Signal(9), true, None));
    within(machine.end()).await;
}

#[tokio::test]
async fn a_guest_that_stops_tells_how() {
    let Some(guest) = Guest::prepare() else { return };
    for request in ["reset", "crash"] {
        let machine = Qemu.launch(guest.config()).expect("launch");
        let mut channel = Dialogue::with(&*machine);
        channel.send(request).await;
        let exit = within(machine.exited()).await;
        assert_eq!(exit.process, ProcessExit::Code(0), "{request}: {exit}");
        assert_eq!(exit.guest.as_deref(), Some("guest-reset"), "{request}: {exit}");
        assert!(!exit.requested);
        assert_eq!(exit.to_string().contains("Attempted to kill init"), request == "crash", "{exit}");
    }
}

#[tokio::test]
async fn a_paused_guest_stands_still() {
    let Some(guest) = Guest::prepare() else { return };
    let machine = Qemu.launch(guest.config()).expect("launch");
    let mut channel = Dialogue::with(&*machine);
    assert_eq!(within(channel.ask("echo up")).await, "up");
    let running = machine.running();
    assert!(*running.borrow());
    machine.pause().await.expect("pause");
    assert!(!*running.borrow());
    machine.pause().await.expect("pausing twice is legal");
    channel.send("echo later").await;
    let silence = timeout(Duration::from_millis(300), channel.answer()).await;
    assert!(silence.is_err(), "a paused guest answered {silence:?}");
    machine.resume().await.expect("resume");
    machine.resume().await.expect("resuming twice is legal");
    assert!(*running.borrow());
    assert_eq!(within(channel.answer()).await.as_deref(), Some("later"));
    within(machine.end()).await;
    let refused = machine.pause().await.expect_err("it has ended");
    assert!(matches!(refused, VmmError::Ended(exit) if exit.requested));
}

#[tokio::test]
async fn a_guest_that_floods_its_console_harms_nobody() {
    let Some(guest) = Guest::prepare() else { return };
    let config = guest.config();
    let log = config.console_log.clone();
    let machine = Qemu.launch(config).expect("launch");
    let mut channel = Dialogue::with(&*machine);
    assert_eq!(within(channel.ask("flood")).await, "ok");
    within(machine.end()).await;
    within(machine.exited()).await;
    assert_eq!(fs::metadata(log).expect("log").len(), 1 << 20);
    assert!(machine.console_tail().len() <= 2048);
}

#[tokio::test]
async fn a_machine_that_gives_up_says_why() {
    let Some(guest) = Guest::prepare() else { return };
    let mut config = guest.config();
    config.kernel = "/nowhere/vmlinux".into();
    let machine = Qemu.launch(config).expect("the process starts");
    let exit = within(machine.exited()).await;
    assert_eq!(exit.process, ProcessExit::Code(1));
    assert!(exit.to_string().contains("/nowhere/vmlinux"), "{exit}");
    assert!(matches!(machine.resume().await, Err(VmmError::Ended(_))));
}

#[tokio::test]
async fn a_dropped_machine_is_gone() {
    let Some(guest) = Guest::prepare() else { return };
    let machine = Qemu.launch(guest.config()).expect("launch");
    let mut channel = Dialogue::with(&*machine);
    drop(machine);
    assert_eq!(within(channel.answer()).await, None);
}

#[tokio::test]
async fn a_share_is_read_and_written_and_its_daemon_ends_with_the_machine() {
    let Some(guest) = Guest::prepare() else { return };
    let directory = guest.scratch.path().join("shared");
    fs::create_dir(&directory).expect("directory");
    fs::write(directory.join("greeting"), "from the host\n").expect("file");
    let (daemon, socket) = virtiofsd::launch(&VirtiofsdConfig {
        binary: "/usr/libexec/virtiofsd".into(),
        directory: directory.clone(),
        socket_directory: guest.scratch.path().to_owned(),
    })
    .expect("virtiofsd");
    let mut config = guest.config();
    config.share = Some(Share { socket, tag: "test".to_owned() });
    let machine = Qemu.launch(config).expect("launch");
    let mut channel = Dialogue::with(&*machine);
    assert_eq!(within(channel.ask("mount test")).await, "ok", "{}", daemon.stderr());
    assert_eq!(within(channel.ask("read /share/greeting")).await, "from the host");
    assert_eq!(within(channel.ask("write /share/answer")).await, "ok");
    let answer = fs::metadata(directory.join("answer")).expect("the guest's file");
    assert_eq!((answer.len(), answer.mode() & 0o7777), (1, 0o644));
    within(machine.end()).await;
    assert_eq!(within(daemon.exited()).await, ProcessExit::Code(0), "{}", daemon.stderr());
}

#[tokio::test]
async fn a_daemon_that_gives_up_ends_the_machine_and_says_why() {
    let Some(guest) = Guest::prepare() else { return };
    let (daemon, socket) = virtiofsd::launch(&VirtiofsdConfig {
        binary: "/usr/libexec/virtiofsd".into(),
        directory: "/nowhere/shared".into(),
        socket_directory: guest.scratch.path().to_owned(),
    })
    .expect("the process starts");
    let mut config = guest.config();
    config.share = Some(Share { socket, tag: "test".to_owned() });
    let machine = Qemu.launch(config).expect("launch");
    let exit = within(machine.exited()).await;
    assert_eq!(exit.process, ProcessExit::Code(1), "{exit}");
    within(daemon.exited()).await;
    assert!(daemon.stderr().contains("/nowhere/shared"), "{}", daemon.stderr());
}
