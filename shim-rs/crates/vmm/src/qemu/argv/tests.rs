// SPDX-License-Identifier: Apache-2.0
//! Golden files: one argument a line. `BOXLITE_BLESS=1 cargo test` rewrites them; read the difference.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use super::*;
use crate::{
    machine::Share,
    template::{Image, Saving},
};

fn null() -> OwnedFd {
    File::open("/dev/null").expect("/dev/null").into()
}

fn plain() -> MachineConfig {
    MachineConfig {
        name: "boxlite-0123".to_owned(),
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        accel: Accel::Tcg,
        transport: Transport::Mmio,
        kernel: "/usr/local/lib/boxlite/vmlinux".into(),
        initrd: "/usr/local/lib/boxlite/initrd.img".into(),
        kernel_args: String::new(),
        vcpus: 1,
        memory_mib: 512,
        port_name: "boxlite.agent".to_owned(),
        share: None,
        nics: Vec::new(),
        console_log: "/run/boxlite/default/0123/console.log".into(),
        empty_root: "/run/boxlite/default/0123/empty".into(),
        start: Start::Boot,
    }
}

fn nic(last: u8) -> Nic {
    Nic { tap: null(), mac: [0x02, 0x42, 0xac, 0x11, 0x00, last] }
}

fn share(tag: &str) -> Option<Share> {
    Some(Share { socket: null(), tag: tag.to_owned() })
}

fn text(config: &MachineConfig) -> String {
    arguments(config).iter().fold(String::new(), |text, argument| {
        let separator = if argument.as_bytes().starts_with(b"-") { "" } else { "    " };
        format!("{text}{separator}{}\n", argument.to_str().expect("text"))
    })
}

fn matches_golden(name: &str, config: &MachineConfig) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/qemu/golden").join(name);
    let found = text(config);
    if std::env::var_os("BOXLITE_BLESS").is_some() {
        std::fs::write(&path, &found).expect("blessed");
    }
    let golden = std::fs::read_to_string(&path).expect("golden file");
    assert_eq!(found, golden, "{name} differs");
}

#[test]
fn a_translated_machine_without_devices() {
    matches_golden("tcg.txt", &plain());
}

/// As machines are where there is KVM.
fn accelerated() -> MachineConfig {
    MachineConfig { accel: Accel::Kvm, transport: Transport::of(Accel::Kvm), ..plain() }
}

#[test]
fn an_accelerated_machine_has_no_nested_virtualisation() {
    matches_golden("kvm.txt", &MachineConfig { vcpus: 4, memory_mib: 2048, ..accelerated() });
}

#[test]
fn devices_of_an_accelerated_machine_are_on_pci() {
    let config = MachineConfig { share: share("boxlite"), nics: vec![nic(2), nic(3)], ..accelerated() };
    matches_golden("kvm-share-two-nics.txt", &config);
}

#[test]
fn an_accelerated_machine_is_restored_with_the_firmware_it_booted_with() {
    let start = Start::Restore(Image { memory: null().into(), state: null().into() });
    let config = MachineConfig { share: share("boxlite"), nics: vec![nic(2)], start, ..accelerated() };
    matches_golden("kvm-restore.txt", &config);
}

#[test]
fn a_translated_machine_keeps_to_registers_in_memory() {
    assert_eq!(Transport::of(Accel::Tcg), plain().transport);
}

#[test]
fn a_share_and_two_cards_are_found_at_their_descriptors() {
    let config = MachineConfig { share: share("boxlite"), nics: vec![nic(2), nic(3)], ..plain() };
    matches_golden("share-two-nics.txt", &config);
}

#[test]
fn a_machine_to_save_lives_in_named_memory() {
    let start = Start::BootToSave(Saving { memory: null().into(), state: null().into() });
    matches_golden(
        "save.txt",
        &MachineConfig { share: share("boxlite"), nics: vec![nic(2)], start, ..plain() },
    );
}

#[test]
fn a_restored_machine_boots_nothing() {
    let start = Start::Restore(Image { memory: null().into(), state: null().into() });
    matches_golden(
        "restore.txt",
        &MachineConfig { share: share("boxlite"), nics: vec![nic(2)], start, ..plain() },
    );
}

#[test]
fn the_shape_is_of_what_a_saved_machine_must_find_again() {
    let like = || MachineConfig { share: share("boxlite"), nics: vec![nic(2)], ..plain() };
    let same = MachineConfig {
        name: "another".to_owned(),
        kernel: "/elsewhere/vmlinux".into(),
        console_log: "/elsewhere".into(),
        start: Start::Restore(Image { memory: null().into(), state: null().into() }),
        ..like()
    };
    assert_eq!(shape(&like()), shape(&same));
    for other in [
        MachineConfig { accel: Accel::Kvm, ..like() },
        MachineConfig { transport: Transport::Pci, ..like() },
        MachineConfig { vcpus: 2, ..like() },
        MachineConfig { memory_mib: 256, ..like() },
        MachineConfig { kernel_args: "debug".to_owned(), ..like() },
        MachineConfig { port_name: "other".to_owned(), ..like() },
        MachineConfig { share: None, ..like() },
        MachineConfig { nics: vec![nic(2), nic(3)], ..like() },
        MachineConfig { nics: vec![nic(3)], ..like() },
    ] {
        assert_ne!(shape(&like()), shape(&other), "{other:?}");
    }
}

#[test]
fn cards_keep_their_descriptors_without_a_share() {
    let line = text(&MachineConfig { nics: vec![nic(2)], ..plain() });
    assert!(line.contains("tap,id=net0,fd=9,"));
    assert!(!line.contains("vhost-user-fs"));
}

#[test]
fn commas_cannot_add_a_property() {
    let config = MachineConfig {
        name: "a,debug-threads=on".to_owned(),
        port_name: "p,nr=7".to_owned(),
        share: share("t,queue-size=2"),
        kernel: "/with,comma/vmlinux".into(),
        kernel_args: "boxlite.list=a,b".to_owned(),
        ..plain()
    };
    let line = text(&config);
    assert!(line.contains("    guest=a,,debug-threads=on\n"));
    assert!(line.contains("name=p,,nr=7\n"));
    assert!(line.contains("tag=t,,queue-size=2\n"));
    // These options take one plain value: QEMU does not split it.
    assert!(line.contains("    /with,comma/vmlinux\n"));
    assert!(line.contains(" boxlite.list=a,b\n"));
}

#[test]
fn a_value_that_looks_like_an_option_stays_a_value() {
    let config = MachineConfig { name: "-daemonize".to_owned(), ..plain() };
    let line = arguments(&config);
    let at = line.iter().position(|argument| argument == "-name").expect("-name");
    assert_eq!(line[at + 1], "guest=-daemonize");
}
