// SPDX-License-Identifier: Apache-2.0
//! What every machine of ours is made of: the same for one that boots a container, one that is saved as a template,
//! and one that is restored. Whatever differs here makes a saved machine useless.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use boxlite_net::Namespace;
use boxlite_protocol::plan::Sysctl;
use boxlite_protocol::{NIC_MAC_PREFIX, PORT_NAME, SHARE_TAG};
use boxlite_vmm::{
    Accel, Hypervisor, Machine, MachineConfig, MachineExit, Nic, Qemu, Share, Start, Transport,
};

use crate::config::Config;
use crate::error::TaskError;
use crate::host_facts;
use crate::plan::{self, MachineSize};

/// The descriptors a machine takes over.
#[derive(Debug)]
pub(crate) struct Parts {
    /// One for each network card.
    pub(crate) taps: Vec<OwnedFd>,
    /// The share's vhost-user socket, if there is a share.
    pub(crate) share: Option<OwnedFd>,
}

impl Parts {
    /// Descriptors of nothing, for a configuration that is only looked at.
    pub(crate) fn none(nics: u32) -> std::io::Result<Self> {
        let null = File::open("/dev/null")?;
        let descriptor = || null.try_clone().map(OwnedFd::from);
        let taps = (0..nics).map(|_| descriptor()).collect::<std::io::Result<_>>()?;
        Ok(Self { taps, share: Some(descriptor()?) })
    }
}

/// Opens the taps of a machine in its namespace.
pub(crate) fn open_taps(namespace: &Namespace, count: u32) -> Result<Vec<OwnedFd>, TaskError> {
    (0..count)
        .map(|index| {
            boxlite_net::open_tap(namespace, index).map_err(TaskError::launch("opening a tap device"))
        })
        .collect()
}

/// What the guest's kernel is told once it runs. An emulated one compiles BPF programs by code that is translated for
/// this alone, and then has the result translated again: interpreting the few instructions is faster, the more so as
/// seccomp remembers which calls its filter always allows.
pub(crate) fn guest_sysctls(accel: Accel) -> Vec<Sysctl> {
    match accel {
        Accel::Kvm => Vec::new(),
        Accel::Tcg => {
            vec![Sysctl { path: "net/core/bpf_jit_enable".into(), value: "0".into(), ..Sysctl::default() }]
        }
    }
}

/// How long the end of a machine may come after that of its channel: they go together, in no order one can rely on.
pub(crate) const TOGETHER: Duration = Duration::from_secs(1);

/// How a machine has ended whose channel has; none when only the channel has.
pub(crate) async fn ended_too(machine: &dyn Machine) -> Option<MachineExit> {
    tokio::time::timeout(TOGETHER, machine.exited()).await.ok()
}

/// What of a machine one saved of it must find again ([`Hypervisor::shape`]).
pub(crate) fn shape(machine: &MachineConfig) -> String {
    Qemu.shape(machine)
}

/// The size of a machine for a container that says nothing.
pub(crate) fn usual(config: &Config) -> MachineSize {
    plan::usual(config.machine.defaults(), host_facts::memory_mib(), host_facts::cpus())
}

/// The machine `name`, of this size, with its console's log in `directory`. It boots unless told otherwise.
pub(crate) fn configure(
    config: &Config,
    name: &str,
    size: MachineSize,
    directory: &Path,
    parts: Parts,
) -> MachineConfig {
    let [a, b, c, d, e] = NIC_MAC_PREFIX;
    let nics = (0_u8..=u8::MAX).zip(parts.taps);
    MachineConfig {
        name: name.to_owned(),
        qemu: config.paths.qemu.clone(),
        accel: config.accel(),
        transport: Transport::of(config.accel()),
        kernel: config.paths.kernel.clone(),
        initrd: config.paths.initrd.clone(),
        kernel_args: String::new(),
        vcpus: size.vcpus,
        memory_mib: size.room_mib,
        port_name: PORT_NAME.to_owned(),
        share: parts.share.map(|socket| Share { socket, tag: SHARE_TAG.to_owned() }),
        nics: nics.map(|(index, tap)| Nic { tap, mac: [a, b, c, d, e, index] }).collect(),
        console_log: directory.join("console.log"),
        empty_root: directory.join("empty"),
        start: Start::Boot,
    }
}
