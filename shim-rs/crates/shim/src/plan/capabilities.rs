// SPDX-License-Identifier: Apache-2.0
//! `process.capabilities` as masks: bit n is capability n of linux/capability.h.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

/// The five sets of a process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Masks {
    pub(super) bounding: u64,
    pub(super) effective: u64,
    pub(super) permitted: u64,
    pub(super) inheritable: u64,
    pub(super) ambient: u64,
}

/// The masks of the sets named in a spec.
pub(super) fn masks(capabilities: &LinuxCapabilities) -> Masks {
    Masks {
        bounding: mask(capabilities.bounding().as_ref()),
        effective: mask(capabilities.effective().as_ref()),
        permitted: mask(capabilities.permitted().as_ref()),
        inheritable: mask(capabilities.inheritable().as_ref()),
        ambient: mask(capabilities.ambient().as_ref()),
    }
}

fn mask(set: Option<&Capabilities>) -> u64 {
    set.into_iter().flatten().fold(0, |mask, capability| mask | 1 << number(*capability))
}

fn number(capability: Capability) -> u32 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_become_masks() {
        let mut named = LinuxCapabilities::default();
        named
            .set_bounding(Some([Capability::Chown, Capability::CheckpointRestore].into_iter().collect()))
            .set_effective(None)
            .set_permitted(Some([Capability::SysAdmin].into_iter().collect()))
            .set_inheritable(None)
            .set_ambient(None);
        let expected = Masks { bounding: 1 | 1 << 40, permitted: 1 << 21, ..Masks::default() };
        assert_eq!(masks(&named), expected);
    }
}
