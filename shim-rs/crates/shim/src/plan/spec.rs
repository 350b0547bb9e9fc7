// SPDX-License-Identifier: Apache-2.0
//! Reads `config.json` and checks what every later step relies on. It is untrusted input: image and user wrote parts
//! of it, so sizes are capped and paths may not escape.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Root, Spec};
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// Largest `config.json` that is read, in bytes. A privileged container on a host with 5000 device nodes has 1 MiB.
const MAX_SPEC: u64 = 4 << 20;

/// Longest path the kernel takes (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// Longest host and domain name (`__NEW_UTS_LEN`).
const MAX_NAME: usize = 64;

/// Reads and parses `<bundle>/config.json`.
///
/// # Errors
/// [`Refusal::Invalid`] when it cannot be read, is too large or is no spec.
pub fn load(bundle: &Path) -> Result<Spec, Refusal> {
    let path = bundle.join("config.json");
    let unreadable = |error: std::io::Error| Refusal::invalid("config.json", error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_SPEC + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    parse(&bytes)
}

/// Parses the bytes of a `config.json`.
///
/// # Errors
/// [`Refusal::Invalid`] when there are too many of them or they are no spec.
pub fn parse(bytes: &[u8]) -> Result<Spec, Refusal> {
    json("config.json", bytes)
}

/// Parses the process of an Exec.
///
/// # Errors
/// As [`parse`].
pub fn load_process(bytes: &[u8]) -> Result<Process, Refusal> {
    json("process", bytes)
}

/// Parses one section that came by itself.
pub(super) fn json<T: DeserializeOwned>(field: &str, bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.len() as u64 > MAX_SPEC {
        return Err(Refusal::invalid(field, format!("larger than {MAX_SPEC} bytes")));
    }
    serde_json::from_slice(bytes).map_err(|error| Refusal::invalid(field, error.to_string()))
}

/// The container's id becomes a directory's name on the host and in the share.
pub(super) fn check_id(id: &str) -> Result<(), Refusal> {
    let first_is_plain = id.starts_with(|first: char| first.is_ascii_alphanumeric());
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-+".contains(&byte));
    if first_is_plain && plain && id.len() <= 128 {
        return Ok(());
    }
    Err(Refusal::invalid(
        "container id",
        "letters, digits, '_', '.', '-' and '+' only, a letter or digit first",
    ))
}

/// Sections without which there is no container.
pub(super) fn required(spec: &Spec) -> Result<(&Root, &Linux, &Process), Refusal> {
    let missing = |field: &str| Refusal::invalid(field, "is missing");
    let root = spec.root().as_ref().ok_or_else(|| missing("root"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    Ok((root, linux, process))
}

/// `linux.cgroupsPath` as the engine wrote it.
pub(super) fn cgroups_path(linux: &Linux) -> Result<Option<String>, Refusal> {
    let Some(path) = linux.cgroups_path().as_deref().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(None);
    };
    check_path("linux.cgroupsPath", path)?;
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Refusal::invalid("linux.cgroupsPath", "must not contain \"..\""));
    }
    Ok(path.to_str().map(str::to_owned))
}

/// Where the root file system lies on the host: absolute, or below the bundle.
pub(super) fn root_path(bundle: &Path, root: &Root) -> Result<PathBuf, Refusal> {
    let path = root.path();
    check_path("root.path", path)?;
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Refusal::invalid("root.path", "must not contain \"..\""));
    }
    let full = bundle.join(path);
    if full.components().filter(|part| matches!(part, Component::Normal(_))).count() == 0 {
        return Err(Refusal::invalid("root.path", "the host's own root cannot be a container's"));
    }
    Ok(full)
}

/// A path that can be handed to the kernel.
pub(super) fn check_path(field: &str, path: &Path) -> Result<(), Refusal> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(Refusal::invalid(field, "is empty"));
    }
    if bytes.len() >= MAX_PATH {
        return Err(Refusal::invalid(field, format!("is longer than {MAX_PATH} bytes")));
    }
    check_text(field, path.to_str().unwrap_or("\0"))
}

/// A path inside the container, made absolute and free of "." and ".."; symbolic links are the guest's to resolve.
pub(super) fn inside(field: &str, path: &Path) -> Result<String, Refusal> {
    check_path(field, path)?;
    let mut clean: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.extend(name.to_str()),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(format!("/{}", clean.join("/")))
}

/// Text that becomes a C string.
pub(super) fn check_text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.contains('\0') {
        return Err(Refusal::invalid(field, "contains a NUL byte or is not UTF-8"));
    }
    Ok(())
}

/// Host or domain name: what sethostname(2) takes.
pub(super) fn name(field: &str, name: Option<&String>) -> Result<String, Refusal> {
    let name = name.map_or("", String::as_str);
    check_text(field, name)?;
    if name.len() > MAX_NAME {
        return Err(Refusal::invalid(field, format!("is longer than {MAX_NAME} bytes")));
    }
    Ok(name.to_owned())
}

/// `linux.rootfsPropagation` as mount flags; 0 leaves the guest's default.
pub(super) fn rootfs_propagation(word: Option<&String>) -> Result<u64, Refusal> {
    let word = word.map_or("", String::as_str);
    if word.is_empty() {
        return Ok(0);
    }
    super::mount_options::propagation(word)
        .ok_or_else(|| Refusal::invalid("linux.rootfsPropagation", format!("{word:?} is unknown")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &str) -> Root {
        let mut root = Root::default();
        root.set_path(path.into());
        root
    }

    #[test]
    fn relative_root_is_below_the_bundle() {
        assert_eq!(root_path(Path::new("/b"), &root("rootfs")), Ok("/b/rootfs".into()));
        assert_eq!(root_path(Path::new("/b"), &root("/var/x/merged")), Ok("/var/x/merged".into()));
    }

    #[test]
    fn escaping_root_is_refused() {
        for path in ["../x", "rootfs/../../x", "/a/../b", "", "/", "//"] {
            assert!(root_path(Path::new("/b"), &root(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn destination_is_made_absolute() {
        for (path, clean) in [("a/b", "/a/b"), ("/a/../../c", "/c"), ("/a/./b/", "/a/b"), ("/", "/")] {
            assert_eq!(inside("x", Path::new(path)), Ok(clean.to_owned()));
        }
    }

    #[test]
    fn id_that_is_a_path_is_refused() {
        for id in ["", ".", "..", "a/b", "../a", "-a", "a b", "ä"] {
            assert!(check_id(id).is_err(), "{id}");
        }
        assert_eq!(check_id("cri-1_a.b"), Ok(()));
    }

    #[test]
    fn oversized_and_broken_json_is_refused() {
        let size = usize::try_from(MAX_SPEC).unwrap();
        assert!(parse(&vec![b' '; size + 1]).is_err());
        assert!(parse(b"{\"root\":").is_err());
    }
}
