// SPDX-License-Identifier: Apache-2.0
//! Why a share could not be filled or served.

use std::io;
use std::path::PathBuf;

use boxlite_vmm::VmmError;

/// A failure of this room. Nothing is left behind by any of them.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// A source is missing or cannot be opened: the request is wrong.
    #[error("cannot share {}", path.display())]
    Source {
        /// The source on the host.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a mount the engine asked for.
    #[error("cannot mount a file system of type {fstype:?} for {name}")]
    Mount {
        /// Type, as the engine named it.
        fstype: String,
        /// What it was for.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A mount option of the engine has no meaning here.
    #[error("mount option {option:?} is not supported: {reason}")]
    Option {
        /// The option.
        option: String,
        /// Why not.
        reason: &'static str,
    },
    /// A name in the share is not a plain relative path, or is taken.
    #[error("{name:?} cannot be a name in the share: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A mount of the container has no place, or cannot be put there.
    #[error("cannot put a mount at {destination:?} in the container")]
    Place {
        /// Where, in the container.
        destination: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The host failed at something that should work.
    #[error("cannot {action}")]
    Host {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The daemon that serves the share did not start.
    #[error("cannot serve the share")]
    Server(#[source] VmmError),
}

impl ShareError {
    /// Wraps what the kernel said while `action` was tried.
    pub(super) fn host<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Host { action, source: source.into() }
    }
}
