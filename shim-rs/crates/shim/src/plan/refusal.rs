// SPDX-License-Identifier: Apache-2.0
//! Why a container is not started. A refusal comes before anything was made: nothing has to be undone after one.
//!
//! Variants are by what the caller can do about it. Each message is complete: what was asked, why not, what instead.

use std::path::PathBuf;

/// Why [`crate::plan`] makes no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The spec contradicts itself or the OCI runtime specification. Nobody can run it: `INVALID_ARGUMENT`.
    #[error("invalid {field}: {problem}")]
    Invalid {
        /// The field of config.json, in its dotted form.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Sound, but without meaning for a container that has a kernel of its own: `FAILED_PRECONDITION`.
    #[error("{asked} is not supported by boxlite: {because}; {instead}")]
    Unsupported {
        /// What was asked for, in the words of the engine's user.
        asked: String,
        /// Why it cannot be had.
        because: &'static str,
        /// What to do about it.
        instead: &'static str,
    },
    /// A file the spec names is not there. The wording is the kernel's: engines look for it.
    #[error(
        "error mounting \"{source_path}\" at \"{destination}\": stat {source_path}: no such file or directory",
        source_path = .source_path.display(), destination = .destination.display()
    )]
    Absent {
        /// The path on the host.
        source_path: PathBuf,
        /// Where the container was to see it.
        destination: PathBuf,
    },
    /// More of something than the host has: `FAILED_PRECONDITION`.
    #[error("{asked} {unit} of {what} were asked for and the host has {available}; ask for less")]
    Exceeds {
        /// What there is too little of.
        what: &'static str,
        /// Unit of both numbers.
        unit: &'static str,
        /// What was asked for.
        asked: u64,
        /// What there is.
        available: u64,
    },
}

impl Refusal {
    /// Nobody can run it, in a machine or not.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Invalid { .. })
    }

    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), problem: problem.into() }
    }

    pub(crate) fn unsupported(
        asked: impl Into<String>,
        because: &'static str,
        instead: &'static str,
    ) -> Self {
        Self::Unsupported { asked: asked.into(), because, instead }
    }
}
