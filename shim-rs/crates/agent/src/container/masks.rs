// SPDX-License-Identifier: Apache-2.0
//! Hides and write-protects paths of the container, and writes its sysctls.
//!
//! Runs before the container's root is entered: sysctls go through the guest's own /proc, which no image can fake,
//! and what hides a file is the guest's own /dev/null, checked to be it.

use std::path::Path;

use boxlite_protocol::plan::Sysctl;
use rustix::fs::{FileType, Mode, OFlags, major, minor};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::mounts::{attach, clone_tree, is_directory, seal};
use super::root::{Root, by_descriptor};
use crate::error::{Fault, Trying};

/// Writes one value. `keep_network`: this process shares its network with others, whose settings stay.
pub(crate) fn sysctl(sysctl: &Sysctl, keep_network: bool) -> Result<(), Fault> {
    if keep_network && sysctl.path.starts_with("net/") {
        return Ok(());
    }
    if sysctl.path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Fault::refused(format!("sysctl {:?}: not a name", sysctl.path)));
    }
    let path = format!("/proc/sys/{}", sysctl.path);
    let write = || {
        let file = rustix::fs::open(path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, sysctl.value.as_bytes())
    };
    write().map(drop).trying(|| format!("open {path}"))
}

/// Hides each path that exists: a file behind /dev/null, a directory behind an empty read-only one.
pub(crate) fn hide(root: &Root, paths: &[String]) -> Result<(), Fault> {
    let null =
        rustix::fs::open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .trying(|| "open /dev/null".to_owned())?;
    let stat = rustix::fs::fstat(&null).trying(|| "stat /dev/null".to_owned())?;
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != (1, 3) {
        return Err(Fault::refused("the guest's /dev/null is not the null device".to_owned()));
    }
    for path in paths {
        let what = || format!("mask {path}");
        let target = match root.locate(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other.trying(what)?,
        };
        if is_directory(&target).trying(what)? {
            let data = Some(c"nr_blocks=1,nr_inodes=1");
            rustix::mount::mount("tmpfs", by_descriptor(&target), "tmpfs", MountFlags::RDONLY, data)
                .trying(what)?;
        } else {
            let cover = clone_tree(&null, Path::new(""), false).trying(what)?;
            attach(&cover, &target).trying(what)?;
        }
    }
    Ok(())
}

/// Makes each path that exists read-only, by a mount of itself.
pub(crate) fn protect(root: &Root, paths: &[String]) -> Result<(), Fault> {
    for path in paths {
        let what = || format!("make {path} read-only");
        let target = match root.locate(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other.trying(what)?,
        };
        let copy = clone_tree(&target, Path::new(""), true).trying(what)?;
        seal(&copy)?;
        attach(&copy, &target).trying(what)?;
    }
    Ok(())
}
