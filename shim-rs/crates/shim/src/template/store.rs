// SPDX-License-Identifier: Apache-2.0
//! The directory of templates.
//!
//! ```text
//! templates/            0700, as everything below is its owner's alone
//!   .lock               held by who builds or removes
//!   .building-PID/      a build; whatever has this name while nobody holds the lock is a ruin
//!   digests.json        of the programs and images, see `identity`
//!   1x512-KEY/          one template: it appears and disappears whole, by rename
//!     manifest.json     its time of change is when it was last used
//!     memory  state
//! ```
//! Readers take no lock: they hold descriptors, which a removal does not take from them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::class::Class;
use super::files::{self, FileError};
use super::identity::Digests;
use super::manifest::Manifest;
use super::saved::{self, MANIFEST, MAX_TEXT, MEMORY, STATE, Template, TemplateError};

const LOCK: &str = ".lock";
const BUILDING: &str = ".building-";
const DIGESTS: &str = "digests.json";

/// A template's place in the directory: what its name says. Nothing was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Size of the machine.
    pub class: Class,
    /// Names everything else.
    pub key: String,
}

impl Entry {
    /// The directory's name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.class, self.key)
    }

    /// Reads a directory's name; none when it is no template's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (class, key) = name.split_once('-')?;
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let whole = key.len() == 64 && key.bytes().all(hex);
        Some(Self { class: class.parse().ok()?, key: whole.then(|| key.to_owned())? })
    }
}

/// The open directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    directory: OwnedFd,
}

impl Store {
    /// Opens the directory.
    ///
    /// # Errors
    /// Not there, or not its owner's alone.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Ok(Self { path: path.to_owned(), directory: files::directory(path)? })
    }

    /// Makes the directory where it is not there, and opens it.
    ///
    /// # Errors
    /// It cannot be made, or is there and not its owner's alone.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| FileError::Unreadable { name: path.display().to_string(), source })?;
        Self::open(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is there, by name, smallest class first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut found: Vec<Entry> = self.names()?.iter().filter_map(|name| Entry::parse(name)).collect();
        found.sort_by_key(|entry| (entry.class.cost(), entry.key.clone()));
        Ok(found)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            names.extend(entry?.file_name().to_str().map(str::to_owned).ok());
        }
        Ok(names)
    }

    /// Opens a template and checks everything but its memory's content.
    ///
    /// # Errors
    /// It is not there, not its owner's alone, or damaged.
    pub fn template(&self, entry: &Entry) -> Result<Template, TemplateError> {
        Template::open(&self.directory, entry)
    }

    /// The digests a build noted; none when there are none to believe.
    pub(super) fn digests(&self) -> Option<Digests> {
        let file = files::file_in(&self.directory, DIGESTS).ok()?;
        serde_json::from_slice(&saved::read(&file, MAX_TEXT).ok()?).ok()
    }

    /// Only one builds or removes at a time; `waiting` is called when somebody else does.
    pub(super) fn lock(&self, waiting: impl FnOnce()) -> io::Result<Lock> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            waiting();
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        }
        Ok(Lock { _held: file })
    }

    /// Notes digests for the starts to come.
    pub(super) fn note(&self, digests: &Digests, _lock: &Lock) -> io::Result<()> {
        let fresh = format!("{BUILDING}digests");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &fresh, flags, Mode::RUSR | Mode::WUSR)?;
        serde_json::to_writer(File::from(file), digests)?;
        Ok(rustix::fs::renameat(&self.directory, &fresh, &self.directory, DIGESTS)?)
    }

    /// A directory to build in. It goes when it is dropped without being published.
    pub(super) fn workspace(&self, _lock: &Lock) -> io::Result<Workspace> {
        self.clear_ruins()?;
        let path = self.path.join(format!("{BUILDING}{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Workspace { path })
    }

    fn clear_ruins(&self) -> io::Result<()> {
        for name in self.names()?.iter().filter(|name| name.starts_with(BUILDING)) {
            self.discard(name)?;
        }
        Ok(())
    }

    /// Gives a finished build its name. What had it goes.
    #[expect(clippy::needless_pass_by_value, reason = "nothing is left of a workspace")]
    pub(super) fn publish(&self, workspace: Workspace, manifest: &Manifest, lock: &Lock) -> io::Result<()> {
        let entry = Entry { class: manifest.class(), key: manifest.key.clone() };
        std::fs::write(workspace.path.join(MANIFEST), serde_json::to_vec_pretty(manifest)?)?;
        for name in [MANIFEST, MEMORY, STATE] {
            let path = workspace.path.join(name);
            rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR)?;
            File::open(&path)?.sync_all()?;
        }
        File::open(&workspace.path)?.sync_all()?;
        self.remove(&entry, lock)?;
        std::fs::rename(&workspace.path, self.path.join(entry.name()))?;
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    /// Takes a template away; running machines keep what they have. Nothing happens when it is not there.
    pub(super) fn remove(&self, entry: &Entry, _lock: &Lock) -> io::Result<()> {
        let ruin = format!("{BUILDING}removed");
        match rustix::fs::renameat(&self.directory, entry.name(), &self.directory, &ruin) {
            Ok(()) => self.discard(&ruin),
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes whatever has this name, without following links.
    fn discard(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {
                std::fs::remove_dir_all(self.path.join(name))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The right to change the directory.
#[derive(Debug)]
pub(super) struct Lock {
    _held: OwnedFd,
}

/// A build under way.
#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
}

impl Workspace {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.path) {
            Ok(()) => {}
            // Published.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "a build was left behind"),
        }
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
pub(super) mod tests;
