// SPDX-License-Identifier: Apache-2.0
//! What changes a key, and what does not.

use std::fs;

use boxlite_vmm::{Accel, Start, Transport};

use super::*;

struct Files {
    scratch: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { scratch: tempfile::tempdir().unwrap() };
        for name in ["qemu", "virtiofsd", "kernel", "initrd"] {
            fs::write(files.path(name), name).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn machine(&self) -> MachineConfig {
        MachineConfig {
            name: "one".to_owned(),
            qemu: self.path("qemu"),
            accel: Accel::Tcg,
            transport: Transport::Mmio,
            kernel: self.path("kernel"),
            initrd: self.path("initrd"),
            kernel_args: String::new(),
            vcpus: 1,
            memory_mib: 512,
            port_name: "port".to_owned(),
            share: None,
            nics: Vec::new(),
            console_log: "/log".into(),
            empty_root: "/empty".into(),
            start: Start::Boot,
        }
    }

    fn digests(&self) -> Digests {
        let (machine, virtiofsd) = (self.machine(), self.path("virtiofsd"));
        Digests::read(ingredients(&machine, &virtiofsd).map(|(_, path)| path)).unwrap()
    }

    fn key(&self, machine: &MachineConfig, digests: &Digests, cpu: &str) -> Result<String, PathBuf> {
        identity(machine, &self.path("virtiofsd"), digests, cpu).map(|identity| key(&identity))
    }
}

#[test]
fn the_key_is_of_what_a_saved_machine_depends_on() {
    let files = Files::new();
    let digests = files.digests();
    let own = files.key(&files.machine(), &digests, "cpu a\n").unwrap();
    let named = MachineConfig { name: "other".to_owned(), ..files.machine() };
    assert_eq!(files.key(&named, &digests, "cpu a\n").unwrap(), own);
    assert_ne!(files.key(&files.machine(), &digests, "cpu b\n").unwrap(), own);
    let larger = MachineConfig { memory_mib: 1024, ..files.machine() };
    assert_ne!(files.key(&larger, &digests, "cpu a\n").unwrap(), own);
    let kvm = MachineConfig { accel: Accel::Kvm, ..files.machine() };
    assert_ne!(files.key(&kvm, &digests, "cpu a\n").unwrap(), own);
    let elsewhere = MachineConfig { transport: Transport::Pci, ..files.machine() };
    assert_ne!(files.key(&elsewhere, &digests, "cpu a\n").unwrap(), own);
}

#[test]
fn another_content_is_another_key() {
    for name in ["qemu", "virtiofsd", "kernel", "initrd"] {
        let files = Files::new();
        let before = files.key(&files.machine(), &files.digests(), "").unwrap();
        fs::write(files.path(name), "changed").unwrap();
        assert_ne!(files.key(&files.machine(), &files.digests(), "").unwrap(), before, "{name}");
    }
}

#[test]
fn a_file_that_changed_since_it_was_digested_has_no_digest() {
    for name in ["qemu", "virtiofsd", "kernel", "initrd"] {
        let files = Files::new();
        let digests = files.digests();
        // Same length, and the change's time is set back: the kernel notes the change all the same.
        let before = fs::metadata(files.path(name)).unwrap().modified().unwrap();
        fs::write(files.path(name), name.to_uppercase()).unwrap();
        File::options().write(true).open(files.path(name)).unwrap().set_modified(before).unwrap();
        assert_eq!(files.key(&files.machine(), &digests, ""), Err(files.path(name)));
    }
}

#[test]
fn digests_of_another_configuration_stay_as_long_as_its_files() {
    let (one, other) = (Files::new(), Files::new());
    let both = one.digests().and(other.digests());
    assert!(one.key(&one.machine(), &both, "").is_ok() && other.key(&other.machine(), &both, "").is_ok());
    fs::write(other.path("kernel"), "changed").unwrap();
    let left = one.digests().and(both);
    assert_eq!(other.key(&other.machine(), &left, ""), Err(other.path("kernel")));
    assert!(left.of(&other.path("initrd")).is_some() && left.of(&other.path("kernel")).is_none());
}

#[test]
fn digests_survive_their_file() {
    let files = Files::new();
    let text = serde_json::to_vec(&files.digests()).unwrap();
    assert_eq!(serde_json::from_slice::<Digests>(&text).unwrap(), files.digests());
}

#[test]
fn the_hosts_kernel_and_processor_are_in_it() {
    assert!(host().unwrap().starts_with("host "));
    assert!(host().unwrap().contains("\ncpu flags: "));
}
