// SPDX-License-Identifier: Apache-2.0
//! What a template says of itself, beside its files.

use std::io;

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::identity;
use crate::settings::Setting;

/// `manifest.json`. A field that is missing or unknown makes the template unusable: it is another format's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of the files and of this.
    pub format: u32,
    /// Virtual processors.
    pub vcpus: u32,
    /// MiB.
    pub memory_mib: u32,
    /// SHA-256 of the identity.
    pub key: String,
    /// What it was made from and for, one a line.
    pub identity: String,
    /// What its guest was given of the host's settings. Not part of the key: what has changed since is sent to each clone.
    pub settings: Vec<Setting>,
    /// Of the settings: nobody would notice else if one had changed on disk.
    pub settings_sha256: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The packed memory.
    pub memory: Part,
    /// QEMU's stream.
    pub state: Part,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Bytes.
    pub size: u64,
    /// Of all of them.
    pub sha256: String,
}

impl Manifest {
    /// The machine's size.
    #[must_use]
    pub fn class(&self) -> Class {
        Class { vcpus: self.vcpus, memory_mib: self.memory_mib }
    }

    /// Whether the settings are those that were written.
    #[must_use]
    pub fn settings_are_whole(&self) -> bool {
        digest(&self.settings).is_ok_and(|digest| digest == self.settings_sha256)
    }
}

/// SHA-256 of settings, as the manifest has it.
pub(super) fn digest(settings: &[Setting]) -> io::Result<String> {
    identity::sha256_of(&mut serde_json::to_vec(settings)?.as_slice())
}
