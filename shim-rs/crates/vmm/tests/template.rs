// SPDX-License-Identifier: Apache-2.0
//! Real machines, saved and restored.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::{fs::File, os::unix::fs::FileExt, time::Duration};

use boxlite_vmm::template::{Image, Saving, memory};
use boxlite_vmm::virtiofsd::{self, VirtiofsdConfig};
use boxlite_vmm::{
    Hypervisor, Machine, MachineConfig, Process, Qemu, Share, Start, Transport, VmmError, host_tsc,
};
use tokio::time::timeout;

mod guest;
use guest::{Dialogue, Guest};

/// Boots take a second; a loaded host may need many.
const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// A test machine with a share of its own, which holds its name.
fn config(guest: &Guest, name: &str, start: Start) -> (Process, MachineConfig) {
    let directory = guest.scratch.path().join(name);
    std::fs::create_dir(&directory).expect("directory");
    std::fs::write(directory.join("name"), format!("{name}\n")).expect("file");
    let (daemon, socket) = virtiofsd::launch(&VirtiofsdConfig {
        binary: "/usr/libexec/virtiofsd".into(),
        directory,
        socket_directory: guest.scratch.path().to_owned(),
    })
    .expect("virtiofsd");
    let share = Some(Share { socket, tag: "test".to_owned() });
    let console_log = guest.scratch.path().join(format!("{name}.log"));
    (daemon, MachineConfig { share, start, console_log, ..guest.config() })
}

/// Boots the guest, lets it answer once, saves it, and leaves `memory` and `state` in the scratch directory.
async fn save(guest: &Guest) {
    let file = |name: &str| {
        let path = guest.scratch.path().join(name);
        File::options().read(true).write(true).create(true).truncate(true).open(path).expect("file")
    };
    let ram = memory::anonymous(128 << 20).expect("memory");
    let saving = Saving { memory: ram.try_clone().expect("duplicate"), state: file("state") };
    let (_daemon, config) = config(guest, "saved", Start::BootToSave(saving));
    let machine = Qemu.launch(config).expect("launch");
    within(machine.started()).await.expect("a machine that boots has started");
    let mut channel = Dialogue::with(&*machine);
    assert_eq!(within(channel.ask("echo before")).await, "before");
    // A program's words, which take the port's interrupt, and not the kernel's.
    assert!(machine.console_tail().contains("test guest: up"));
    within(machine.save()).await.expect("saved");
    within(machine.end()).await;
    let kept = memory::pack(&ram, &mut file("memory")).expect("packed");
    assert!(kept > 8 << 20 && kept < 64 << 20, "{kept} bytes of 128 MiB kept");
}

fn image(guest: &Guest) -> Image {
    let open = |name: &str| File::open(guest.scratch.path().join(name)).expect("file");
    Image { memory: open("memory"), state: open("state") }
}

async fn restored(guest: &Guest, name: &str) -> (Process, Box<dyn Machine>) {
    let (daemon, config) = config(guest, name, Start::Restore(image(guest)));
    let machine = Qemu.launch(config).expect("launch");
    within(machine.started()).await.expect("restored");
    assert!(*machine.running().borrow());
    (daemon, machine)
}

#[tokio::test]
async fn restored_machines_go_on_apart_with_their_own_share() {
    let Some(guest) = Guest::prepare() else { return };
    go_on_apart(&guest).await;
}

#[tokio::test]
async fn machines_with_their_devices_on_pci_are_restored_as_well() {
    // The shim does so. An emulated machine of this kind has nothing that its guest could measure the counter by.
    host_tsc::begin();
    let Some(mut guest) = Guest::prepare() else { return };
    guest.transport = Transport::Pci;
    go_on_apart(&guest).await;
}

async fn go_on_apart(guest: &Guest) {
    save(guest).await;
    let (_one, first) = restored(guest, "first").await;
    let (_other, second) = restored(guest, "second").await;
    for (name, machine) in [("first", first), ("second", second)] {
        let mut channel = Dialogue::with(&*machine);
        assert_eq!(within(channel.ask("echo after")).await, "after");
        assert_eq!(within(channel.ask("mount test")).await, "ok");
        assert_eq!(within(channel.ask("read /share/name")).await, name);
        assert_eq!(within(channel.ask("write /share/answer")).await, "ok");
        within(machine.end()).await;
        let answer = guest.scratch.path().join(name).join("answer");
        assert_eq!(std::fs::read(answer).expect("the guest's file"), b"x");
    }
}

#[tokio::test]
async fn damaged_memory_is_never_executed() {
    let Some(guest) = Guest::prepare() else { return };
    save(&guest).await;
    let memory = File::options().write(true).open(guest.scratch.path().join("memory")).expect("memory");
    memory.write_all_at(b"!", 5 << 20).expect("changed");
    let (_daemon, config) = config(&guest, "damaged", Start::Restore(image(&guest)));
    let machine = Qemu.launch(config).expect("launch");
    let error = within(machine.started()).await.expect_err("refused");
    assert!(matches!(error, VmmError::SavedMemory(_)), "{error}");
    within(machine.end()).await;
}

#[tokio::test]
async fn a_damaged_state_is_an_error_with_words() {
    let Some(guest) = Guest::prepare() else { return };
    save(&guest).await;
    let state = File::options().write(true).open(guest.scratch.path().join("state")).expect("state");
    state.set_len(1000).expect("cut off");
    let (_daemon, config) = config(&guest, "cut", Start::Restore(image(&guest)));
    let machine = Qemu.launch(config).expect("launch");
    let error = within(machine.started()).await.expect_err("refused");
    let VmmError::Ended(exit) = error else { panic!("{error}") };
    assert!(!exit.stderr.is_empty());
}

#[tokio::test]
async fn a_full_disk_fails_the_save_and_not_the_machine() {
    let Some(guest) = Guest::prepare() else { return };
    let full = File::options().read(true).write(true).open("/dev/full").expect("/dev/full");
    let ram = memory::anonymous(128 << 20).expect("memory");
    let (_daemon, config) = config(&guest, "full", Start::BootToSave(Saving { memory: ram, state: full }));
    let machine = Qemu.launch(config).expect("launch");
    let mut channel = Dialogue::with(&*machine);
    assert_eq!(within(channel.ask("echo up")).await, "up");
    let error = within(machine.save()).await.expect_err("refused");
    assert!(matches!(error, VmmError::Monitor { command: "migrate", .. }), "{error}");
    within(machine.resume()).await.expect("it lives");
    assert_eq!(within(channel.ask("echo still")).await, "still");
    within(machine.end()).await;
}
