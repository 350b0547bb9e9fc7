// SPDX-License-Identifier: Apache-2.0
//! What runs in a container, as the guest's /proc has it.

use std::fs;
use std::path::{Path, PathBuf};

use boxlite_protocol::agent::processes_response::Entry;

/// Describes `pids`; one that ended meanwhile is left out.
pub(crate) fn describe(pids: &[i32]) -> Vec<Entry> {
    pids.iter().filter_map(|pid| parse(*pid, &fs::read_to_string(of(*pid).join("status")).ok()?)).collect()
}

/// Pids in the same pid namespace as `pid`, for a container without a cgroup.
pub(crate) fn sharing_namespace(pid: i32) -> Vec<i32> {
    let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let Some(own) = namespace(&of(pid)) else { return Vec::new() };
    // A process that vanished while looked at is not there any more.
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .filter(|pid| namespace(&of(*pid)).as_ref() == Some(&own))
        .collect()
}

fn of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn parse(pid: i32, status: &str) -> Option<Entry> {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    Some(Entry {
        pid: u32::try_from(pid).ok()?,
        parent: number(field("PPid"))?,
        uid: number(field("Uid")?.split_whitespace().next())?,
        command: field("Name")?.to_owned(),
        container_pid: in_container(field("NSpid")?)?,
        ..Entry::default()
    })
}

/// Of the numbers from the agent's namespace inwards the second is the container's, which may hold further namespaces.
/// Without one of its own it shares the agent's.
fn in_container(numbers: &str) -> Option<u32> {
    let mut numbers = numbers.split_whitespace();
    let outermost = numbers.next();
    numbers.next().or(outermost)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_by_field() {
        let status = "Name:\tsleep\nPPid:\t41\nUid:\t33\t33\t33\t33\nNSpid:\t42\t7\n";
        let entry = parse(42, status).unwrap();
        assert_eq!((entry.pid, entry.parent, entry.uid, entry.container_pid), (42, 41, 33, 7));
        assert_eq!(entry.command, "sleep");
        assert!(parse(42, "Name:\tgone\n").is_none());
    }

    #[test]
    fn the_containers_number_is_the_second_of_however_many() {
        assert_eq!(in_container("42"), Some(42));
        assert_eq!(in_container("42\t7"), Some(7));
        assert_eq!(in_container("42\t7\t1"), Some(7));
        assert_eq!(in_container(""), None);
    }
}
