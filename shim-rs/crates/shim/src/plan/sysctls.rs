// SPDX-License-Identifier: Apache-2.0
//! `linux.sysctl`: the ones that belong to a namespace of the container; others are refused, as runc does.

use std::collections::HashMap;

use boxlite_protocol::plan::Sysctl;

use super::refusal::Refusal;
use super::spec;

/// Settings of the ipc namespace (ipc_namespaces(7)), with slashes.
const IPC: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The sysctls of a container, sorted by name.
pub(super) fn compile(sysctls: Option<&HashMap<String, String>>) -> Result<Vec<Sysctl>, Refusal> {
    let mut compiled = Vec::new();
    for (name, value) in sysctls.into_iter().flatten() {
        let path = path(name)?;
        spec::check_text("linux.sysctl", value)?;
        check(name, &path)?;
        compiled.push(Sysctl { path, value: value.clone(), ..Sysctl::default() });
    }
    compiled.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(compiled)
}

/// Whether one of them names a network interface: it can be set only when the engine has built the network.
pub(super) fn name_an_interface(sysctls: &[Sysctl]) -> bool {
    sysctls.iter().any(|sysctl| {
        let mut parts = sysctl.path.split('/');
        let (net, _family, table, interface) = (parts.next(), parts.next(), parts.next(), parts.next());
        net == Some("net")
            && matches!(table, Some("conf" | "neigh"))
            && !matches!(interface, None | Some("all" | "default" | "lo"))
    })
}

/// `net.ipv4.conf.eth0/100.forwarding` and `net/ipv4/conf/eth0.100/forwarding` are one name: the first separator is
/// the separator, the other character stands for itself (sysctl.d(5)).
fn path(name: &str) -> Result<String, Refusal> {
    let path = match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'.' => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    };
    let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if name.len() > 256 || !path.split('/').all(sound) {
        return Err(Refusal::invalid("linux.sysctl", format!("{name:?} is no name of a sysctl")));
    }
    Ok(path)
}

fn swap(character: char) -> char {
    match character {
        '.' => '/',
        '/' => '.',
        other => other,
    }
}

fn check(name: &str, path: &str) -> Result<(), Refusal> {
    if path == "kernel/hostname" {
        return Err(Refusal::invalid(
            "linux.sysctl",
            format!("{name:?} conflicts with hostname; set that instead"),
        ));
    }
    let namespaced = path.starts_with("net/")
        || path.starts_with("fs/mqueue/")
        || path == "kernel/domainname"
        || IPC.contains(&path);
    if namespaced {
        return Ok(());
    }
    Err(Refusal::invalid("linux.sysctl", format!("sysctl {name:?} is not in a separate kernel namespace")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> Result<String, Refusal> {
        compile(Some(&HashMap::from([(name.to_owned(), "1".to_owned())]))).map(|list| list[0].path.clone())
    }

    #[test]
    fn either_separator_names_the_same_file() {
        for name in ["net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"] {
            assert_eq!(one(name).unwrap(), "net/ipv4/conf/eth0.100/forwarding");
        }
    }

    #[test]
    fn those_of_the_whole_kernel_are_refused() {
        for name in ["vm.max_map_count", "kernel.panic", "kernel.hostname", "fs.file-max", "network.x"] {
            assert!(one(name).is_err(), "{name}");
        }
        for name in ["kernel.shmmax", "fs.mqueue.msg_max", "net.core.somaxconn", "kernel.domainname"] {
            assert!(one(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn settings_of_an_interface_wait_for_it() {
        let named = |path: &str| name_an_interface(&[Sysctl { path: path.into(), ..Sysctl::default() }]);
        assert!(named("net/ipv4/conf/eth0/forwarding"));
        assert!(!named("net/ipv4/conf/all/forwarding"));
        assert!(!named("net/ipv4/ip_forward"));
        assert!(!named("kernel/shmmax"));
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in ["net/../kernel/panic", "net", "net.", "/net/x", "net..x", "net/./x", ""] {
            assert!(one(name).is_err(), "{name}");
        }
    }
}
