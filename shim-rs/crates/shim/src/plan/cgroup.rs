// SPDX-License-Identifier: Apache-2.0
//! `linux.resources` as files of the container's cgroup in the guest (cgroup v2, whatever the host has). The values
//! of v1 are converted as runc does.
//!
//! Left out on purpose: what speaks of the host's memory nodes and disks by number. Sets of CPUs are [`cpuset`]'s.

use std::collections::HashMap;

use boxlite_protocol::plan::CgroupFile;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::cpuset;
use super::refusal::Refusal;

/// Period of cpu.max when only a quota is given, in microseconds.
pub(super) const DEFAULT_PERIOD: u64 = 100_000;

/// Files that `unified` may name.
const UNIFIED: &[&str] = &[
    "cpu.idle",
    "cpu.max",
    "cpu.max.burst",
    "cpu.weight",
    "cpu.weight.nice",
    "memory.high",
    "memory.low",
    "memory.max",
    "memory.min",
    "memory.oom.group",
    "memory.swap.max",
    "pids.max",
];

/// The files an Update changes: only what is set, in the order they are to be written.
///
/// # Errors
/// [`Refusal::Invalid`] when a value is none the kernel would take.
pub fn compile_resources(resources: &LinuxResources) -> Result<Vec<CgroupFile>, Refusal> {
    compile(resources, &mut Vec::new())
}

/// What an Update changes.
#[derive(Debug)]
pub struct Update {
    /// The cgroup's files.
    pub files: Vec<CgroupFile>,
    /// The new limit of memory in bytes, negative for none, if it has one.
    pub memory_limit: Option<i64>,
}

/// [`compile_resources`] of the JSON an Update carries, for a machine with so many CPUs.
///
/// # Errors
/// [`Refusal::Invalid`] when it is no `LinuxResources`, or as above.
pub fn load_resources(json: &[u8], vcpus: u32) -> Result<Update, Refusal> {
    let resources: LinuxResources = super::spec::json("resources", json)?;
    let memory_limit = resources.memory().as_ref().and_then(LinuxMemory::limit).filter(|limit| *limit != 0);
    let mut files = compile_resources(&resources)?;
    files.extend(cpuset::compile(Some(&resources), vcpus)?);
    Ok(Update { files, memory_limit })
}

/// The same for a new container, with a word on what is ignored.
pub(super) fn compile(
    resources: &LinuxResources,
    warnings: &mut Vec<String>,
) -> Result<Vec<CgroupFile>, Refusal> {
    let mut files = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_files(memory, &mut files, warnings)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_files(cpu, &mut files, warnings)?;
    }
    if let Some(pids) = resources.pids() {
        match pids.limit() {
            0 => {}
            limit => files.push(file("pids.max", limited(limit))),
        }
    }
    hugepages(resources.hugepage_limits().as_ref(), &mut files, warnings)?;
    if resources.block_io().as_ref().is_some_and(io_is_limited) {
        warnings.push("block I/O weights and limits are not applied: they name disks of the host".into());
    }
    if resources.rdma().as_ref().is_some_and(|map| !map.is_empty()) {
        warnings.push("rdma limits are not applied: the guest has no such devices".into());
    }
    if resources.network().as_ref().is_some_and(|network| network.class_id().is_some_and(|class| class != 0))
    {
        warnings.push("the network class is not applied: packets leave through the machine".into());
    }
    unified(resources.unified().as_ref(), &mut files, warnings)?;
    Ok(files)
}

fn file(name: &str, value: String) -> CgroupFile {
    CgroupFile { name: name.to_owned(), value, ..CgroupFile::default() }
}

/// Negative means no limit.
fn limited(limit: i64) -> String {
    if limit < 0 { "max".into() } else { limit.to_string() }
}

fn memory_files(
    memory: &LinuxMemory,
    files: &mut Vec<CgroupFile>,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    let reservation = memory.reservation().filter(|reservation| *reservation != 0);
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (limit, memory.swap())
        && swap < limit
    {
        return Err(Refusal::invalid(
            "linux.resources.memory.swap",
            "memory and swap must not be below memory",
        ));
    }
    files.extend(reservation.map(|bytes| file("memory.low", limited(bytes))));
    files.extend(limit.map(|bytes| file("memory.max", limited(bytes))));
    // The machine has no swap; the file is what a look into it expects. cgroup v1 counted memory and swap together.
    let swap = match (memory.swap().filter(|swap| *swap != 0), limit) {
        (Some(..=-1), _) => Some(-1),
        (Some(swap), Some(limit @ 1..)) => Some(swap - limit),
        _ => None,
    };
    files.extend(swap.map(|bytes| file("memory.swap.max", limited(bytes))));
    if memory.disable_oom_killer() == Some(true) {
        warnings.push("disableOOMKiller is not applied: cgroup v2 has no such switch".into());
    }
    if memory.swappiness().is_some() {
        warnings.push("swappiness is not applied: the machine has no swap".into());
    }
    Ok(())
}

fn cpu_files(cpu: &LinuxCpu, files: &mut Vec<CgroupFile>, warnings: &mut Vec<String>) -> Result<(), Refusal> {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        files.push(file("cpu.weight", weight(shares).to_string()));
    }
    let idle = cpu.idle().filter(|idle| *idle != 0);
    files.extend(idle.map(|idle| file("cpu.idle", idle.to_string())));
    let quota = cpu.quota().unwrap_or(0);
    let period = cpu.period().unwrap_or(0);
    if quota != 0 || period != 0 {
        if period > 1_000_000 || (period != 0 && period < 1000) {
            return Err(Refusal::invalid("linux.resources.cpu.period", "must be between 1 ms and 1 s"));
        }
        if (1..1000).contains(&quota) {
            return Err(Refusal::invalid("linux.resources.cpu.quota", "must be 1 ms at least"));
        }
        let quota = if quota > 0 { quota.to_string() } else { "max".into() };
        let period = if period == 0 { DEFAULT_PERIOD } else { period };
        files.push(file("cpu.max", format!("{quota} {period}")));
    }
    let burst = cpu.burst().filter(|burst| *burst != 0);
    files.extend(burst.map(|burst| file("cpu.max.burst", burst.to_string())));
    let realtime = cpu.realtime_runtime().unwrap_or(0) != 0 || cpu.realtime_period().unwrap_or(0) != 0;
    if realtime {
        warnings.push("real-time CPU limits are not applied: cgroup v2 has none".into());
    }
    if cpu.mems().as_ref().is_some_and(|mems| !mems.is_empty()) {
        warnings.push("the set of memory nodes is not applied: its numbers are the host's".into());
    }
    Ok(())
}

/// cpu.shares (2 to 262144) as cpu.weight (1 to 10000), linear as in runc up to 1.3.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn hugepages(
    limits: Option<&Vec<LinuxHugepageLimit>>,
    files: &mut Vec<CgroupFile>,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    for limit in limits.into_iter().flatten() {
        let size = limit.page_size();
        let digits = size.trim_end_matches(|unit: char| unit.is_ascii_uppercase());
        let unit = &size[digits.len()..];
        if digits.parse::<u32>().is_err() || !["KB", "MB", "GB"].contains(&unit) {
            return Err(Refusal::invalid(
                "linux.resources.hugepageLimits",
                format!("{size:?} is no page size"),
            ));
        }
        // The one size every guest has. Kubernetes sends 0 for each size of the host: nothing is lost by it.
        if size == "2MB" {
            files.push(file("hugetlb.2MB.max", limited(limit.limit())));
        } else if limit.limit() != 0 {
            warnings.push(format!(
                "the limit on huge pages of {size} is not applied: the guest has none of them"
            ));
        }
    }
    Ok(())
}

fn io_is_limited(io: &LinuxBlockIo) -> bool {
    let throttled = [
        io.throttle_read_bps_device(),
        io.throttle_write_bps_device(),
        io.throttle_read_iops_device(),
        io.throttle_write_iops_device(),
    ];
    io.weight().is_some_and(|weight| weight != 0)
        || io.weight_device().as_ref().is_some_and(|list| !list.is_empty())
        || throttled.iter().any(|list| list.as_ref().is_some_and(|list| !list.is_empty()))
}

/// Values the spec gives by file name take precedence over converted ones.
fn unified(
    unified: Option<&HashMap<String, String>>,
    files: &mut Vec<CgroupFile>,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let mut sorted: Vec<_> = unified.into_iter().flatten().collect();
    sorted.sort();
    for (name, value) in sorted {
        let field = format!("linux.resources.unified[{name:?}]");
        if name.contains('/') || name.contains('\0') {
            return Err(Refusal::invalid(field, "must be the name of a file"));
        }
        let number = |word: &str| word == "max" || word.parse::<i64>().is_ok();
        if !UNIFIED.contains(&name.as_str()) {
            warnings.push(format!("cgroup file {name:?} is not applied"));
        } else if value.split(' ').all(number) {
            files.retain(|earlier| earlier.name != *name);
            files.push(file(name, value.clone()));
        } else {
            return Err(Refusal::invalid(field, "takes numbers and \"max\" only"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "cgroup/tests.rs"]
mod tests;
