// SPDX-License-Identifier: Apache-2.0
//! What this host has of KVM, as far as it can be seen without a machine. Reads, decides nothing, says nothing to people.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use raw_cpuid::{CpuId, Hypervisor};

use crate::host_facts;

const DEVICE: &str = "/dev/kvm";
/// Where the kernel shows the device it offers, whether or not /dev has it.
const OFFERED: &str = "/sys/devices/virtual/misc/kvm";

/// The processor's own means of running guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// AMD's.
    Svm,
    /// Intel's.
    Vmx,
}

impl Extension {
    /// As in the flags of /proc/cpuinfo.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Svm => "svm",
            Self::Vmx => "vmx",
        }
    }

    /// The kernel's module for it.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Svm => "kvm_amd",
            Self::Vmx => "kvm_intel",
        }
    }
}

/// The processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Processor {
    /// What the kernel lets be used of it.
    pub(super) usable: Option<Extension>,
    /// What it has by its own word (CPUID). Firmware that switches it off does not take it from there.
    pub(super) built_in: Option<Extension>,
    /// It is a virtual one, of this hypervisor.
    pub(super) outer: Option<String>,
}

/// What is behind /dev/kvm, by the kernel's modules, built in or loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Modules {
    /// kvm_amd
    pub(super) amd: bool,
    /// kvm_intel
    pub(super) intel: bool,
    /// kvm_pvm, a hypervisor that needs no extension of the processor's.
    pub(super) pvm: bool,
}

impl Modules {
    /// Whether the one for `extension` is there.
    pub(super) fn has(self, extension: Extension) -> bool {
        match extension {
            Extension::Svm => self.amd,
            Extension::Vmx => self.intel,
        }
    }
}

/// Who may use a device that this process may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rights {
    /// EPERM: not the file's mode forbids it, but a rule for devices.
    pub(super) by_rule: bool,
    /// Of the file: the nine bits of rights.
    pub(super) mode: u32,
    pub(super) owner: String,
    pub(super) group: String,
    /// Who asked.
    pub(super) caller: String,
}

/// /dev/kvm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Device {
    #[default]
    Absent,
    Opens,
    Refused(Rights),
    /// It is there, and nothing is behind it.
    Dead(String),
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) processor: Processor,
    pub(super) modules: Modules,
    /// The kernel offers a device.
    pub(super) offered: bool,
    pub(super) device: Device,
}

impl Facts {
    /// Reads them. What cannot be read counts as not there.
    pub(super) fn observe() -> Self {
        Self { processor: processor(), modules: modules(), offered: offered(), device: device() }
    }
}

/// In a few words, to compare: what decides whether it is worth asking anew whether guests run under KVM. Cheap.
pub(super) fn mark() -> String {
    let device = match device() {
        Device::Opens => "opens",
        Device::Absent => "is missing",
        Device::Refused(_) => "is refused",
        Device::Dead(_) => "is dead",
    };
    let Modules { amd, intel, pvm } = modules();
    let names = [(amd, "kvm_amd"), (intel, "kvm_intel"), (pvm, "kvm_pvm")];
    let names: String = names.iter().filter(|(is, _)| *is).map(|(_, name)| format!(", {name}")).collect();
    format!("{DEVICE} {device}{names}")
}

fn processor() -> Processor {
    // Unreadable: no flags, and nothing is claimed of it but what it says itself.
    let told = host_facts::processor().unwrap_or_default();
    let id = CpuId::new();
    let own = id.get_feature_info().is_some_and(|features| features.has_vmx()).then_some(Extension::Vmx);
    let amds = id.get_extended_processor_and_feature_identifiers().is_some_and(|features| features.has_svm());
    Processor {
        usable: usable(&told),
        built_in: own.or_else(|| amds.then_some(Extension::Svm)),
        outer: has_flag(&told, "hypervisor")
            .then(|| outer(id.get_hypervisor_info().map(|info| info.identify()).as_ref())),
    }
}

fn usable(processor: &str) -> Option<Extension> {
    [Extension::Svm, Extension::Vmx].into_iter().find(|extension| has_flag(processor, extension.flag()))
}

fn has_flag(processor: &str, flag: &str) -> bool {
    let flags = processor.lines().find_map(|line| line.strip_prefix("cpu flags: ")).unwrap_or_default();
    flags.split(' ').any(|word| word == flag)
}

fn outer(identity: Option<&Hypervisor>) -> String {
    match identity {
        Some(Hypervisor::KVM) => "KVM",
        Some(Hypervisor::QEMU) => "QEMU's TCG",
        Some(Hypervisor::HyperV) => "Hyper-V",
        Some(Hypervisor::VMware) => "VMware",
        Some(Hypervisor::Xen) => "Xen",
        _ => "a hypervisor",
    }
    .to_owned()
}

fn modules() -> Modules {
    let loaded = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let has = |name: &str| is_loaded(&loaded, name) || Path::new("/sys/module").join(name).exists();
    Modules { amd: has("kvm_amd"), intel: has("kvm_intel"), pvm: has("kvm_pvm") }
}

fn is_loaded(modules: &str, name: &str) -> bool {
    modules.lines().any(|line| line.split(' ').next() == Some(name))
}

fn offered() -> bool {
    Path::new(OFFERED).exists()
}

fn device() -> Device {
    match std::fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Device::Opens,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Device::Absent,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Device::Refused(rights(&error)),
        Err(error) => Device::Dead(error.to_string()),
    }
}

fn rights(error: &io::Error) -> Rights {
    let (mode, uid, gid) =
        std::fs::metadata(DEVICE).map_or((0, 0, 0), |data| (data.mode(), data.uid(), data.gid()));
    let named = |file: &str, id: u32| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        name_of(&text, id).unwrap_or_else(|| id.to_string())
    };
    Rights {
        by_rule: error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()),
        mode: mode & 0o777,
        owner: named("/etc/passwd", uid),
        group: named("/etc/group", gid),
        caller: named("/etc/passwd", rustix::process::geteuid().as_raw()),
    }
}

/// The name of a number in /etc/passwd or /etc/group, which begin alike.
fn name_of(text: &str, id: u32) -> Option<String> {
    let id = id.to_string();
    let mut entries = text.lines().map(|line| line.split(':'));
    entries.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1) == Some(id.as_str())).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_whole_words_of_the_flags_alone() {
        let amd = "cpu model name: vmx\ncpu flags: fpu svm hypervisor\n";
        assert_eq!(usable(amd), Some(Extension::Svm));
        assert!(has_flag(amd, "hypervisor"));
        assert_eq!(usable("cpu flags: fpu svm_lock vmxnet\n"), None);
        assert_eq!(usable("cpu flags: vmx\n"), Some(Extension::Vmx));
        assert_eq!(usable(""), None);
    }

    #[test]
    fn modules_are_told_by_their_whole_name() {
        let text = "kvm_amd 184320 0 - Live 0x0\nkvm 1146880 1 kvm_amd, Live 0x0\n";
        assert!(is_loaded(text, "kvm_amd") && is_loaded(text, "kvm"));
        assert!(!is_loaded(text, "kvm_intel") && !is_loaded(text, "kv") && !is_loaded("", "kvm"));
    }

    #[test]
    fn numbers_have_the_names_of_the_hosts_files() {
        let groups = "root:x:0:\nkvm:x:104:alice,bob\nbroken\n";
        assert_eq!(name_of(groups, 104).as_deref(), Some("kvm"));
        assert_eq!(name_of(groups, 4), None);
    }

    #[test]
    fn this_host_is_described() {
        let facts = Facts::observe();
        assert_eq!(facts.device == Device::Opens, mark().starts_with("/dev/kvm opens"));
        // A virtual processor says so in both ways, and one that is usable is built in.
        assert!(facts.processor.usable.is_none() || facts.processor.built_in == facts.processor.usable);
    }
}
