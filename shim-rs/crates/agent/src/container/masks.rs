// SPDX-License-Identifier: Apache-2.0
//! Hides and write-protects paths of the container, and writes its sysctls.
//!
//! Runs before the container's root is entered: sysctls go through the guest's own /proc, which no image can fake.
//! What hides a file is the container's /dev/null, as with runc, or else the guest's: either is checked to be it.

use std::os::fd::OwnedFd;
use std::path::Path;

use boxlite_linux::mount::{attach, clone_tree, is_directory};
use boxlite_linux::setting;
use boxlite_protocol::plan::Sysctl;
use rustix::fs::{FileType, Mode, OFlags, major, minor};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::error::{Fault, Trying};
use crate::root::{Root, by_descriptor};
use crate::tree::seal;

/// Writes one value. `keep_network`: this process shares its network with others, whose settings stay.
pub(crate) fn sysctl(sysctl: &Sysctl, keep_network: bool) -> Result<(), Fault> {
    if keep_network && sysctl.path.starts_with("net/") {
        return Ok(());
    }
    if sysctl.path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Fault::refused(format!("sysctl {:?}: not a name", sysctl.path)));
    }
    let path = format!("/proc/sys/{}", sysctl.path);
    setting::write(path.as_str(), sysctl.value.as_bytes()).trying(|| format!("open {path}"))
}

/// Hides each path that exists: a file behind /dev/null, a directory behind an empty read-only one.
pub(crate) fn hide(root: &Root, paths: &[String]) -> Result<(), Fault> {
    if paths.is_empty() {
        return Ok(());
    }
    let null = null_device(root)?;
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

/// The container's own null device, so that a hidden file lies on the same file system as the rest of its /dev; where
/// the image or a mount has put something else there, the guest's.
fn null_device(root: &Root) -> Result<OwnedFd, Fault> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(own) = root.open("/dev/null", flags)
        && is_null(&own).unwrap_or(false)
    {
        return Ok(own);
    }
    let guests =
        rustix::fs::open("/dev/null", flags, Mode::empty()).trying(|| "open /dev/null".to_owned())?;
    if is_null(&guests).trying(|| "stat /dev/null".to_owned())? {
        return Ok(guests);
    }
    Err(Fault::refused("the guest's /dev/null is not the null device".to_owned()))
}

fn is_null(file: &OwnedFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(file)?;
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && device == (1, 3))
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
