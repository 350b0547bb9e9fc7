// SPDX-License-Identifier: Apache-2.0
//! One template: its files, opened and checked.
//!
//! Everything is checked before it is used, each time: whose the files are, that the manifest belongs to the
//! directory's name, the state's digest, the memory's length. The memory's content is checked by its own checksum
//! while it is copied ([`boxlite_vmm::template::memory`]).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::SystemTime;

use boxlite_vmm::template::Image;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW};

use super::files::{self, FileError};
use super::identity;
use super::manifest::Manifest;
use super::store::Entry;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const MEMORY: &str = "memory";
pub(super) const STATE: &str = "state";
/// A manifest or a list of digests that is longer is no such thing.
pub(super) const MAX_TEXT: u64 = 1 << 20;
/// A state is some 200 KB. More is not read into memory.
const MAX_STATE: u64 = 64 << 20;

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file is absent, unreadable or not its owner's alone.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files are not what the manifest says.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// Which file.
        name: &'static str,
        /// What is wrong.
        what: String,
    },
}

fn damaged(name: &'static str, what: impl Into<String>) -> TemplateError {
    TemplateError::Damaged { name, what: what.into() }
}

/// An open template, checked but for its memory's content, which is checked as it is copied.
#[derive(Debug)]
pub struct Template {
    /// What it says of itself.
    pub manifest: Manifest,
    /// When it was last restored or, before that, built.
    pub used: SystemTime,
    manifest_file: File,
    /// Its files.
    pub image: Image,
}

impl Template {
    pub(super) fn open(store: impl AsFd, entry: &Entry) -> Result<Self, TemplateError> {
        let directory = files::directory_in(store, &entry.name())?;
        let manifest_file = files::file_in(&directory, MANIFEST)?;
        let manifest = manifest(&manifest_file, entry)?;
        let state = files::file_in(&directory, STATE)?;
        let bytes = read(&state, MAX_STATE).map_err(|error| damaged(STATE, error.to_string()))?;
        let digest =
            identity::sha256_of(&mut bytes.as_slice()).map_err(|error| damaged(STATE, error.to_string()))?;
        if digest != manifest.state.sha256 || bytes.len() as u64 != manifest.state.size {
            return Err(damaged(STATE, "its digest differs"));
        }
        let memory = files::file_in(&directory, MEMORY)?;
        let size = memory.metadata().map_err(|error| damaged(MEMORY, error.to_string()))?.len();
        if size != manifest.memory.size {
            return Err(damaged(MEMORY, format!("it has {size} bytes of {}", manifest.memory.size)));
        }
        let changed = manifest_file.metadata().and_then(|data| data.modified());
        let used = changed.map_err(|error| damaged(MANIFEST, error.to_string()))?;
        Ok(Self { manifest, used, manifest_file, image: Image { memory, state } })
    }

    /// Notes that it is used. Failing to costs the template its place in the queue, nothing else.
    pub(super) fn touch(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        if let Err(error) = rustix::fs::futimens(
            &self.manifest_file,
            &Timestamps { last_access: now, last_modification: now },
        ) {
            tracing::debug!(%error, "use of a template was not noted");
        }
    }

    /// Digests the memory, which a start does not.
    ///
    /// # Errors
    /// [`TemplateError::Damaged`].
    pub fn check_memory(&self) -> Result<(), TemplateError> {
        let mut memory = self.image.memory.try_clone().map_err(|error| damaged(MEMORY, error.to_string()))?;
        let found = identity::sha256_of(&mut memory).map_err(|error| damaged(MEMORY, error.to_string()))?;
        let same = found == self.manifest.memory.sha256;
        if same { Ok(()) } else { Err(damaged(MEMORY, "its digest differs")) }
    }
}

fn manifest(file: &File, entry: &Entry) -> Result<Manifest, TemplateError> {
    let text = read(file, MAX_TEXT).map_err(|error| damaged(MANIFEST, error.to_string()))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| damaged(MANIFEST, error.to_string()))?;
    let its_own = manifest.format == identity::FORMAT
        && manifest.class() == entry.class
        && manifest.key == entry.key
        && identity::key(&manifest.identity) == entry.key;
    if !its_own {
        return Err(damaged(MANIFEST, "it is of another template"));
    }
    if !manifest.settings_are_whole() {
        return Err(damaged(MANIFEST, "the digest of its settings differs"));
    }
    Ok(manifest)
}

/// The whole of a file that is no longer than `limit`.
pub(super) fn read(mut file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other("it is too long"));
    }
    Ok(bytes)
}
