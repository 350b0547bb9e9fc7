// SPDX-License-Identifier: Apache-2.0
//! Each kind of host, as a table: what is known of it, and what is said.

use super::super::facts::{Modules, Processor};
use super::*;

const SVM: Option<Extension> = Some(Extension::Svm);
const VMX: Option<Extension> = Some(Extension::Vmx);
/// What a host with kvm_pvm came to: QEMU 10.0, /dev/kvm open, no svm.
const MSR: &str = "qemu-system-x86_64: error: failed to set MSR 0x10a to 0xc000069\n\
                   qemu-system-x86_64: ../target/i386/kvm/kvm.c:3213: kvm_buf_set_msrs: Assertion failed.";
const REGISTERS: &str = "KVM internal error. Suberror: 1\nemulation failure\n\
                         EAX=00000000 EBX=00000000 ECX=00000000 EDX=00000663\nCode=00 66 89";

fn processor(usable: Option<Extension>, built_in: Option<Extension>, outer: Option<&str>) -> Processor {
    Processor { usable, built_in, outer: outer.map(str::to_owned) }
}

/// A host without modules and device.
fn bare(processor: Processor) -> Facts {
    Facts { processor, ..Facts::default() }
}

fn amd() -> Facts {
    Facts {
        modules: Modules { amd: true, ..Modules::default() },
        offered: true,
        device: Device::Opens,
        ..bare(processor(SVM, SVM, None))
    }
}

fn pvm() -> Facts {
    Facts {
        processor: processor(None, None, Some("KVM")),
        modules: Modules { pvm: true, ..Modules::default() },
        ..amd()
    }
}

fn refused(by_rule: bool, mode: u32, group: &str) -> Facts {
    let name = str::to_owned;
    let rights = Rights { by_rule, mode, owner: name("root"), group: name(group), caller: name("alice") };
    Facts { device: Device::Refused(rights), ..amd() }
}

fn ended(qemu: &str) -> Outcome {
    Outcome::Ended(Said { qemu: qemu.to_owned(), console: String::new() })
}

#[test]
fn hosts_without_a_kvm_to_try_are_told_apart() {
    let in_machine = Some("KVM");
    let table = [
        (bare(processor(None, None, None)), Kind::NoVirtualization, "neither svm nor vmx", "run on a host"),
        (bare(processor(None, SVM, None)), Kind::OffInFirmware, "(svm) is off in the firmware", "SVM Mode"),
        (bare(processor(None, VMX, None)), Kind::OffInFirmware, "(vmx) is off in the firmware", "VT-x"),
        (
            bare(processor(None, None, in_machine)),
            Kind::NotPassedOn,
            "under KVM, which does not pass",
            "nested",
        ),
        (
            bare(processor(None, VMX, in_machine)),
            Kind::NotPassedOn,
            "under KVM, which does not pass",
            "nested",
        ),
        (bare(processor(SVM, SVM, None)), Kind::ModuleNotLoaded, "kvm_amd is not loaded", "modprobe kvm_amd"),
        (bare(processor(VMX, VMX, None)), Kind::ModuleNotLoaded, "kvm_intel is not", "modprobe kvm_intel"),
        // Built in, and the firmware had the last word.
        (Facts { offered: false, device: Device::Absent, ..amd() }, Kind::OffInFirmware, "(svm)", "firmware"),
        (Facts { device: Device::Absent, ..amd() }, Kind::NoDevice, "/dev/kvm is missing", "mknod /dev/kvm"),
        (Facts { device: Device::Dead("ENXIO".into()), ..amd() }, Kind::NoDevice, "(ENXIO)", "mknod"),
        // A name in /dev that nothing stands behind says no more than none.
        (
            Facts { device: Device::Dead("x".into()), ..bare(processor(SVM, SVM, None)) },
            Kind::ModuleNotLoaded,
            "kvm_amd is not loaded",
            "modprobe kvm_amd",
        ),
    ];
    for (facts, kind, message, hint) in table {
        let verdict = without_boot(&facts).unwrap();
        assert_eq!((verdict.accel, verdict.kind), (Accel::Tcg, kind), "{facts:?}");
        assert!(verdict.message.contains(message), "{}", verdict.message);
        assert!(verdict.hint.as_ref().unwrap().contains(hint), "{:?}", verdict.hint);
    }
}

#[test]
fn without_rights_the_group_is_named_and_how_to_join_it() {
    let table = [
        (refused(false, 0o660, "kvm"), "root:kvm, mode 0660: its group may", "usermod -aG kvm alice, and"),
        (refused(false, 0o600, "kvm"), "mode 0600: its owner alone may", "chmod 660 /dev/kvm"),
        (refused(false, 0o660, "root"), "root:root, mode 0660", "chgrp kvm /dev/kvm"),
        (refused(true, 0o666, "kvm"), "a rule for devices forbids it", "c 10:232"),
    ];
    for (facts, message, hint) in table {
        let verdict = without_boot(&facts).unwrap();
        assert_eq!(verdict.kind, Kind::NoRights);
        assert!(verdict.message.starts_with("alice may not use /dev/kvm, of root:"), "{}", verdict.message);
        assert!(verdict.message.contains(message), "{}", verdict.message);
        assert!(verdict.hint.as_ref().unwrap().contains(hint), "{:?}", verdict.hint);
    }
}

#[test]
fn where_guests_come_up_it_is_told_what_of() {
    let nested = Facts { processor: processor(SVM, SVM, Some("QEMU's TCG")), ..amd() };
    let nameless = Facts { modules: Modules::default(), ..pvm() };
    let table = [
        (amd(), Kind::Hardware, "a guest came up under KVM in 0.31 s"),
        (
            nested,
            Kind::Nested,
            "itself a machine under QEMU's TCG, so each exit of a guest is carried out by the host",
        ),
        (
            pvm(),
            Kind::ParaVirtual,
            "kvm_pvm, a para-virtual hypervisor: the host's kernel keeps guests apart",
        ),
        (nameless, Kind::ParaVirtual, "neither svm nor vmx): the host's kernel"),
    ];
    for (facts, kind, message) in table {
        assert_eq!(without_boot(&facts), None);
        let verdict = after_boot(&facts, &Outcome::Up(Duration::from_millis(310)));
        assert_eq!((verdict.accel, verdict.kind), (Accel::Kvm, kind));
        assert!(verdict.message.contains(message), "{}", verdict.message);
        assert_eq!(verdict.hint.is_none(), kind == Kind::Hardware);
        assert_eq!(verdict.detail, None);
    }
}

#[test]
fn a_para_virtual_kvm_is_named_and_qemus_words_are_the_detail() {
    let nameless = Facts { modules: Modules::default(), ..pvm() };
    for (facts, name) in [(pvm(), "kvm_pvm"), (nameless, "neither svm nor vmx")] {
        for outcome in [ended(MSR), Outcome::Late(Duration::from_secs(5), said(REGISTERS, ""))] {
            let verdict = after_boot(&facts, &outcome);
            assert_eq!((verdict.accel, verdict.kind), (Accel::Tcg, Kind::ParaVirtual));
            assert!(verdict.message.contains(name), "{}", verdict.message);
            for raw in ["MSR", "0x10a", "EAX", "Suberror"] {
                assert!(!verdict.message.contains(raw), "{}", verdict.message);
            }
            let hint = verdict.hint.unwrap();
            assert!(hint.contains("hardware virtualization") && hint.contains("TCG"), "{hint}");
            let detail = verdict.detail.unwrap();
            assert!(detail.contains("failed to set MSR 0x10a") || detail.contains("EAX="), "{detail}");
        }
    }
}

fn said(qemu: &str, console: &str) -> Said {
    Said { qemu: qemu.to_owned(), console: console.to_owned() }
}

#[test]
fn what_else_fails_is_one_line_of_who_knows_most() {
    let late = |qemu, console| Outcome::Late(Duration::from_millis(200), said(qemu, console));
    let panic = "[0.1] Linux\n[0.2] Kernel panic - not syncing\n[0.3] ---[ end ]---\n";
    let table = [
        (ended(MSR), "QEMU ended: failed to set MSR 0x10a to 0xc000069"),
        (ended("qemu: could not open disk: No such file\n"), "QEMU ended: could not open disk: No such file"),
        (ended("one\ntwo\n\n"), "QEMU ended: two"),
        (ended(""), "QEMU ended: without a word"),
        (late("", ""), "a guest did not come up in 0.2 s and said nothing"),
        (late("", panic), "a guest did not come up in 0.2 s: [0.2] Kernel panic - not syncing"),
        (
            late("qemu-system-x86_64: warning: no\n", "boxlite-agent: no share\n"),
            "a guest did not come up in 0.2 s: boxlite-agent: no share",
        ),
        (
            late(REGISTERS, "[0.1] Linux"),
            "a guest did not come up in 0.2 s: KVM internal error. Suberror: 1 (emulation failure)",
        ),
        (Outcome::Misunderstood("of another release".to_owned()), "of another release"),
    ];
    for (outcome, expected) in table {
        let verdict = after_boot(&amd(), &outcome);
        assert_eq!((verdict.accel, verdict.kind), (Accel::Tcg, Kind::Failed));
        assert_eq!(verdict.message, format!("/dev/kvm is there, but {expected}"));
        assert!(verdict.hint.unwrap().starts_with("docs/how-to/debug-a-machine.md"));
    }
}

#[test]
fn a_failure_in_a_host_that_is_a_machine_points_around_it() {
    let nested = Facts { processor: processor(SVM, SVM, Some("KVM")), ..amd() };
    let hint = after_boot(&nested, &ended("")).hint.unwrap();
    assert!(hint.starts_with("this host is itself a machine under KVM, which may be at fault"), "{hint}");
}

#[test]
fn others_words_are_bounded_and_cannot_drive_a_terminal() {
    let long = format!("qemu: \u{1b}[2J{}\nmore\n", "x".repeat(100_000));
    let verdict = after_boot(&amd(), &ended(&long));
    assert!(verdict.message.chars().count() < 300 && !verdict.message.contains(char::is_control));
    let detail = verdict.detail.unwrap();
    assert!(detail.chars().count() <= said::WHOLE && !detail.contains('\u{1b}'));
}

#[test]
fn kinds_are_words_that_programs_may_rely_on() {
    let word = |kind: Kind| serde_json::to_value(kind).unwrap();
    assert_eq!(word(Kind::ParaVirtual), "para-virtual");
    assert_eq!(word(Kind::OffInFirmware), "off-in-firmware");
    assert_eq!(word(Kind::NoRights), "no-rights");
    assert_eq!(Kind::ParaVirtual.to_string(), "para-virtual", "in the log, too");
}
