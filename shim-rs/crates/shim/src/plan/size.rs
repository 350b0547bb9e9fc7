// SPDX-License-Identifier: Apache-2.0
//! How large the machine is: enough for the container's limits and the guest itself. The exact limit is held by the
//! container's cgroup in the guest.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::annotations::{Annotations, Role};
use super::cgroup::DEFAULT_PERIOD;
use super::refusal::Refusal;
use super::{HostFacts, MachineSize};

const MIB: u64 = 1 << 20;

/// What kernel, agent and share take in a small guest, in MiB (29 are touched by an idle guest of 128 MiB).
const GUEST_MIB: u64 = 48;

/// Page structs and the like: one part in this many of the memory (1.6 % measured, twice that for comfort).
const GUEST_SHARE: u64 = 32;

/// Smallest machine, and the step sizes are rounded up to, in MiB: similar limits share a template.
const STEP_MIB: u64 = 64;
const SMALLEST_MIB: u64 = 128;

/// The kernel's NR_CPUS (guest-kernel-config).
const MAX_VCPUS: u64 = 64;

/// The size of the machine for a container with these limits; for a pod's sandbox, of the machine for the whole pod.
pub(super) fn compile(
    resources: Option<&LinuxResources>,
    annotations: &Annotations,
    facts: &HostFacts<'_>,
) -> Result<MachineSize, Refusal> {
    let cpu = resources.and_then(|resources| resources.cpu().as_ref());
    let by_set =
        cpu.and_then(|cpu| cpu.cpus().as_deref()).filter(|set| !set.is_empty()).map(count).transpose()?;
    let (limit, least, by_quota) = match annotations.role {
        // Containers without limits are not in the sums, so the machine is never below the default.
        Role::Sandbox => {
            let pod = annotations.pod;
            (pod.memory, facts.defaults.memory_mib, quota(pod.cpu_quota, pod.cpu_period))
        }
        Role::Single | Role::Member { .. } => {
            let limit =
                resources.and_then(|resources| resources.memory().as_ref()).and_then(LinuxMemory::limit);
            let period = cpu.and_then(LinuxCpu::period).and_then(|period| i64::try_from(period).ok());
            (limit.unwrap_or(0), 0, quota(cpu.and_then(LinuxCpu::quota).unwrap_or(0), period.unwrap_or(0)))
        }
    };
    let limit = u64::try_from(limit).ok().filter(|bytes| *bytes > 0).map(|bytes| bytes.div_ceil(MIB));
    Ok(MachineSize {
        memory_mib: memory(limit, least, annotations.memory_mib, facts)?,
        vcpus: vcpus(annotations.vcpus, by_quota, by_set, facts)?,
    })
}

fn memory(
    limit: Option<u64>,
    least: u32,
    annotation: Option<u32>,
    facts: &HostFacts<'_>,
) -> Result<u32, Refusal> {
    let host = if facts.memory_mib == 0 { u64::MAX } else { facts.memory_mib };
    let within = |asked: u64| match asked <= host {
        true => Ok(asked),
        false => Err(Refusal::Exceeds { what: "memory", unit: "MiB", asked, available: host }),
    };
    let needed = limit.map(within).transpose()?.map(with_guest);
    let size = match (annotation.map(u64::from), needed) {
        (Some(asked), Some(needed)) if asked < needed => {
            return Err(Refusal::invalid(
                "annotation io.boxlite.memory_mib",
                format!("{asked} MiB are too few for the container's memory limit, which needs {needed} MiB"),
            ));
        }
        (Some(asked), _) => within(asked)?.max(SMALLEST_MIB),
        (None, Some(needed)) => needed.max(least.into()).min(host),
        (None, None) => u64::from(facts.defaults.memory_mib).max(SMALLEST_MIB),
    };
    u32::try_from(size).map_err(|_| Refusal::invalid("linux.resources.memory.limit", "is too large"))
}

/// The machine's memory for a limit, both in MiB.
fn with_guest(limit: u64) -> u64 {
    (limit + GUEST_MIB + limit / GUEST_SHARE).next_multiple_of(STEP_MIB).max(SMALLEST_MIB)
}

fn vcpus(
    annotation: Option<u32>,
    by_quota: Option<u64>,
    by_set: Option<u64>,
    facts: &HostFacts<'_>,
) -> Result<u32, Refusal> {
    let asked = match (annotation, by_quota, by_set) {
        (Some(count), ..) => u64::from(count),
        (None, Some(quota), Some(set)) => quota.min(set),
        (None, Some(count), None) | (None, None, Some(count)) => count,
        (None, None, None) => u64::from(facts.defaults.vcpus),
    };
    let most = u64::from(facts.cpus).clamp(1, MAX_VCPUS);
    u32::try_from(asked.clamp(1, most)).map_err(|_| Refusal::invalid("linux.resources.cpu", "is too large"))
}

/// How many CPUs a quota keeps busy.
fn quota(quota: i64, period: i64) -> Option<u64> {
    let quota = u64::try_from(quota).ok().filter(|quota| *quota > 0)?;
    let period = u64::try_from(period).ok().filter(|period| *period > 0).unwrap_or(DEFAULT_PERIOD);
    Some(quota.div_ceil(period))
}

/// How many CPUs a list such as "0-2,7" names.
fn count(set: &str) -> Result<u64, Refusal> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        (first <= last).then(|| u64::from(last - first) + 1)
    };
    set.trim()
        .split(',')
        .try_fold(0_u64, |sum, text| part(text).map(|count| sum + count))
        .ok_or_else(|| Refusal::invalid("linux.resources.cpu.cpus", format!("{set:?} is no list of CPUs")))
}

#[cfg(test)]
#[path = "size/tests.rs"]
mod tests;
