// SPDX-License-Identifier: Apache-2.0
//! Fills a new tmpfs with what the image has where it was mounted (option tmpcopyup).
//!
//! Goes by descriptor only and follows no link, so that nothing outside the two directories is read or written.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

use crate::root::by_descriptor;

/// Copies the content of the directory `from` into the directory `to`, owners and modes included.
pub(crate) fn fill(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push(entry.file_name().to_owned());
        }
    }
    for name in entries {
        let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, &name, mode)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, &name, flags, Mode::empty())?;
                let target = rustix::fs::openat(to, &name, flags, Mode::empty())?;
                fill(&source, &target)?;
                own(&target, &stat)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, &name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, &name)?;
                let (owner, group) = owners(&stat);
                rustix::fs::chownat(to, &name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            FileType::RegularFile => {
                let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let write = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let mut source = File::from(rustix::fs::openat(from, &name, read, Mode::empty())?);
                let mut target = File::from(rustix::fs::openat(to, &name, write, mode)?);
                io::copy(&mut source, &mut target)?;
                own(&target, &stat)?;
            }
            kind => {
                rustix::fs::mknodat(to, &name, kind, mode, stat.st_rdev)?;
                let (owner, group) = owners(&stat);
                rustix::fs::chownat(to, &name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
    }
    let stat = rustix::fs::fstat(from)?;
    let (owner, group) = owners(&stat);
    rustix::fs::chownat(CWD, by_descriptor(to), Some(owner), Some(group), AtFlags::empty())?;
    Ok(())
}

/// The owner first: changing it clears the set-id bits.
fn own(target: impl AsFd, stat: &Stat) -> io::Result<()> {
    let (owner, group) = owners(stat);
    rustix::fs::fchown(&target, Some(owner), Some(group))?;
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(())
}

fn owners(stat: &Stat) -> (rustix::fs::Uid, rustix::fs::Gid) {
    (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid))
}
