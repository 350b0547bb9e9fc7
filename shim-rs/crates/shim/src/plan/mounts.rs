// SPDX-License-Identifier: Apache-2.0
//! `mounts`: file systems of the guest's own kernel by type, and everything bound from the host as an item of the
//! share. The host's device nodes and sockets are not files the share can carry: a node becomes the guest's own node
//! of the same number, a socket is refused.

use std::path::{Path, PathBuf};

use boxlite_protocol::plan::{self, mount::Kind};
use oci_spec::runtime::Mount;

use super::mount_options::{self, ATTR_RDONLY, MS_BIND, MS_RDONLY, MS_REC, Options};
use super::refusal::Refusal;
use super::{FileKind, HostFacts, devices, spec};

/// Most mounts of one container; each bind is a mount on the host as well.
const MAX_MOUNTS: usize = 1024;

/// File systems the guest's kernel has and a container may mount in its own namespaces.
const FILE_SYSTEMS: &[&str] = &["proc", "sysfs", "tmpfs", "devpts", "mqueue", "ramfs"];

/// What may be mounted on in /proc: files that say how large the container is. The agent refuses others too.
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// Something of the host that the guest is to see: the shim binds `source` at `name` below the share's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareItem {
    /// Relative to the share: `<id>/rootfs`, `<id>/m0`.
    pub name: String,
    /// On the host.
    pub source: PathBuf,
    /// The host side is read-only too: the guest's kernel is not asked.
    pub readonly: bool,
    /// With what is mounted below `source` (rbind).
    pub recursive: bool,
    /// `readonly` holds for what is mounted below `source` as well (the option rro).
    pub readonly_recursive: bool,
}

/// The mounts of a container for both sides.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) plan: Vec<plan::Mount>,
    pub(super) share: Vec<ShareItem>,
    /// /dev is the engine's affair: bound from the host, so no nodes are made in it.
    pub(super) dev_is_bound: bool,
}

/// Compiles the mounts of container `id`, in order.
pub(super) fn compile(
    id: &str,
    bundle: &Path,
    mounts: Option<&Vec<Mount>>,
    facts: &HostFacts<'_>,
    warnings: &mut Vec<String>,
) -> Result<Mounts, Refusal> {
    let mounts = mounts.map_or(&[][..], Vec::as_slice);
    if mounts.len() > MAX_MOUNTS {
        return Err(Refusal::invalid("mounts", format!("more than {MAX_MOUNTS}")));
    }
    let mut compiled = Mounts::default();
    for mount in mounts {
        let destination = spec::inside("mounts.destination", mount.destination())?;
        let options = mount_options::parse(&destination, mount.options().as_ref())?;
        let kind = mount.typ().as_deref().unwrap_or("");
        let bind = kind == "bind" || options.flags & MS_BIND != 0;
        check_destination(&destination, kind, bind)?;
        if mount.uid_mappings().as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(mount_options::id_mapped(&destination));
        }
        if options.propagates() {
            warnings.push(format!("mount propagation at {destination} ends at the machine"));
        }
        let planned = if bind {
            compiled.dev_is_bound |= destination == "/dev";
            let source = source_path(bundle, mount, &destination)?;
            bound(id, source, &destination, &options, facts, &mut compiled.share)?
        } else {
            file_system(kind, mount.source().as_deref(), &destination, &options)?
        };
        let propagation = options.propagation.clone();
        let recursive_attr = options.recursive_attr;
        compiled.plan.push(plan::Mount { destination, propagation, recursive_attr, ..planned });
    }
    Ok(compiled)
}

fn check_destination(destination: &str, kind: &str, bind: bool) -> Result<(), Refusal> {
    let refuse = |problem: &str| Err(Refusal::invalid(format!("mounts[{destination}]"), problem));
    if destination == "/" {
        return refuse("the root file system cannot be mounted over");
    }
    let of_proc = destination == "/proc" && (bind || kind != "proc");
    let below_proc = destination.starts_with("/proc/") && !(bind && PROC_FILES.contains(&destination));
    if of_proc || below_proc {
        return refuse("cannot be mounted because it is inside /proc");
    }
    Ok(())
}

fn source_path(bundle: &Path, mount: &Mount, destination: &str) -> Result<PathBuf, Refusal> {
    let field = format!("mounts[{destination}].source");
    let source = mount.source().as_deref().unwrap_or_else(|| Path::new(""));
    spec::check_path(&field, source)?;
    Ok(bundle.join(source))
}

fn bound(
    id: &str,
    source: PathBuf,
    destination: &str,
    options: &Options,
    facts: &HostFacts<'_>,
    share: &mut Vec<ShareItem>,
) -> Result<plan::Mount, Refusal> {
    let flags = options.flags | MS_BIND;
    let (kind, source) = match (facts.kind_of)(&source) {
        None => return Err(Refusal::Absent { source_path: source, destination: destination.into() }),
        Some(FileKind::Char { major, minor }) => match devices::guest_char(major, minor) {
            Some(path) => (Kind::GUEST, path.to_owned()),
            None => return Err(devices::without_meaning(&source)),
        },
        Some(FileKind::Block | FileKind::Fifo) => return Err(devices::without_meaning(&source)),
        Some(FileKind::Socket) => {
            return Err(Refusal::unsupported(
                format!("the socket {} as a volume", source.display()),
                "a socket's other end is a process of the host, under another kernel",
                "reach the service over the network",
            ));
        }
        Some(FileKind::Directory | FileKind::File) => {
            let name = format!("{id}/m{}", share.len());
            let readonly_recursive = options.recursive_attr & ATTR_RDONLY != 0;
            share.push(ShareItem {
                name: name.clone(),
                source,
                readonly: flags & MS_RDONLY != 0 || readonly_recursive,
                recursive: flags & MS_REC != 0,
                readonly_recursive,
            });
            (Kind::SHARE, name)
        }
    };
    Ok(plan::Mount { kind: kind.into(), source, flags, ..plan::Mount::default() })
}

fn file_system(
    kind: &str,
    source: Option<&Path>,
    destination: &str,
    options: &Options,
) -> Result<plan::Mount, Refusal> {
    if kind == "cgroup" || kind == "cgroup2" {
        return Ok(plan::Mount { kind: Kind::CGROUP.into(), flags: options.flags, ..plan::Mount::default() });
    }
    if !FILE_SYSTEMS.contains(&kind) {
        return Err(Refusal::unsupported(
            format!("a mount of type {kind:?} at {destination}"),
            "the guest's kernel would have to reach what only the host has",
            "mount it on the host and bind it into the container",
        ));
    }
    if options.copy_up && kind != "tmpfs" {
        return Err(Refusal::invalid(
            format!("mounts[{destination}].options"),
            "tmpcopyup is for tmpfs alone",
        ));
    }
    Ok(plan::Mount {
        kind: Kind::FILESYSTEM.into(),
        // A name for /proc/mounts, nothing more.
        source: source.and_then(Path::to_str).unwrap_or(kind).to_owned(),
        fstype: kind.to_owned(),
        flags: options.flags,
        data: data(options),
        copy_up: options.copy_up,
        ..plan::Mount::default()
    })
}

/// The guest has no SELinux: labels that engines add would make the mount fail.
fn data(options: &Options) -> String {
    let labels = ["context=", "fscontext=", "defcontext=", "rootcontext="];
    let kept = |word: &&String| !labels.iter().any(|label| word.starts_with(label));
    options.data.iter().filter(kept).map(String::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "mounts/tests.rs"]
mod tests;
