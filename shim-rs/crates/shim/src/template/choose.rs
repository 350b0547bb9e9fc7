// SPDX-License-Identifier: Apache-2.0
//! Whether a machine starts from a template, and which.
//!
//! Costs a start about a millisecond: a few `stat`s, two small files and one digest. Never an error unless a template
//! is required: what cannot be used is said in one warning, and the machine boots.

use std::path::{Path, PathBuf};

use boxlite_vmm::{MachineConfig, Start};

use super::class::Class;
use super::files::FileError;
use super::identity::{self, Digests};
use super::saved::TemplateError;
use super::store::{Entry, Store};
use crate::config::{TemplateMode, TemplateSection};
use crate::settings::Setting;

/// Why a machine that must come from a template cannot.
#[derive(Debug, thiserror::Error)]
#[error("a template is required and {why}; `boxlite template build` makes one")]
pub struct Required {
    /// What was found instead of one.
    why: String,
}

/// How a machine is to start.
#[derive(Debug)]
pub struct Choice {
    /// The template it starts from; `None` boots it.
    pub template: Option<Entry>,
    /// What its guest was given of the host's settings.
    pub settings: Vec<Setting>,
    /// What the administrator should know: a template is there and cannot be used.
    pub warning: Option<String>,
}

impl Choice {
    /// Without one, and nothing to say of it.
    pub(crate) fn boot() -> Self {
        Self { template: None, settings: Vec::new(), warning: None }
    }
}

/// Chooses for `machine`, and changes how it starts and, to the template's, its size.
///
/// # Errors
/// [`Required`], when the mode says so and there is none.
pub(crate) fn choose(
    section: &TemplateSection,
    virtiofsd: &Path,
    machine: &mut MachineConfig,
) -> Result<Choice, Required> {
    if section.mode == TemplateMode::Off {
        return Ok(Choice::boot());
    }
    let found = find(&section.directory, virtiofsd, machine);
    match found {
        Ok((entry, settings)) => Ok(Choice { template: Some(entry), settings, warning: None }),
        Err(missing) if section.mode == TemplateMode::Required => Err(Required { why: missing.to_string() }),
        // Nobody has built any: nothing to say.
        Err(Missing::Nothing { .. }) => Ok(Choice::boot()),
        Err(missing) => Ok(Choice { warning: Some(missing.to_string()), ..Choice::boot() }),
    }
}

/// Why there is no template to use.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("there is none for a machine of {size} in {}", directory.display())]
    Nothing { size: Class, directory: PathBuf },
    #[error("the directory of templates is not usable: {0}")]
    Directory(#[source] FileError),
    #[error("{0} has changed since templates were built: build them again")]
    Changed(PathBuf),
    #[error("the ones for a machine of {0} are stale: build them again")]
    Stale(Class),
    #[error("template {name} is not usable: {why}")]
    Unusable { name: String, why: String },
    #[error("the host cannot be examined: {0}")]
    Host(#[from] std::io::Error),
}

fn find(
    path: &Path,
    virtiofsd: &Path,
    machine: &mut MachineConfig,
) -> Result<(Entry, Vec<Setting>), Missing> {
    let size = Class { vcpus: machine.vcpus, memory_mib: machine.memory_mib };
    let nothing = || Missing::Nothing { size, directory: path.to_owned() };
    let store = Store::open(path).map_err(|error| match error {
        FileError::Absent { .. } => nothing(),
        other => Missing::Directory(other),
    })?;
    let mut entries = store.entries()?;
    entries.retain(|entry| entry.class.fits(size));
    if entries.is_empty() {
        return Err(nothing());
    }
    let digests = store.digests().unwrap_or_default();
    let host = identity::host()?;
    let mut missing = Missing::Stale(size);
    for entry in entries {
        (machine.vcpus, machine.memory_mib) = (entry.class.vcpus, entry.class.memory_mib);
        let fitting = fresh(&entry, virtiofsd, machine, &digests, &host);
        let opened = fitting.and_then(|fresh| match fresh {
            true => store.template(&entry).map(Some).map_err(|error| unusable(&entry, &error)),
            false => Ok(None),
        });
        match opened {
            Ok(Some(template)) => {
                template.touch();
                machine.start = Start::Restore(template.image);
                return Ok((entry, template.manifest.settings));
            }
            Ok(None) => {}
            Err(error) => missing = error,
        }
    }
    (machine.vcpus, machine.memory_mib) = (size.vcpus, size.memory_mib);
    Err(missing)
}

/// Whether a template's key is that of a machine built now.
fn fresh(
    entry: &Entry,
    virtiofsd: &Path,
    machine: &MachineConfig,
    digests: &Digests,
    host: &str,
) -> Result<bool, Missing> {
    let identity = identity::identity(machine, virtiofsd, digests, host).map_err(Missing::Changed)?;
    Ok(identity::key(&identity) == entry.key)
}

fn unusable(entry: &Entry, error: &TemplateError) -> Missing {
    Missing::Unusable { name: entry.name(), why: crate::error::chain(error) }
}

#[cfg(test)]
#[path = "choose/tests.rs"]
mod tests;
