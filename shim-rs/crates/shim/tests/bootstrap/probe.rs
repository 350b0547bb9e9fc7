// SPDX-License-Identifier: Apache-2.0
//! `probe`, with a program in QEMU's place that plays what a guest comes to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::call::PROGRAM;

/// Probes with a line of shell for QEMU.
fn probe(line: &str, seconds: &str) -> (TempDir, Output) {
    let scratch = tempfile::Builder::new().prefix("boxlite-test-").tempdir().unwrap();
    let place = |name: &str| scratch.path().join(name);
    fs::write(place("qemu"), format!("#!/bin/sh\ncd {}\n{line}\n", scratch.path().display())).unwrap();
    fs::set_permissions(place("qemu"), PermissionsExt::from_mode(0o755)).unwrap();
    let config = format!(
        "[paths]\nqemu = {0:?}\nkernel = {0:?}\ninitrd = {0:?}\nrun = {1:?}\n",
        place("qemu"),
        place("run")
    );
    fs::write(place("config.toml"), config).unwrap();
    let output = Command::new(PROGRAM)
        .args(["probe", "--accel", "kvm", "--seconds", seconds, "--config"])
        .arg(place("config.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (scratch, output)
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_silent_guest_is_given_up_in_time_and_leaves_nothing() {
    let (scratch, output) = probe("exec /bin/sleep 1000", "0.2");
    let why = "a guest did not come up in 0.2 s; it said nothing";
    assert_eq!(answer(&output), json!({ "up": false, "why": why }));
    assert_eq!(fs::read_dir(scratch.path().join("run")).unwrap().count(), 0);
}

#[test]
fn a_guest_that_hangs_is_quoted_from_its_console() {
    let (_scratch, output) = probe("echo 'Kernel panic - not syncing' >&5\nexec /bin/sleep 1000", "1");
    let why = "a guest did not come up in 1 s; its console: Kernel panic - not syncing";
    assert_eq!(answer(&output), json!({ "up": false, "why": why }));
}

#[test]
fn a_qemu_that_fails_is_quoted() {
    let (_scratch, output) = probe("echo 'qemu: no such machine' >&2\nexit 1", "30");
    assert_eq!(answer(&output), json!({ "up": false, "why": "QEMU ended: qemu: no such machine" }));
}

#[test]
fn what_is_probed_is_what_containers_run_on() {
    let (scratch, output) = probe("for word; do echo \"$word\"; done >words\nexit 1", "30");
    assert_eq!(answer(&output)["up"], false);
    let words = fs::read_to_string(scratch.path().join("words")).unwrap();
    for part in [
        "microvm,accel=kvm,",
        "memory-backend-memfd,id=ram,size=512M,share=on",
        "vhost-user-fs-device,",
        "virtio-net-device,netdev=net1,",
        "virtserialport,",
        "elevateprivileges=deny",
    ] {
        assert!(words.contains(part), "{part} is not in\n{words}");
    }
}

#[test]
fn a_configuration_without_its_files_is_an_error_and_no_answer() {
    let words = ["probe", "--accel", "tcg", "--seconds", "1", "--config", "/nowhere"];
    let output = Command::new(PROGRAM).args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere"));
}
