// SPDX-License-Identifier: Apache-2.0
//! Which accelerator, and why, in words: from what is known of the host and what came of a boot under KVM.
//!
//! Pure. The words are here and nowhere else: `boxlite doctor`, `boxlite install`, the shim's log and accel.json have them
//! from this file. Order: [`without_boot`]; where that says nothing, a boot, and [`after_boot`].

use std::fmt;
use std::time::Duration;

use boxlite_linux::text::one_line;
use boxlite_vmm::Accel;
use serde::{Deserialize, Serialize};

use super::facts::{Device, Extension, Facts, Rights};
use super::said::{self, Said};

/// What kind of host it is, as far as KVM goes. Programs may rely on these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Guests run under KVM on the processor itself.
    Hardware,
    /// They do, in a host that is a machine itself.
    Nested,
    /// KVM is one that needs nothing of the processor's. Guests may come up under it or not.
    ParaVirtual,
    /// The processor cannot.
    NoVirtualization,
    /// It could.
    OffInFirmware,
    /// It could, and the host around this one keeps that from it.
    NotPassedOn,
    /// The kernel is not told to.
    ModuleNotLoaded,
    /// The kernel does, and there is no way to it.
    NoDevice,
    /// There is a way, for others.
    NoRights,
    /// It should work, and does not.
    Failed,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// How the accelerator is written down.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Accel", rename_all = "lowercase")]
enum Word {
    Kvm,
    Tcg,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// What to use.
    #[serde(with = "Word")]
    pub(crate) accel: Accel,
    /// What the host is.
    pub(crate) kind: Kind,
    /// The same for people, in one line.
    pub(crate) message: String,
    /// What to do about it, where something can be done.
    pub(crate) hint: Option<String>,
    /// What QEMU and the guest said, in their words.
    pub(crate) detail: Option<String>,
}

/// What came of a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The agent took its first call, so long after the launch.
    Up(Duration),
    /// QEMU ended by itself.
    Ended(Said),
    /// Nothing came for so long.
    Late(Duration, Said),
    /// The agent came and was not understood.
    Misunderstood(String),
}

/// The verdict on a host on which there is no KVM to try.
pub(super) fn without_boot(facts: &Facts) -> Option<Verdict> {
    match &facts.device {
        Device::Opens => None,
        Device::Refused(rights) => Some(no_rights(rights)),
        Device::Absent if facts.offered => Some(tcg(
            Kind::NoDevice,
            "the kernel has KVM, and /dev/kvm is missing".to_owned(),
            "mknod /dev/kvm c 10 232; in a container, hand the device in (--device /dev/kvm)".to_owned(),
        )),
        Device::Dead(why) if facts.offered => Some(tcg(
            Kind::NoDevice,
            format!("the kernel has KVM, and /dev/kvm does not lead to it ({why})"),
            "rm /dev/kvm && mknod /dev/kvm c 10 232".to_owned(),
        )),
        Device::Absent | Device::Dead(_) => Some(no_kvm(facts)),
    }
}

/// The verdict on a host with a KVM that was tried.
pub(super) fn after_boot(facts: &Facts, outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Up(took) => up(facts, *took),
        failure if is_para_virtual(facts) => {
            let message = format!("/dev/kvm is that of {}, and guests do not come up under it", para(facts));
            let hint = "for KVM, run on a host with hardware virtualization (svm or vmx in /proc/cpuinfo)";
            Verdict {
                detail: detail(failure),
                ..tcg(Kind::ParaVirtual, message, format!("{hint}; until then guests run under TCG"))
            }
        }
        failure => {
            let message = format!("/dev/kvm is there, but {}", failed(failure));
            let by_hand =
                "docs/how-to/debug-a-machine.md boots a guest by hand; to ask again: boxlite install";
            let hint = facts.processor.outer.as_ref().map_or_else(
                || by_hand.to_owned(),
                |outer| {
                    format!("this host is itself a machine under {outer}, which may be at fault; {by_hand}")
                },
            );
            Verdict { detail: detail(failure), ..tcg(Kind::Failed, message, hint) }
        }
    }
}

/// What a boot that failed came to, in one line.
pub(super) fn failed(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Up(took) => format!("a guest came up in {:.2} s", took.as_secs_f64()),
        Outcome::Ended(said) => {
            format!("QEMU ended: {}", said.telling().unwrap_or_else(|| "without a word".to_owned()))
        }
        Outcome::Late(patience, said) => {
            let said =
                said.telling().map_or_else(|| " and said nothing".to_owned(), |said| format!(": {said}"));
            format!("a guest did not come up in {} s{said}", patience.as_secs_f64())
        }
        Outcome::Misunderstood(why) => one_line(why, said::QUOTED),
    }
}

fn up(facts: &Facts, took: Duration) -> Verdict {
    let came = format!("a guest came up under KVM in {:.2} s", took.as_secs_f64());
    let kvm = |kind, message, hint: Option<&str>| Verdict {
        accel: Accel::Kvm,
        kind,
        message,
        hint: hint.map(str::to_owned),
        detail: None,
    };
    if is_para_virtual(facts) {
        let message = format!(
            "{came}; this KVM is that of {}: the host's kernel keeps guests apart, and not the processor",
            para(facts)
        );
        let hint = "for the processor to keep them apart, run on a host with svm or vmx in /proc/cpuinfo";
        return kvm(Kind::ParaVirtual, message, Some(hint));
    }
    match &facts.processor.outer {
        None => kvm(Kind::Hardware, came, None),
        Some(outer) => {
            let message = format!(
                "{came}; this host is itself a machine under {outer}, so each exit of a guest is carried out by the \
                 host around it, which is slow"
            );
            kvm(Kind::Nested, message, Some("where that is too slow, run on hardware"))
        }
    }
}

/// By name, or because nothing of the processor's is there that KVM could use.
fn is_para_virtual(facts: &Facts) -> bool {
    let hardware = facts.modules.amd || facts.modules.intel;
    !hardware && (facts.modules.pvm || facts.processor.usable.is_none())
}

fn para(facts: &Facts) -> &'static str {
    if facts.modules.pvm {
        "kvm_pvm, a para-virtual hypervisor"
    } else {
        "a para-virtual hypervisor (the processor has neither svm nor vmx)"
    }
}

fn tcg(kind: Kind, message: String, hint: String) -> Verdict {
    Verdict { accel: Accel::Tcg, kind, message, hint: Some(hint), detail: None }
}

fn no_kvm(facts: &Facts) -> Verdict {
    let processor = &facts.processor;
    match (processor.usable, processor.built_in, &processor.outer) {
        (Some(extension), _, _) if !facts.modules.has(extension) => not_loaded(extension),
        // Built into the kernel, and it did not take the processor.
        (Some(extension), _, _) | (None, Some(extension), None) => off(extension),
        (None, _, Some(outer)) => tcg(
            Kind::NotPassedOn,
            format!(
                "there is no KVM: this host is itself a machine under {outer}, which does not pass virtualization on"
            ),
            "switch on nested virtualization in the host around it, or run on hardware".to_owned(),
        ),
        (None, None, None) => tcg(
            Kind::NoVirtualization,
            "there is no KVM: this processor has no virtualization (neither svm nor vmx)".to_owned(),
            "run on a host whose processor has it".to_owned(),
        ),
    }
}

fn off(extension: Extension) -> Verdict {
    tcg(
        Kind::OffInFirmware,
        format!(
            "there is no KVM: the processor's virtualization ({}) is off in the firmware",
            extension.flag()
        ),
        "switch it on in the firmware's setup (\"SVM Mode\", \"Intel VT-x\")".to_owned(),
    )
}

fn not_loaded(extension: Extension) -> Verdict {
    let module = extension.module();
    tcg(
        Kind::ModuleNotLoaded,
        format!("there is no KVM: the processor has {}, and {module} is not loaded", extension.flag()),
        format!(
            "modprobe {module}; where that is \"not supported\", switch virtualization on in the firmware's setup"
        ),
    )
}

fn no_rights(rights: &Rights) -> Verdict {
    let Rights { by_rule, mode, owner, group, caller } = rights;
    let groups = mode & 0o060 == 0o060;
    let hint = if *by_rule {
        "allow the device to the engine's cgroup (c 10:232 rw) and security module; in a container, hand it in \
         (--device /dev/kvm)"
            .to_owned()
    } else if groups && group != "root" {
        format!("usermod -aG {group} {caller}, and log in (or start the engine) again")
    } else {
        format!("chgrp kvm /dev/kvm && chmod 660 /dev/kvm, then: usermod -aG kvm {caller}")
    };
    let why = match (by_rule, groups) {
        (true, _) => "a rule for devices forbids it",
        (false, true) => "its group may",
        (false, false) => "its owner alone may",
    };
    let message = format!("{caller} may not use /dev/kvm, of {owner}:{group}, mode {mode:04o}: {why}");
    tcg(Kind::NoRights, message, hint)
}

fn detail(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Up(_) => None,
        Outcome::Ended(said) | Outcome::Late(_, said) => said.whole(),
        Outcome::Misunderstood(why) => Some(why.clone()),
    }
}

#[cfg(test)]
mod tests;
