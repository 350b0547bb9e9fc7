// SPDX-License-Identifier: Apache-2.0
//! Opening what only its owner may have written: by descriptor, without following links, checked once open.
//!
//! A saved machine is executed, and its state is parsed by QEMU without suspicion. So each file, and each directory
//! from the one the configuration names down, must belong to the user this program runs as, and nobody else may have
//! any right to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};

/// Why something is not ours.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no such thing.
    #[error("{name} does not exist")]
    Absent {
        /// Last part of the path.
        name: String,
    },
    /// It is there, and may be somebody else's work.
    #[error("{name} {what}")]
    Unsafe {
        /// Last part of the path.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// It cannot be opened or read.
    #[error("{name} cannot be read")]
    Unreadable {
        /// Last part of the path.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Opens the directory at a path of the host's.
pub(super) fn directory(path: &Path) -> Result<OwnedFd, FileError> {
    open(CWD, path, OFlags::DIRECTORY, FileType::Directory)
}

/// Opens a directory in `parent`.
pub(super) fn directory_in(parent: impl AsFd, name: &str) -> Result<OwnedFd, FileError> {
    open(parent, Path::new(name), OFlags::DIRECTORY, FileType::Directory)
}

/// Opens a plain file in `parent` for reading.
pub(super) fn file_in(parent: impl AsFd, name: &str) -> Result<File, FileError> {
    // Without NONBLOCK a FIFO in its place would hang us.
    open(parent, Path::new(name), OFlags::NONBLOCK, FileType::RegularFile).map(File::from)
}

fn open(parent: impl AsFd, path: &Path, flags: OFlags, kind: FileType) -> Result<OwnedFd, FileError> {
    let name = || path.display().to_string();
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(parent, path, flags, Mode::empty()).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => FileError::Absent { name: name() },
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => {
            FileError::Unsafe { name: name(), what: "is a link, or not what it should be".to_owned() }
        }
        other => FileError::Unreadable { name: name(), source: other.into() },
    })?;
    let stat = rustix::fs::fstat(&opened)
        .map_err(|errno| FileError::Unreadable { name: name(), source: errno.into() })?;
    match complaint(&stat, kind) {
        None => Ok(opened),
        Some(what) => Err(FileError::Unsafe { name: name(), what }),
    }
}

fn complaint(stat: &Stat, kind: FileType) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let mode = stat.st_mode & 0o7777;
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Some("is a link, or not what it should be".to_owned());
    }
    if stat.st_uid != own {
        return Some(format!("belongs to user {}, not to {own}", stat.st_uid));
    }
    (mode & 0o077 != 0).then(|| format!("has mode {mode:04o}: others than its owner have rights to it"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn scratch() -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(scratch.path().join("file"), "content").unwrap();
        std::fs::set_permissions(scratch.path().join("file"), PermissionsExt::from_mode(0o600)).unwrap();
        scratch
    }

    #[test]
    fn own_files_are_opened() {
        let scratch = scratch();
        let parent = directory(scratch.path()).unwrap();
        assert_eq!(std::io::read_to_string(file_in(&parent, "file").unwrap()).unwrap(), "content");
        assert!(matches!(file_in(&parent, "other"), Err(FileError::Absent { .. })));
    }

    #[test]
    fn what_others_may_touch_is_refused() {
        let scratch = scratch();
        let parent = directory(scratch.path()).unwrap();
        for mode in [0o602, 0o620, 0o640, 0o604] {
            std::fs::set_permissions(scratch.path().join("file"), PermissionsExt::from_mode(mode)).unwrap();
            assert!(matches!(file_in(&parent, "file"), Err(FileError::Unsafe { .. })), "{mode:o}");
        }
        std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(directory(scratch.path()), Err(FileError::Unsafe { .. })));
    }

    #[test]
    fn links_and_other_kinds_are_refused() {
        let scratch = scratch();
        let parent = directory(scratch.path()).unwrap();
        symlink("file", scratch.path().join("link")).unwrap();
        rustix::fs::mknodat(&parent, "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        std::fs::create_dir(scratch.path().join("directory")).unwrap();
        for name in ["link", "fifo", "directory"] {
            assert!(matches!(file_in(&parent, name), Err(FileError::Unsafe { .. })), "{name}");
        }
        symlink(".", scratch.path().join("elsewhere")).unwrap();
        assert!(matches!(directory_in(&parent, "elsewhere"), Err(FileError::Unsafe { .. })));
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let scratch = scratch();
        let parent = directory(scratch.path()).unwrap();
        match std::os::unix::fs::chown(scratch.path().join("file"), Some(12345), None) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
            Err(error) => panic!("{error}"),
        }
        let error = file_in(&parent, "file").unwrap_err().to_string();
        assert_eq!(error, "file belongs to user 12345, not to 0");
    }
}
