// SPDX-License-Identifier: Apache-2.0
//! `mounts`: file systems of the guest's own kernel by type, and everything bound from the host as an item of the
//! share. The host's device nodes and sockets are not files the share can carry: a node becomes the guest's own node
//! of the same number, a socket one of the guest's whose connections are relayed.

use std::path::{Path, PathBuf};

use boxlite_linux::mount::RDONLY;
use boxlite_protocol::plan::{self, mount::Kind};
use boxlite_protocol::relay::FIRST_SOCKET;
use oci_spec::runtime::Mount;

use super::mount_options::{self, MS_BIND, MS_RDONLY, MS_REC, Options};
use super::refusal::Refusal;
use super::{FileKind, HostFacts, SocketFacts, devices, spec};

/// Most mounts of one container; each bind is a mount on the host as well.
const MAX_MOUNTS: usize = 1024;

/// Most sockets of one container: each is waited at, and takes a place of those that connections have.
const MAX_RELAYS: u32 = 64;

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

/// A Unix socket of the host that the guest is to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayItem {
    /// Its number on the channel.
    pub way: u32,
    /// On the host.
    pub source: PathBuf,
}

/// The mounts of a container for both sides.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) plan: Vec<plan::Mount>,
    pub(super) share: Vec<ShareItem>,
    pub(super) relays: Vec<RelayItem>,
    /// The guest's part of `relays`.
    pub(super) listened: Vec<plan::Relay>,
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
        // "uds" is what other shims with machines call a Unix socket of the host's.
        let bind = matches!(kind, "bind" | "uds") || options.flags & MS_BIND != 0;
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
            compiled.bind(id, source, &destination, &options, facts)?
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

impl Mounts {
    /// Plans a bind, and notes what the host has to do for it.
    fn bind(
        &mut self,
        id: &str,
        source: PathBuf,
        destination: &str,
        options: &Options,
        facts: &HostFacts<'_>,
    ) -> Result<plan::Mount, Refusal> {
        let flags = options.flags | MS_BIND;
        let (kind, source) = match (facts.kind_of)(&source) {
            None => return Err(Refusal::Absent { source_path: source, destination: destination.into() }),
            Some(FileKind::Char { major, minor }) => match devices::guest_char(major, minor) {
                Some(path) => (Kind::GUEST, path.to_owned()),
                None => return Err(devices::without_meaning(&source)),
            },
            Some(FileKind::Block | FileKind::Fifo) => return Err(devices::without_meaning(&source)),
            Some(FileKind::Socket(socket)) => (Kind::SOCKET, self.relay(source, socket, facts)?),
            Some(FileKind::Directory | FileKind::File) => {
                (Kind::SHARE, self.share(id, source, flags, options))
            }
        };
        Ok(plan::Mount { kind: kind.into(), source, flags, ..plan::Mount::default() })
    }

    /// The name of a new item of the share.
    fn share(&mut self, id: &str, source: PathBuf, flags: u64, options: &Options) -> String {
        let name = format!("{id}/m{}", self.share.len());
        let readonly_recursive = options.recursive_attr & RDONLY != 0;
        self.share.push(ShareItem {
            name: name.clone(),
            source,
            readonly: flags & MS_RDONLY != 0 || readonly_recursive,
            recursive: flags & MS_REC != 0,
            readonly_recursive,
        });
        name
    }

    /// The number of a new way to a socket, as a mount names it.
    fn relay(
        &mut self,
        source: PathBuf,
        socket: SocketFacts,
        facts: &HostFacts<'_>,
    ) -> Result<String, Refusal> {
        let asked = || format!("the socket {} as a volume", source.display());
        if !socket.takes_connections {
            return Err(Refusal::unsupported(
                asked(),
                "it takes datagrams, and only connections are relayed to the host",
                "reach the service over the network",
            ));
        }
        if socket.engine && !facts.engine_sockets {
            return Err(Refusal::unsupported(
                asked(),
                "it is an engine's, and who reaches that is root on the host, machine or not",
                "set engine = true under [sockets] in /etc/boxlite/config.toml if this is meant",
            ));
        }
        let number = u32::try_from(self.relays.len()).unwrap_or(MAX_RELAYS);
        if number >= MAX_RELAYS {
            return Err(Refusal::invalid("mounts", format!("more than {MAX_RELAYS} sockets")));
        }
        let way = FIRST_SOCKET + number;
        let SocketFacts { mode, uid, gid, .. } = socket;
        self.relays.push(RelayItem { way, source });
        self.listened.push(plan::Relay { way, mode, uid, gid, ..plan::Relay::default() });
        Ok(way.to_string())
    }
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
