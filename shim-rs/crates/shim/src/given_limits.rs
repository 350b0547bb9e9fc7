// SPDX-License-Identifier: Apache-2.0
//! The resource limits this process was given: what a container has of those its engine does not name, as under runc,
//! whose processes inherit them.
//!
//! Order: [`remember`] before this process raises any of its own; [`all`] from then on.

use std::sync::OnceLock;

use boxlite_protocol::plan::Rlimit;
use rustix::process::{Resource, getrlimit};

/// All there are, by their numbers (sys/resource.h, the same on x86_64 and aarch64).
const RESOURCES: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

static GIVEN: OnceLock<Vec<Rlimit>> = OnceLock::new();

/// Reads them, before they are changed.
pub(crate) fn remember() {
    all();
}

/// Each once, by number; no limit is `u64::MAX`, as the kernel has it.
pub(crate) fn all() -> &'static [Rlimit] {
    GIVEN.get_or_init(|| (0..).zip(RESOURCES).map(|(number, resource)| read(number, resource)).collect())
}

fn read(number: u32, resource: Resource) -> Rlimit {
    let limit = getrlimit(resource);
    Rlimit {
        resource: number,
        soft: limit.current.unwrap_or(u64::MAX),
        hard: limit.maximum.unwrap_or(u64::MAX),
        ..Rlimit::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_same() {
        let text = std::fs::read_to_string("/proc/self/limits").unwrap();
        let names =
            [(3, "Max stack size"), (6, "Max processes"), (7, "Max open files"), (12, "Max msgqueue size")];
        for (number, name) in names {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            let told: Vec<u64> = line[26..]
                .split_whitespace()
                .take(2)
                .map(|value| value.parse().unwrap_or(u64::MAX))
                .collect();
            let read = &all()[number as usize];
            assert_eq!((read.resource, vec![read.soft, read.hard]), (number, told), "{name}");
        }
    }
}
