// SPDX-License-Identifier: Apache-2.0
//! How large the machine is. Its *room* and its CPUs are the host's, whatever the container's limits, so that one
//! template fits nearly all; how much of the room it may take is decided here. The exact limit is held by the
//! container's cgroup in the guest, as are quotas and sets of CPUs.
//!
//! ```text
//!  0 ....... booted with ........ memory_mib: may be taken ........ room_mib: is there, never touched
//! ```

use oci_spec::runtime::{LinuxMemory, LinuxResources};

use super::annotations::{Annotations, Role};
use super::refusal::Refusal;
use super::{HostFacts, MachineDefaults, MachineSize};

const MIB: u64 = 1 << 20;

/// What kernel, agent and share take in a small guest, in MiB (29 are touched by an idle guest of 128 MiB).
const GUEST_MIB: u64 = 48;

/// Page structs and the like: one part in this many of the memory (1.6 % measured, twice that for comfort).
const GUEST_SHARE: u64 = 32;

/// Step that what may be taken is rounded up to, in MiB: the guest takes memory in by 32.
const STEP_MIB: u64 = 64;
const SMALLEST_MIB: u64 = 128;

/// May be taken for a limit, however small, in MiB: it costs nothing where it is not, and kernel and agent have room.
const AMPLE_MIB: u32 = 512;

/// Step of the room, in MiB. A host's memory differs by some MiB from one kernel to the next, and templates are to fit.
const ROOM_MIB: u64 = 1024;

/// Taken for the host's memory where it cannot be read, in MiB.
const UNKNOWN_MIB: u64 = 2048;

/// The kernel's NR_CPUS (guest-kernel-config).
const MAX_VCPUS: u32 = 64;

/// The size of the machine for a container with these limits; for a pod's sandbox, of the machine for the whole pod.
pub(super) fn compile(
    resources: Option<&LinuxResources>,
    annotations: &Annotations,
    facts: &HostFacts<'_>,
) -> Result<MachineSize, Refusal> {
    let usual = usual(facts.defaults, facts.memory_mib, facts.cpus);
    let (limit, least) = match annotations.role {
        // Containers without limits are not in the sums, so the machine is never below the default.
        Role::Sandbox => (annotations.pod.memory, usual.memory_mib),
        Role::Single | Role::Member { .. } => (
            resources
                .and_then(|resources| resources.memory().as_ref())
                .and_then(LinuxMemory::limit)
                .unwrap_or(0),
            0,
        ),
    };
    let memory_mib = memory(limit, least, annotations.memory_mib, &usual, facts)?;
    Ok(MachineSize {
        memory_mib,
        room_mib: room(memory_mib.into()).max(usual.room_mib),
        vcpus: annotations.vcpus.map_or(usual.vcpus, |asked| asked.clamp(1, most_vcpus(facts.cpus))),
    })
}

/// The size of a machine whose container says nothing, on a host with so many MiB and CPUs.
#[must_use]
pub fn usual(defaults: MachineDefaults, host_mib: u64, host_cpus: u32) -> MachineSize {
    let host = known(host_mib);
    let memory = defaults.memory_mib.map_or(host, u64::from).max(SMALLEST_MIB);
    let vcpus = defaults.vcpus.map_or(host_cpus, |asked| asked.min(host_cpus));
    MachineSize {
        memory_mib: u32::try_from(memory).unwrap_or(u32::MAX),
        room_mib: room(memory),
        vcpus: vcpus.clamp(1, MAX_VCPUS),
    }
}

/// What a machine may take whose container has this limit from now on, in bytes; not positive: none.
#[must_use]
pub fn for_limit(limit: i64, defaults: MachineDefaults, host_mib: u64) -> u32 {
    match mib(limit) {
        Some(limit) => with_guest(limit, host_mib).max(AMPLE_MIB),
        None => usual(defaults, host_mib, 1).memory_mib,
    }
}

fn memory(
    limit: i64,
    least: u32,
    annotation: Option<u32>,
    usual: &MachineSize,
    facts: &HostFacts<'_>,
) -> Result<u32, Refusal> {
    let needed = mib(limit).map(|limit| with_guest(limit, facts.memory_mib));
    match (annotation, needed) {
        (Some(asked), Some(needed)) if asked < needed => Err(Refusal::invalid(
            "annotation io.boxlite.memory_mib",
            format!("{asked} MiB are too few for the container's memory limit, which needs {needed} MiB"),
        )),
        (Some(asked), _) if facts.memory_mib > 0 && u64::from(asked) > facts.memory_mib => {
            Err(Refusal::Exceeds {
                what: "memory",
                unit: "MiB",
                asked: asked.into(),
                available: facts.memory_mib,
            })
        }
        (Some(asked), _) => Ok(asked.max(smallest())),
        (None, Some(needed)) => Ok(needed.max(least).max(AMPLE_MIB)),
        (None, None) => Ok(usual.memory_mib),
    }
}

/// A limit in MiB; none where there is none.
fn mib(limit: i64) -> Option<u64> {
    u64::try_from(limit).ok().filter(|bytes| *bytes > 0).map(|bytes| bytes.div_ceil(MIB))
}

/// What a machine may take for a limit, both in MiB. A limit above the host's memory is one, as under runc, and cannot
/// be reached.
fn with_guest(limit: u64, host_mib: u64) -> u32 {
    let limit = limit.min(known(host_mib));
    let needed = (limit + GUEST_MIB + limit / GUEST_SHARE).next_multiple_of(STEP_MIB).max(SMALLEST_MIB);
    u32::try_from(needed.min(room(known(host_mib)).into())).unwrap_or(u32::MAX)
}

fn known(host_mib: u64) -> u64 {
    if host_mib == 0 { UNKNOWN_MIB } else { host_mib }
}

fn room(memory_mib: u64) -> u32 {
    u32::try_from(memory_mib.next_multiple_of(ROOM_MIB)).unwrap_or(u32::MAX)
}

fn smallest() -> u32 {
    u32::try_from(SMALLEST_MIB).unwrap_or(u32::MAX)
}

fn most_vcpus(host_cpus: u32) -> u32 {
    host_cpus.clamp(1, MAX_VCPUS)
}

#[cfg(test)]
#[path = "size/tests.rs"]
mod tests;
