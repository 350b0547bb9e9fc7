// SPDX-License-Identifier: Apache-2.0
//! Machines made by QEMU's `microvm`. QEMU's things carry QEMU's names here.
//!
//! [`argv`] chooses the command line (pure, golden files); `machine` starts it and owns what it
//! talks over; `qmp` drives its monitor, off the boot path.

pub mod argv;
mod machine;
pub(crate) mod qmp;

use crate::{
    error::VmmError,
    machine::{Hypervisor, Machine, MachineConfig},
    process::Process,
};

/// The oldest QEMU that will do: `vhost-user-fs` with saved state, `x-ignore-shared` and `migrate file:`.
pub const MINIMUM_VERSION: (u32, u32) = (8, 2);

/// Makes machines with QEMU. Holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Qemu;

impl Hypervisor for Qemu {
    fn launch(&self, config: MachineConfig) -> Result<Box<dyn Machine>, VmmError> {
        Ok(Box::new(machine::QemuMachine::launch(config, Process::spawn)?))
    }

    fn shape(&self, config: &MachineConfig) -> String {
        argv::shape(config)
    }
}

/// As [`Qemu`], for machines that are nobody's but the calling thread's: the kernel ends them with it, also when this
/// program is killed. See [`Process::spawn_bound`].
#[derive(Debug, Clone, Copy, Default)]
pub struct BoundQemu;

impl Hypervisor for BoundQemu {
    fn launch(&self, config: MachineConfig) -> Result<Box<dyn Machine>, VmmError> {
        Ok(Box::new(machine::QemuMachine::launch(config, Process::spawn_bound)?))
    }

    fn shape(&self, config: &MachineConfig) -> String {
        argv::shape(config)
    }
}
