// SPDX-License-Identifier: Apache-2.0
//! Templates: machines that were booted once and saved, for others to start from.
//!
//! | file | what it owns |
//! |---|---|
//! | [`class`] | the sizes they come in, and which fits |
//! | [`identity`] | what one depends on, and the key that names it |
//! | [`files`] | opening nothing that somebody else may have written |
//! | [`store`], [`saved`], [`manifest`] | the directory, one template in it, what that says of itself |
//! | [`choose`] | at a start: which, if any |
//! | [`build`] | making one, and proving it |
//!
//! Saving and restoring themselves are [`boxlite_vmm::template`]'s. A start never builds, waits for a build, or fails
//! for want of a template unless one is required. What a clone must be told before anything else (clock, random
//! numbers, names) is in the first call to its agent ([`crate::guest`]), as for a machine that has booted.

mod build;
mod choose;
mod class;
mod files;
mod identity;
mod manifest;
mod saved;
mod store;

use std::path::Path;

use boxlite_vmm::MachineConfig;

pub use self::build::{Built, Phase, build, try_out};
pub(crate) use self::choose::choose;
pub use self::choose::{Choice, Required};
pub use self::class::{Class, NoClass};
pub use self::files::FileError;
pub use self::manifest::{Manifest, Part};
pub use self::saved::{Template, TemplateError};
pub use self::store::{Entry, Store};
use crate::config::Config;
use crate::error::TaskError;
use crate::machine::{self, Parts};

/// Whether a machine started now could start from this template.
///
/// # Errors
/// The host cannot be examined.
pub fn is_fresh(config: &Config, store: &Store, entry: &Entry) -> Result<bool, TaskError> {
    let machine = outline(config, entry.class)?;
    let host = identity::host().map_err(TaskError::template("reading the host's processor"))?;
    let digests = store.digests().unwrap_or_default();
    let identity = identity::identity(&machine, &config.paths.virtiofsd, &digests, &host);
    Ok(identity.is_ok_and(|identity| identity::key(&identity) == entry.key))
}

/// Takes templates away. Running machines keep what they have.
///
/// # Errors
/// The directory cannot be locked or changed.
pub fn remove(store: &Store, entries: &[Entry]) -> std::io::Result<()> {
    let lock = store.lock(|| {})?;
    entries.iter().try_for_each(|entry| store.remove(entry, &lock))
}

/// A machine of this size to look at, not to launch.
fn outline(config: &Config, class: Class) -> Result<MachineConfig, TaskError> {
    let parts = Parts::none(config.machine.nics).map_err(TaskError::template("opening /dev/null"))?;
    Ok(machine::configure(config, "", class.whole(), Path::new("/"), parts))
}
