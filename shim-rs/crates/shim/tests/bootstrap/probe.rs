// SPDX-License-Identifier: Apache-2.0
//! `probe`, with a program in QEMU's place that plays what a guest comes to. Whether this host has a KVM makes no
//! difference: a guest that does not come up under TCG either says nothing about the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::call::PROGRAM;

/// A place with a line of shell for QEMU, and a configuration that names it.
struct Place(TempDir);

impl Place {
    fn new(line: &str) -> Self {
        let place = Self(tempfile::Builder::new().prefix("boxlite-test-").tempdir().unwrap());
        let (qemu, run) = (place.path("qemu"), place.path("run"));
        fs::write(&qemu, format!("#!/bin/sh\ncd {}\n{line}\n", place.0.path().display())).unwrap();
        fs::set_permissions(&qemu, PermissionsExt::from_mode(0o755)).unwrap();
        let config =
            format!("[paths]\nqemu = {qemu:?}\nkernel = {qemu:?}\ninitrd = {qemu:?}\nrun = {run:?}\n");
        fs::write(place.path("config.toml"), config).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn probe(&self, words: &[&str]) -> Output {
        Command::new(PROGRAM)
            .arg("probe")
            .args(words)
            .arg("--config")
            .arg(self.path("config.toml"))
            .arg("--answer")
            .arg(self.path("state/accel.json"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_silent_guest_is_given_up_in_time_and_leaves_nothing() {
    let place = Place::new("exec /bin/sleep 1000");
    let why = "a guest did not come up in 0.2 s and said nothing";
    assert_eq!(answer(&place.probe(&["--seconds", "0.2"])), json!({ "boots": false, "why": why }));
    assert_eq!(fs::read_dir(place.path("run")).unwrap().count(), 0);
}

#[test]
fn a_guest_that_hangs_is_quoted_from_its_console() {
    let place = Place::new("echo 'Kernel panic - not syncing' >&5\nexec /bin/sleep 1000");
    let why = "a guest did not come up in 1 s: Kernel panic - not syncing";
    assert_eq!(answer(&place.probe(&["--seconds", "1"])), json!({ "boots": false, "why": why }));
}

#[test]
fn a_qemu_that_fails_is_quoted() {
    let place = Place::new("echo 'qemu: no such machine' >&2\nexit 1");
    let why = "QEMU ended: no such machine";
    assert_eq!(answer(&place.probe(&[])), json!({ "boots": false, "why": why }));
}

#[test]
fn a_guest_that_comes_up_with_nothing_is_no_answer_about_the_host() {
    let place = Place::new("exit 1");
    assert_eq!(answer(&place.probe(&[]))["boots"], false);
    assert_eq!(fs::read_dir(place.path("state")).unwrap().count(), 0);
    let looked = answer(&place.probe(&["--look"]));
    assert_eq!(looked["answer"], Value::Null);
    assert!(looked["stale"].as_str().unwrap().starts_with("no guest was booted here yet"), "{looked}");
}

#[test]
fn a_look_boots_nothing() {
    let place = Place::new(">booted");
    answer(&place.probe(&["--look"]));
    assert!(!place.path("booted").exists() && !place.path("state").exists());
}

#[test]
fn an_answer_of_another_release_is_not_believed() {
    let place = Place::new("exit 1");
    fs::create_dir(place.path("state")).unwrap();
    let old = r#"{"accel":"kvm","reason":"a guest came up","qemu":"10.0.13","probed_at":"2026-01-01"}"#;
    fs::write(place.path("state/accel.json"), old).unwrap();
    let looked = answer(&place.probe(&["--look"]));
    assert_eq!(looked["answer"], Value::Null);
    assert!(looked["stale"].as_str().unwrap().contains("of another release"), "{looked}");
}

#[test]
fn what_is_probed_is_what_containers_run_on() {
    let place = Place::new("for word; do echo \"$word\"; done >>words\nexit 1");
    assert_eq!(answer(&place.probe(&[]))["boots"], false);
    let words = fs::read_to_string(place.path("words")).unwrap();
    for part in [
        "microvm,accel=tcg,",
        "memory-backend-file,id=ram,size=",
        "virtio-balloon-device,free-page-reporting=on",
        "vhost-user-fs-device,",
        "virtio-net-device,netdev=net1,",
        "virtserialport,",
        "elevateprivileges=deny",
    ] {
        assert!(words.contains(part), "{part} is not in\n{words}");
    }
    // Whoever may use /dev/kvm tries it first.
    let kvm = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    assert_eq!(words.find("microvm,accel=kvm,").is_some(), kvm);
}

#[test]
fn a_configuration_without_its_files_is_an_error_and_no_answer() {
    let output = Command::new(PROGRAM).args(["probe", "--config", "/nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere"));
}
