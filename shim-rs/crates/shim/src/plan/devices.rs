// SPDX-License-Identifier: Apache-2.0
//! `linux.devices`: the nodes a container's /dev gets. A node of the host means the guest's device of the same number,
//! and only devices of the guest's kernel alone have that: a disk or a GPU of the host is refused. A privileged
//! container is sent all nodes of the host, wanted or not; those without meaning are left out silently.

use std::path::Path;

use boxlite_protocol::plan::{Node, Symlink};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType as Type};

use super::refusal::Refusal;
use super::{FileKind, HostFacts, spec};

// sys/stat.h
const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

/// Most nodes of one container.
const MAX_NODES: usize = 4096;

/// Nodes each container has (OCI runtime specification, "Default Devices"), mode 0666.
const DEFAULT: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Further ones the guest's kernel has (guest-kernel-config): numbers are fixed (devices.txt of the kernel).
const FURTHER: &[(&str, u32, u32)] = &[
    ("/dev/kmsg", 1, 11),
    ("/dev/net/tun", 10, 200),
    ("/dev/fuse", 10, 229),
    ("/dev/loop-control", 10, 237),
];

/// Block devices made on demand by loop-control; only privileged containers get their nodes, for the guest's loop
/// devices have nothing in them that the host's have.
const LOOP_MAJOR: i64 = 7;

/// Links each container has, besides the nodes.
const LINKS: &[(&str, &str)] = &[
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// One more where the host has its target, as runc makes it. It leads nowhere: the guest's kernel has no such file, and
/// where there is one, engines have it masked.
const KERNEL_MEMORY: (&str, &str) = ("/dev/core", "/proc/kcore");

/// The nodes of a container: the default ones, then those of the spec.
pub(super) fn nodes(devices: Option<&Vec<LinuxDevice>>, privileged: bool) -> Result<Vec<Node>, Refusal> {
    let devices = devices.map_or(&[][..], Vec::as_slice);
    if devices.len() > MAX_NODES {
        return Err(Refusal::invalid("linux.devices", format!("more than {MAX_NODES}")));
    }
    let mut nodes: Vec<Node> =
        DEFAULT.iter().map(|(path, major, minor)| char_node(path, *major, *minor)).collect();
    for device in devices {
        let path = spec::inside("linux.devices.path", device.path())?;
        // Links and the terminal's own node: the agent's.
        if LINKS.iter().any(|(link, _)| *link == path) || path == "/dev/console" {
            continue;
        }
        let Some(node) = node(&path, device, privileged)? else {
            if privileged {
                continue;
            }
            return Err(without_meaning(device.path()));
        };
        match nodes.iter_mut().find(|earlier| earlier.path == path) {
            Some(earlier) => *earlier = node,
            None => nodes.push(node),
        }
    }
    Ok(nodes)
}

/// The links of a container on this host.
pub(super) fn links(facts: &HostFacts<'_>) -> Vec<Symlink> {
    let link = |&(path, target): &(&str, &str)| Symlink {
        path: path.into(),
        target: target.into(),
        ..Symlink::default()
    };
    let has_kernel_memory = (facts.kind_of)(Path::new(KERNEL_MEMORY.1)) == Some(FileKind::File);
    LINKS.iter().chain(has_kernel_memory.then_some(&KERNEL_MEMORY)).map(link).collect()
}

/// The guest's node for a character device, if it has one.
pub(super) fn guest_char(major: u32, minor: u32) -> Option<&'static str> {
    let known = DEFAULT.iter().chain(FURTHER);
    known
        .copied()
        .find(|(_, known_major, known_minor)| (*known_major, *known_minor) == (major, minor))
        .map(|found| found.0)
}

/// A rule that allows everything is how engines say "privileged" in a spec.
pub(super) fn is_privileged(rules: Option<&Vec<LinuxDeviceCgroup>>) -> bool {
    rules.into_iter().flatten().any(|rule| {
        rule.allow()
            && matches!(rule.typ(), None | Some(Type::A))
            && rule.major().is_none_or(|major| major < 0)
            && rule.minor().is_none_or(|minor| minor < 0)
            && rule
                .access()
                .as_deref()
                .is_none_or(|access| ["r", "w", "m"].iter().all(|bit| access.contains(bit)))
    })
}

/// The refusal of a device of the host.
pub(super) fn without_meaning(path: &Path) -> Refusal {
    Refusal::unsupported(
        format!("the host's device {}", path.display()),
        "it has no meaning under the guest's own kernel",
        "leave it out, or run this container with runc",
    )
}

fn node(path: &str, device: &LinuxDevice, privileged: bool) -> Result<Option<Node>, Refusal> {
    let number = |number: i64| {
        u32::try_from(number)
            .map_err(|_| Refusal::invalid(format!("linux.devices[{path}]"), "negative number"))
    };
    let typ = match device.typ() {
        Type::C | Type::U => S_IFCHR,
        Type::B => S_IFBLK,
        Type::P => S_IFIFO,
        Type::A => return Err(Refusal::invalid(format!("linux.devices[{path}].type"), "\"a\" is no device")),
    };
    let (major, minor) = match typ {
        S_IFIFO => (0, 0),
        _ => (number(device.major())?, number(device.minor())?),
    };
    let known = match typ {
        S_IFCHR => guest_char(major, minor).is_some(),
        S_IFBLK => privileged && device.major() == LOOP_MAJOR,
        _ => true,
    };
    Ok(known.then(|| Node {
        path: path.to_owned(),
        type_: typ,
        major,
        minor,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        ..Node::default()
    }))
}

fn char_node(path: &str, major: u32, minor: u32) -> Node {
    Node { path: path.to_owned(), type_: S_IFCHR, major, minor, mode: 0o666, ..Node::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, typ: Type, major: i64, minor: i64) -> LinuxDevice {
        let mut device = LinuxDevice::default();
        device
            .set_path(path.into())
            .set_typ(typ)
            .set_major(major)
            .set_minor(minor)
            .set_file_mode(Some(0o600));
        device
    }

    fn paths(devices: &Vec<LinuxDevice>, privileged: bool) -> Result<Vec<String>, Refusal> {
        let made = nodes(Some(devices), privileged)?;
        Ok(made.into_iter().map(|node| node.path).skip(DEFAULT.len()).collect())
    }

    #[test]
    fn every_container_has_the_default_ones() {
        assert_eq!(nodes(None, false).unwrap().len(), 6);
    }

    #[test]
    fn device_of_the_guest_keeps_the_path_asked_for() {
        assert_eq!(paths(&vec![device("/dev/myfuse", Type::C, 10, 229)], false).unwrap(), ["/dev/myfuse"]);
    }

    #[test]
    fn device_of_the_host_is_refused_by_its_path() {
        for (path, typ, major, minor) in [
            ("/dev/sda", Type::B, 8, 0),
            ("/dev/nvidia0", Type::C, 195, 0),
            ("/dev/kvm", Type::C, 10, 232),
            ("/dev/loop0", Type::B, 7, 0),
        ] {
            let refusal = paths(&vec![device(path, typ, major, minor)], false).unwrap_err();
            assert!(refusal.to_string().contains(path), "{refusal}");
        }
    }

    #[test]
    fn privileged_keeps_what_the_guest_has() {
        let all = vec![
            device("/dev/sda", Type::B, 8, 0),
            device("/dev/kvm", Type::C, 10, 232),
            device("/dev/loop0", Type::B, 7, 0),
            device("/dev/fuse", Type::C, 10, 229),
            device("/dev/ptmx", Type::C, 5, 2),
        ];
        assert_eq!(paths(&all, true).unwrap(), ["/dev/loop0", "/dev/fuse"]);
    }

    #[test]
    fn a_default_one_can_be_changed() {
        let made = nodes(Some(&vec![device("/dev/null", Type::C, 1, 3)]), false).unwrap();
        assert_eq!((made.len(), made[0].mode), (6, 0o600));
    }

    #[test]
    fn privileged_is_told_by_the_rule_that_allows_all() {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_access(Some("rwm".into()));
        assert!(is_privileged(Some(&vec![rule.clone()])));
        rule.set_allow(false);
        assert!(!is_privileged(Some(&vec![rule.clone()])));
        rule.set_allow(true).set_typ(Some(Type::C));
        assert!(!is_privileged(Some(&vec![rule])));
    }
}
