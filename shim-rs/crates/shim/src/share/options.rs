// SPDX-License-Identifier: Apache-2.0
//! From an engine's list of mount options to what mount(2) takes. Pure.
//!
//! An option is either a flag of the mount, or belongs to the file system and goes into its data string. The kernel
//! takes a page of data; an overlay of many layers exceeds it, so its lower directories can be named relative to
//! what they have in common.

use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::ShareError;

/// Bytes of data mount(2) takes, with the final zero, on every page size.
const DATA_LIMIT: usize = 4096;

/// What mount(2) takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MountCall {
    /// Flags; devices are never allowed.
    pub(super) flags: MountFlags,
    /// The file system's own options.
    pub(super) data: String,
    /// Directory that relative names in `data` start from.
    pub(super) directory: Option<PathBuf>,
}

/// A bind mount, by its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BindCall {
    pub(super) readonly: bool,
    pub(super) recursive: bool,
}

/// Whether a mount is a bind: told by its type or options, never by what the source looks like.
pub(super) fn bind(fstype: &str, options: &[String]) -> Option<BindCall> {
    let has = |name: &str| options.iter().any(|option| option == name);
    (fstype == "bind" || has("bind") || has("rbind")).then(|| BindCall {
        readonly: options.iter().rev().find_map(|option| match option.as_str() {
            "ro" => Some(true),
            "rw" => Some(false),
            _ => None,
        }) == Some(true),
        recursive: has("rbind"),
    })
}

/// Sorts the options of a mount that is no bind.
pub(super) fn mount_call(options: &[String]) -> Result<MountCall, ShareError> {
    let mut flags = MountFlags::NODEV;
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "" | "rw" | "dev" | "nodev" | "suid" | "exec" | "defaults" | "async" => {}
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "noexec" => flags |= MountFlags::NOEXEC,
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "strictatime" => flags |= MountFlags::STRICTATIME,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            "dirsync" => flags |= MountFlags::DIRSYNC,
            "loop" => {
                let reason = "the root file system must be a directory, an overlay or a block device";
                return Err(ShareError::Option { option: option.clone(), reason });
            }
            other => data.push(other),
        }
    }
    let joined = data.join(",");
    if joined.len() < DATA_LIMIT {
        return Ok(MountCall { flags, data: joined, directory: None });
    }
    let (directory, data) = shortened(&data).ok_or_else(|| ShareError::Option {
        option: joined.chars().take(64).collect(),
        reason: "all options together exceed the 4095 bytes the kernel takes",
    })?;
    Ok(MountCall { flags, data, directory: Some(directory) })
}

/// The same options with lower directories named from their common parent, if that is short enough.
fn shortened(options: &[&str]) -> Option<(PathBuf, String)> {
    let lower = options.iter().find_map(|option| option.strip_prefix("lowerdir="))?;
    let layers: Vec<&Path> = lower.split(':').map(Path::new).collect();
    let common = layers.iter().skip(1).try_fold(layers.first()?.parent()?, |common, layer| {
        common.ancestors().find(|ancestor| layer.starts_with(ancestor) && *layer != *ancestor)
    })?;
    let relative: Option<Vec<&str>> =
        layers.iter().map(|layer| layer.strip_prefix(common).ok()?.to_str()).collect();
    let lower = format!("lowerdir={}", relative?.join(":"));
    let rest =
        options.iter().map(|option| if option.starts_with("lowerdir=") { lower.as_str() } else { option });
    let data = rest.collect::<Vec<_>>().join(",");
    (data.len() < DATA_LIMIT).then(|| (common.to_owned(), data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(options: &[&str]) -> Vec<String> {
        options.iter().map(|option| (*option).to_owned()).collect()
    }

    #[test]
    fn flags_and_data_are_told_apart() {
        let call = mount_call(&owned(&["ro", "index=off", "lowerdir=/a:/b", "rw", "nosuid"])).expect("call");
        assert_eq!(call.flags, MountFlags::NODEV | MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!(call.data, "index=off,lowerdir=/a:/b");
        assert_eq!(call.directory, None);
    }

    #[test]
    fn devices_cannot_be_asked_for() {
        assert_eq!(mount_call(&owned(&["dev"])).expect("call").flags, MountFlags::NODEV);
    }

    #[test]
    fn the_type_or_an_option_makes_a_bind() {
        let ro = Some(BindCall { readonly: true, recursive: true });
        assert_eq!(bind("bind", &owned(&["rbind", "ro"])), ro);
        assert_eq!(bind("none", &owned(&["bind"])), Some(BindCall { readonly: false, recursive: false }));
        assert_eq!(bind("bind", &owned(&["ro", "rw"])).map(|call| call.readonly), Some(false));
        assert_eq!(bind("overlay", &owned(&["ro"])), None);
    }

    #[test]
    fn many_layers_are_named_from_their_common_parent() {
        let snapshots = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
        let layers: Vec<String> = (1..=120).map(|layer| format!("{snapshots}/{layer}/fs")).collect();
        let options = [
            "index=off".to_owned(),
            format!("workdir={snapshots}/200/work"),
            format!("upperdir={snapshots}/200/fs"),
            format!("lowerdir={}", layers.join(":")),
        ];
        let call = mount_call(&options).expect("call");
        assert_eq!(call.directory.as_deref(), Some(Path::new(snapshots)));
        assert!(call.data.len() < DATA_LIMIT);
        assert!(call.data.contains("lowerdir=1/fs:2/fs:"));
        assert!(call.data.contains(&format!("upperdir={snapshots}/200/fs")));
    }

    #[test]
    fn a_lower_directory_never_becomes_empty() {
        let long = "x".repeat(5000);
        let lower = format!("lowerdir=/{long}/a:/{long}/a/b");
        let (directory, data) = shortened(&[&lower]).expect("shortened");
        assert_eq!(directory, Path::new(&format!("/{long}")));
        assert_eq!(data, "lowerdir=a:a/b");
    }

    #[test]
    fn what_cannot_be_shortened_is_refused() {
        let apart = format!("lowerdir=/{}:/{}", "a/".repeat(1200), "b/".repeat(1200));
        assert!(matches!(mount_call(&[apart]), Err(ShareError::Option { .. })));
        let refused = mount_call(&["x".repeat(5000)]).expect_err("refused");
        assert!(matches!(refused, ShareError::Option { .. }));
    }

    #[test]
    fn loop_devices_are_refused() {
        assert!(matches!(mount_call(&owned(&["loop"])), Err(ShareError::Option { .. })));
    }
}
