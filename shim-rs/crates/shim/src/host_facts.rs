// SPDX-License-Identifier: Apache-2.0
//! What the plan needs to know of the host, read once per Create.

use std::path::Path;

use rustix::fs::{FileType, major, minor};

use crate::plan::FileKind;

/// The host's memory in MiB; 0 when it cannot be read, which the plan takes as unknown.
#[must_use]
pub(crate) fn memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Processors the shim may use.
#[must_use]
pub(crate) fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// What lies at a path of the host's; none when nothing does.
#[must_use]
pub(crate) fn kind_of(path: &Path) -> Option<FileKind> {
    let stat = rustix::fs::stat(path).ok()?;
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => FileKind::Directory,
        FileType::Socket => FileKind::Socket,
        FileType::Fifo => FileKind::Fifo,
        FileType::BlockDevice => FileKind::Block,
        FileType::CharacterDevice => {
            FileKind::Char { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
        }
        _ => FileKind::File,
    })
}
