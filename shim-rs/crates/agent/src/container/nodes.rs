// SPDX-License-Identifier: Apache-2.0
//! Device nodes and links of the plan, made inside the container's root.
//!
//! What the image has already is left alone, as every runtime does.

use boxlite_protocol::plan::{Node, Symlink};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;

use crate::error::{Fault, Trying};
use crate::root::Root;

/// Makes one node. The process's umask must be 0.
pub(crate) fn make(root: &Root, node: &Node) -> Result<(), Fault> {
    let (parent, name) = root.ensure_parent(&node.path)?;
    let mode = Mode::from_raw_mode(node.mode & 0o7777);
    let device = makedev(node.major, node.minor);
    match rustix::fs::mknodat(&parent, name, FileType::from_raw_mode(node.type_), mode, device) {
        Err(Errno::EXIST) => return Ok(()),
        other => other.trying(|| format!("mknod {}", node.path))?,
    }
    if node.uid == 0 && node.gid == 0 {
        return Ok(());
    }
    let (owner, group) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    rustix::fs::chownat(&parent, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .trying(|| format!("chown {}", node.path))
}

/// Makes one link.
pub(crate) fn link(root: &Root, link: &Symlink) -> Result<(), Fault> {
    let (parent, name) = root.ensure_parent(&link.path)?;
    match rustix::fs::symlinkat(link.target.as_str(), &parent, name) {
        Err(Errno::EXIST) => Ok(()),
        other => other.trying(|| format!("symlink {}", link.path)),
    }
}
