// SPDX-License-Identifier: Apache-2.0
//! Reads `linux.cgroupsPath`. Pure.

use std::path::{Component, Path, PathBuf};

use super::CgroupError;
use super::scope::Scope;

/// Where the engine wants the container's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the shim is.
    Stay,
    /// Below each hierarchy's mount point.
    Absolute(PathBuf),
    /// Below the shim's own cgroup.
    Relative(PathBuf),
    /// systemd's notation.
    Scope(Scope),
}

/// Tells the notations apart: only systemd's has two colons and no leading slash.
pub(super) fn parse(text: &str) -> Result<Place, CgroupError> {
    let wrong = |why| CgroupError::Path { path: text.into(), why };
    if text.is_empty() {
        return Ok(Place::Stay);
    }
    if text.contains('\0') {
        return Err(wrong("contains a zero byte"));
    }
    if !text.starts_with('/') && text.matches(':').count() == 2 {
        return Scope::parse(text).map(Place::Scope).map_err(wrong);
    }
    let path = clean(Path::new(text));
    if path.as_os_str().is_empty() {
        return Err(wrong("names the root cgroup, which is no container's"));
    }
    Ok(if text.starts_with('/') { Place::Absolute(path) } else { Place::Relative(path) })
}

/// The path below a root, with `.` and `..` resolved by their letters: nothing leads above the root.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}
