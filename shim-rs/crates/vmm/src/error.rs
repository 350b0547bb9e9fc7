// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, sorted by what the caller can do about it.

use std::{io, path::PathBuf};

use crate::{machine::MachineExit, template::MemoryError};

/// A failure of this crate. No variant repeats its source: print the chain once, at the edge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// A program this runtime needs is not installed, or not where the configuration says.
    #[error("{} is missing", path.display())]
    ProgramMissing {
        /// The path that was tried.
        path: PathBuf,
        /// Why it could not be started.
        #[source]
        source: io::Error,
    },
    /// The program is there and could not be started: out of processes, memory or permission.
    #[error("cannot start {}", path.display())]
    Spawn {
        /// The path that was tried.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Something on the host that a launch needs could not be made. Nothing was started.
    #[error("cannot {action}")]
    Host {
        /// What was tried, as an infinitive ("open the console log").
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// QEMU is older than this runtime can drive. Found at the first contact with its monitor; `boxlite
    /// install` refuses such a QEMU before that.
    #[error("QEMU {found} is too old, {minimum} is the minimum")]
    TooOld {
        /// Version the monitor announced.
        found: String,
        /// Oldest version that will do.
        minimum: &'static str,
    },
    /// The machine lives, and its monitor refused or failed a command. The machine is as it was.
    #[error("the machine's monitor failed at {command}: {reason}")]
    Monitor {
        /// QMP command.
        command: &'static str,
        /// QEMU's own words, or ours when it did not answer.
        reason: String,
    },
    /// A saved machine cannot be used: save another. No instruction of it was executed.
    #[error("the saved machine is not usable")]
    SavedMemory(#[source] MemoryError),
    /// The machine has ended; what it last said is in the exit.
    #[error("the machine has ended: {0}")]
    Ended(MachineExit),
}
