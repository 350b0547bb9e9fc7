// SPDX-License-Identifier: Apache-2.0
//! Which template a start takes, and what it says when it takes none. No machine is needed.

use std::fs;

use super::super::{outline, store};
use super::*;
use crate::config::Config;

/// A host with files of its own for everything a template depends on.
struct Host {
    _scratch: tempfile::TempDir,
    config: Config,
}

impl Host {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let paths = &mut config.paths;
        for (name, path) in [
            ("qemu", &mut paths.qemu),
            ("virtiofsd", &mut paths.virtiofsd),
            ("kernel", &mut paths.kernel),
            ("initrd", &mut paths.initrd),
        ] {
            *path = scratch.path().join(name);
            fs::write(path, name).unwrap();
        }
        config.template.directory = scratch.path().join("templates");
        Self { _scratch: scratch, config }
    }

    fn machine(&self, class: &str) -> MachineConfig {
        outline(&self.config, class.parse().unwrap()).unwrap()
    }

    fn store(&self) -> Store {
        Store::create(&self.config.template.directory).unwrap()
    }

    /// Publishes a template as a build would.
    fn template(&self, class: &str) -> Entry {
        let (machine, virtiofsd) = (self.machine(class), &self.config.paths.virtiofsd);
        let paths = identity::ingredients(&machine, virtiofsd).map(|(_, path)| path);
        let digests = Digests::read(paths).unwrap();
        let store = self.store();
        store.note(&digests, &store.lock(|| {}).unwrap()).unwrap();
        let host = identity::host().unwrap();
        let identity = identity::identity(&machine, virtiofsd, &digests, &host).unwrap();
        store::tests::publish(&store, class, &identity)
    }

    fn choose(&self, machine: &mut MachineConfig) -> Choice {
        choose(&self.config.template, &self.config.paths.virtiofsd, machine).unwrap()
    }
}

fn boots(machine: &MachineConfig, class: &str) -> bool {
    matches!(machine.start, Start::Boot) && format!("{}x{}", machine.vcpus, machine.memory_mib) == class
}

#[test]
fn a_fresh_template_is_taken() {
    let host = Host::new();
    let entry = host.template("1x512");
    let mut machine = host.machine("1x512");
    let choice = host.choose(&mut machine);
    assert_eq!((choice.template, choice.warning), (Some(entry), None));
    assert!(matches!(machine.start, Start::Restore(_)));
}

#[test]
fn without_any_the_machine_boots_and_nobody_is_bothered() {
    let host = Host::new();
    let mut machine = host.machine("1x512");
    assert!(host.choose(&mut machine).warning.is_none());
    host.template("1x256");
    let choice = host.choose(&mut machine);
    assert!(choice.template.is_none() && choice.warning.is_none());
    assert!(boots(&machine, "1x512"));
}

#[test]
fn the_smallest_room_that_is_large_enough_is_taken() {
    let host = Host::new();
    for class in ["1x4096", "2x2048", "2x4096", "4x8192"] {
        host.template(class);
    }
    for (asked, taken) in [("1x1024", "1x4096"), ("2x1024", "2x2048"), ("2x3072", "2x4096")] {
        let mut machine = host.machine(asked);
        let entry = host.choose(&mut machine).template.unwrap();
        assert_eq!(entry.class.to_string(), taken, "{asked}");
        assert_eq!(format!("{}x{}", machine.vcpus, machine.memory_mib), taken);
    }
    for asked in ["3x1024", "1x8192"] {
        let mut machine = host.machine(asked);
        assert!(host.choose(&mut machine).template.is_none());
        assert!(boots(&machine, asked));
    }
}

#[test]
fn another_program_image_or_setting_makes_it_stale_and_says_so() {
    for change in ["qemu", "virtiofsd", "kernel", "initrd", "nics"] {
        let mut host = Host::new();
        host.template("1x512");
        let paths = &host.config.paths;
        match change {
            "qemu" => fs::write(&paths.qemu, "newer").unwrap(),
            "virtiofsd" => fs::write(&paths.virtiofsd, "newer").unwrap(),
            "kernel" => fs::write(&paths.kernel, "newer").unwrap(),
            "initrd" => fs::write(&paths.initrd, "newer").unwrap(),
            _ => host.config.machine.nics += 1,
        }
        let mut machine = host.machine("1x512");
        let choice = host.choose(&mut machine);
        assert!(choice.template.is_none() && boots(&machine, "1x512"), "{change}");
        assert!(choice.warning.unwrap().contains("build them again"), "{change}");
    }
}

#[test]
fn a_damaged_one_is_passed_over_for_a_larger_whole_one() {
    let host = Host::new();
    let damaged = host.template("1x512");
    fs::write(host.store().path().join(damaged.name()).join("state"), "X").unwrap();
    let mut machine = host.machine("1x320");
    let choice = host.choose(&mut machine);
    let warning = choice.warning.unwrap();
    assert!(choice.template.is_none() && boots(&machine, "1x320"));
    assert!(warning.contains(&damaged.name()) && warning.contains("digest differs"), "{warning}");
    let whole = host.template("1x1024");
    assert_eq!(host.choose(&mut machine).template, Some(whole));
}

#[test]
fn the_mode_decides_whether_one_is_needed() {
    let mut host = Host::new();
    let mut machine = host.machine("1x512");
    host.config.template.mode = TemplateMode::Required;
    let error = choose(&host.config.template, &host.config.paths.virtiofsd, &mut machine).unwrap_err();
    assert!(
        error.to_string().contains("a template is required and there is none for a machine of 1x512"),
        "{error}"
    );
    let entry = host.template("1x512");
    assert_eq!(host.choose(&mut machine).template, Some(entry));
    host.config.template.mode = TemplateMode::Off;
    let mut machine = host.machine("1x512");
    assert!(host.choose(&mut machine).template.is_none() && boots(&machine, "1x512"));
}

#[test]
fn use_is_noted() {
    let host = Host::new();
    let entry = host.template("1x512");
    let manifest = host.store().path().join(entry.name()).join("manifest.json");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options().write(true).open(&manifest).unwrap().set_modified(long_ago).unwrap();
    host.choose(&mut host.machine("1x512"));
    assert!(host.store().template(&entry).unwrap().used > long_ago);
}
