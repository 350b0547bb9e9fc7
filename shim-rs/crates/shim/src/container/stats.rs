// SPDX-License-Identifier: Apache-2.0
//! cgroup v2 files of the guest, as text, into the metrics containerd and Docker read.
//!
//! Pure. The text is the guest's word: what is not a number is left out, nothing here can fail.

use std::collections::HashMap;

use boxlite_protocol::plan::CgroupFile;
use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PidsStat,
};

/// What "max" means in containerd's metrics (containerd/cgroups cgroup2/utils.go).
const UNLIMITED: u64 = u64::MAX;

/// Builds the metrics from the files that are there.
pub(super) fn metrics(files: &[CgroupFile]) -> Metrics {
    let files: HashMap<_, _> = files.iter().map(|file| (file.name.as_str(), file.value.as_str())).collect();
    let text = |name: &str| files.get(name).copied().unwrap_or_default();
    Metrics {
        pids: Some(PidsStat {
            current: number(text("pids.current")),
            limit: number(text("pids.max")),
            ..Default::default()
        })
        .into(),
        cpu: Some(cpu(&table(text("cpu.stat")))).into(),
        memory: Some(memory(&table(text("memory.stat")), &text)).into(),
        memory_events: Some(memory_events(&table(text("memory.events")))).into(),
        io: Some(IOStat { usage: io(text("io.stat")), ..Default::default() }).into(),
        ..Default::default()
    }
}

fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => UNLIMITED,
        digits => digits.parse().unwrap_or(0),
    }
}

/// "name value" a line.
struct Table<'a>(HashMap<&'a str, u64>);

impl Table<'_> {
    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

fn table(text: &str) -> Table<'_> {
    Table(
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, value)| (name, number(value)))
            .collect(),
    )
}

fn cpu(stat: &Table<'_>) -> CPUStat {
    CPUStat {
        usage_usec: stat.of("usage_usec"),
        user_usec: stat.of("user_usec"),
        system_usec: stat.of("system_usec"),
        nr_periods: stat.of("nr_periods"),
        nr_throttled: stat.of("nr_throttled"),
        throttled_usec: stat.of("throttled_usec"),
        nr_bursts: stat.of("nr_bursts"),
        burst_usec: stat.of("burst_usec"),
        ..Default::default()
    }
}

fn memory<'a>(stat: &Table<'_>, text: &impl Fn(&str) -> &'a str) -> MemoryStat {
    MemoryStat {
        anon: stat.of("anon"),
        file: stat.of("file"),
        kernel_stack: stat.of("kernel_stack"),
        slab: stat.of("slab"),
        sock: stat.of("sock"),
        shmem: stat.of("shmem"),
        file_mapped: stat.of("file_mapped"),
        file_dirty: stat.of("file_dirty"),
        file_writeback: stat.of("file_writeback"),
        anon_thp: stat.of("anon_thp"),
        inactive_anon: stat.of("inactive_anon"),
        active_anon: stat.of("active_anon"),
        inactive_file: stat.of("inactive_file"),
        active_file: stat.of("active_file"),
        unevictable: stat.of("unevictable"),
        slab_reclaimable: stat.of("slab_reclaimable"),
        slab_unreclaimable: stat.of("slab_unreclaimable"),
        pgfault: stat.of("pgfault"),
        pgmajfault: stat.of("pgmajfault"),
        usage: number(text("memory.current")),
        usage_limit: number(text("memory.max")),
        swap_usage: number(text("memory.swap.current")),
        swap_limit: number(text("memory.swap.max")),
        max_usage: number(text("memory.peak")),
        ..Default::default()
    }
}

fn memory_events(events: &Table<'_>) -> MemoryEvents {
    MemoryEvents {
        low: events.of("low"),
        high: events.of("high"),
        max: events.of("max"),
        oom: events.of("oom"),
        oom_kill: events.of("oom_kill"),
        oom_group_kill: events.of("oom_group_kill"),
        ..Default::default()
    }
}

/// "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ..." a line.
fn io(text: &str) -> Vec<IOEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let fields: HashMap<_, _> = rest.split(' ').filter_map(|field| field.split_once('=')).collect();
        let of = |name: &str| fields.get(name).map_or(0, |value| number(value));
        Some(IOEntry {
            major: number(major),
            minor: number(minor),
            rbytes: of("rbytes"),
            wbytes: of("wbytes"),
            rios: of("rios"),
            wios: of("wios"),
            ..Default::default()
        })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, value: &str) -> CgroupFile {
        CgroupFile { name: name.into(), value: value.into(), ..Default::default() }
    }

    #[test]
    fn files_become_metrics() {
        let metrics = metrics(&[
            file("memory.current", "4096\n"),
            file("memory.max", "max\n"),
            file("memory.stat", "anon 100\nfile 200\n"),
            file("cpu.stat", "usage_usec 7\nuser_usec 5\n"),
            file("pids.current", "3\n"),
            file("memory.events", "oom 1\noom_kill 2\n"),
            file("io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n"),
        ]);
        assert_eq!(metrics.memory.usage, 4096);
        assert_eq!(metrics.memory.usage_limit, u64::MAX);
        assert_eq!(metrics.memory.file, 200);
        assert_eq!(metrics.cpu.user_usec, 5);
        assert_eq!(metrics.pids.current, 3);
        assert_eq!(metrics.memory_events.oom_kill, 2);
        assert_eq!((metrics.io.usage[0].major, metrics.io.usage[0].wbytes), (254, 2));
    }

    #[test]
    fn a_guests_nonsense_is_zero() {
        let metrics =
            metrics(&[file("memory.current", "\u{1b}[2J"), file("io.stat", "x\n:: =\n1:2 rbytes=-1")]);
        assert_eq!(metrics.memory.usage, 0);
    }
}
