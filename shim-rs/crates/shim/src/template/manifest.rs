// SPDX-License-Identifier: Apache-2.0
//! What a template says of itself, beside its files.

use serde::{Deserialize, Serialize};

use super::class::Class;
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
}
