// SPDX-License-Identifier: Apache-2.0
//! Carries out the plan's mounts, in the container's mount namespace and before its root is entered.
//!
//! Owns the five kinds of mount and what may lie over /proc. Order: [`perform`] for each mount of the plan, then,
//! when everything below them is made, [`seal`](crate::tree::seal) for those that end read-only.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use boxlite_linux::mount::{
    ATIME, Attributes, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME, attach,
    clone_tree, is_directory, set_attributes,
};
use boxlite_protocol::plan::Mount;
use boxlite_protocol::plan::mount::Kind;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::copy_up;
use crate::error::{Fault, Trying};
use crate::root::{Leaf, Root, by_descriptor};

/// The files of /proc a container may have replaced; anything else there would mislead what writes to it.
const REPLACEABLE: [&str; 8] =
    ["cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"];

/// Mounts one entry. Gives back the mount when it is to end read-only but must be filled first.
pub(crate) fn perform(
    root: &Root,
    mount: &Mount,
    share: &Path,
    relays: &Path,
) -> Result<Option<OwnedFd>, Fault> {
    let describe = || format!("error mounting {:?} to rootfs at {:?}", mount.source, mount.destination);
    let (placed, sealed_later) = match mount.kind.enum_value() {
        Ok(Kind::FILESYSTEM) => filesystem(root, mount, &mount.fstype, describe)?,
        Ok(Kind::CGROUP) => filesystem(root, mount, "cgroup2", describe)?,
        Ok(Kind::SHARE) => (bind(root, mount, &share.join(&mount.source), describe)?, false),
        Ok(Kind::SOCKET) => (bind(root, mount, &relays.join(&mount.source), describe)?, false),
        Ok(Kind::GUEST) => (bind(root, mount, Path::new(&mount.source), describe)?, false),
        Err(unknown) => return Err(Fault::refused(format!("mount of unknown kind {unknown}"))),
    };
    for flags in &mount.propagation {
        let flags = MountPropagationFlags::from_bits_retain(word(*flags)?);
        rustix::mount::mount_change(by_descriptor(&placed), flags).trying(describe)?;
    }
    if mount.recursive_attr != 0 {
        let clear = if mount.recursive_attr & ATIME == 0 { 0 } else { ATIME };
        let attributes = Attributes { set: mount.recursive_attr, clear, ..Attributes::default() };
        set_attributes(placed.as_fd(), true, attributes).trying(describe)?;
    }
    Ok(sealed_later.then_some(placed))
}

/// MS_* flags as the kernel takes them.
fn word(flags: u64) -> Result<u32, Fault> {
    u32::try_from(flags).map_err(|_| Fault::refused(format!("mount flags {flags:#x} are out of range")))
}

fn bind(root: &Root, mount: &Mount, source: &Path, describe: impl Fn() -> String) -> Result<OwnedFd, Fault> {
    let flags = MountFlags::from_bits_retain(word(mount.flags)?);
    let tree = clone_tree(CWD, source, mount.flags & libc::MS_REC != 0).trying(&describe)?;
    let directory = is_directory(&tree).trying(&describe)?;
    let leaf = if directory { Leaf::Directory } else { Leaf::File };
    let target = root.ensure(&mount.destination, leaf)?;
    if is_directory(&target).trying(&describe)? != directory {
        // The kernel would say EINVAL; engines explain this one.
        return Err(Fault::system(&describe(), Errno::NOTDIR));
    }
    may_cover(&target, &mount.destination)?;
    let attributes = attributes(flags);
    if attributes.set != 0 {
        set_attributes(tree.as_fd(), false, attributes).trying(&describe)?;
    }
    attach(&tree, &target).trying(&describe)?;
    still_proc(root, &mount.destination)?;
    Ok(tree)
}

fn filesystem(
    root: &Root,
    mount: &Mount,
    fstype: &str,
    describe: impl Fn() -> String,
) -> Result<(OwnedFd, bool), Fault> {
    let existed = root.locate(&mount.destination).is_ok() && !mount.place_made;
    let target = root.ensure(&mount.destination, Leaf::Directory)?;
    may_cover(&target, &mount.destination)?;
    if matches!(fstype, "proc" | "sysfs") {
        ordinary_directory(root, &mount.destination)?;
    }
    let mut data = mount.data.clone();
    if fstype == "tmpfs" && existed {
        // The image's mode for the place holds unless the plan names one, which comes later and wins.
        let mode = rustix::fs::fstat(&target).trying(&describe)?.st_mode & 0o7777;
        let separator = if data.is_empty() { "" } else { "," };
        data = format!("mode={mode:04o}{separator}{data}");
    }
    let below = if mount.copy_up && existed {
        Some(root.open(mount.destination.as_str(), OFlags::RDONLY | OFlags::DIRECTORY).trying(&describe)?)
    } else {
        None
    };
    let mut flags = MountFlags::from_bits_retain(word(mount.flags)?);
    let sealed_later = fstype == "tmpfs" && flags.contains(MountFlags::RDONLY);
    flags.set(MountFlags::RDONLY, flags.contains(MountFlags::RDONLY) && !sealed_later);
    let source = if mount.source.is_empty() { fstype } else { &mount.source };
    let data = CString::new(data).map_err(|_| Fault::refused(format!("{}: data with NUL", describe())))?;
    rustix::mount::mount(source, by_descriptor(&target), fstype, flags, data.as_c_str()).trying(&describe)?;
    let placed = root.locate(&mount.destination).trying(&describe)?;
    if let Some(below) = below {
        copy_up::fill(&below, &placed).trying(|| format!("copy up {}", mount.destination))?;
    }
    still_proc(root, &mount.destination)?;
    Ok((placed, sealed_later))
}

/// MS_* flags as attributes of one mount.
fn attributes(flags: MountFlags) -> Attributes {
    const PAIRS: [(MountFlags, u64); 6] = [
        (MountFlags::RDONLY, RDONLY),
        (MountFlags::NOSUID, NOSUID),
        (MountFlags::NODEV, NODEV),
        (MountFlags::NOEXEC, NOEXEC),
        (MountFlags::NODIRATIME, NODIRATIME),
        (MountFlags::from_bits_retain(256), NOSYMFOLLOW), // MS_NOSYMFOLLOW
    ];
    let mut set = 0;
    for (flag, attribute) in PAIRS {
        if flags.contains(flag) {
            set |= attribute;
        }
    }
    let mut clear = 0;
    if flags.contains(MountFlags::NOATIME) {
        (set, clear) = (set | NOATIME, ATIME);
    } else if flags.contains(MountFlags::STRICTATIME) {
        (set, clear) = (set | STRICTATIME, ATIME);
    }
    Attributes { set, clear, ..Attributes::default() }
}

pub(crate) fn is_proc(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(rustix::fs::fstatfs(fd)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Refuses to cover part of /proc: a process of the container or this agent would take the cover for the kernel.
fn may_cover(target: &OwnedFd, destination: &str) -> Result<(), Fault> {
    if !is_proc(target).trying(|| format!("statfs {destination}"))? {
        return Ok(());
    }
    let name = destination.trim_start_matches('/').strip_prefix("proc/").map(|name| name.trim_matches('/'));
    match name {
        Some(name) if REPLACEABLE.contains(&name) => Ok(()),
        _ => Err(Fault::refused(format!("{destination:?} cannot be mounted because it is inside /proc"))),
    }
}

/// What lies at /proc must be a procfs.
fn still_proc(root: &Root, destination: &str) -> Result<(), Fault> {
    if destination.trim_matches('/') != "proc" {
        return Ok(());
    }
    let target = root.locate("/proc").trying(|| "open /proc".to_owned())?;
    if is_proc(&target).trying(|| "statfs /proc".to_owned())? {
        return Ok(());
    }
    Err(Fault::refused(format!("{destination:?} cannot be mounted because it is not of type proc")))
}

fn ordinary_directory(root: &Root, destination: &str) -> Result<(), Fault> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY;
    match root.open(destination.trim_end_matches('/'), flags) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::refused(format!("{destination:?} must be mounted on ordinary directory"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_flags_become_attributes() {
        let all = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        assert_eq!(attributes(all).set, 0xf);
        assert_eq!(attributes(MountFlags::BIND).set, 0);
        let quiet = attributes(MountFlags::NOATIME);
        assert_eq!((quiet.set, quiet.clear), (0x10, 0x70));
    }
}
