// SPDX-License-Identifier: Apache-2.0
//! What a task request can fail with, and the one table to ttrpc codes.
//!
//! Owns the variants, by what the caller can do about them, and [`to_status`]. Modules below return their own
//! errors, which become a source here; the chain is printed once, at the edge, which is [`to_status`].

use std::error::Error;

use boxlite_protocol::ttrpc;
use containerd_shim_protos::ttrpc::{Code, get_status};

/// Why something could not be done.
type Source = Box<dyn Error + Send + Sync>;

/// Of what something that failed was a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Making the container; everything before it was undone.
    Launch,
    /// What the host gives the shim's own program, or somebody to hear its answer: no container is the worse for it. Look
    /// at the host, and ask again.
    Host,
    /// Looking at the container's network, or joining it; what runs keeps the network it had.
    Network,
    /// Choosing, making or removing a template; those there are, are as they were. Machines can boot without.
    Template,
    /// Meeting our agent at the machine's end of the channel: end the machine.
    Channel,
    /// What the engine named for a process's standard streams: name something else, or make it so.
    Stdio,
}

impl Part {
    fn code(self) -> Code {
        match self {
            // What runc's shim answers when the container could not be made.
            Self::Launch | Self::Network | Self::Template | Self::Stdio => Code::UNKNOWN,
            Self::Host => Code::INTERNAL,
            Self::Channel => Code::UNAVAILABLE,
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The spec, an option or a request field is wrong: change it.
    #[error("{what}")]
    Invalid {
        /// What is wrong and what to do.
        what: String,
    },
    /// The container asks for what a machine cannot give: change the command.
    #[error(transparent)]
    Refused(#[from] crate::plan::Refusal),
    /// No such task or process.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// "task" or "process".
        what: &'static str,
        /// Which.
        id: String,
    },
    /// The id is taken.
    #[error("{what} {id} exists already")]
    Exists {
        /// "task" or "process".
        what: &'static str,
        /// Which.
        id: String,
    },
    /// Not in this state.
    #[error("cannot {verb} a {state} process")]
    State {
        /// What was asked.
        verb: &'static str,
        /// What it is.
        state: &'static str,
    },
    /// As many as there may be: try again when there are fewer.
    #[error("a machine may have {limit} {what} open, and no more are free; {hint}")]
    Exhausted {
        /// What there are no more of, in the plural.
        what: &'static str,
        /// How many there may be.
        limit: usize,
        /// What to do.
        hint: &'static str,
    },
    /// Not built.
    #[error("{what} is not supported by boxlite")]
    Unsupported {
        /// What was asked.
        what: &'static str,
    },
    /// The configuration is wrong: mend the file.
    #[error("boxlite is not configured right")]
    Config(#[from] crate::config::ConfigError),
    /// Something that had to be done could not be: `part` is what the caller can do about it.
    #[error("{what} failed")]
    Failed {
        /// Of what it was a part.
        part: Part,
        /// What was tried, as a noun phrase.
        what: &'static str,
        /// Why.
        #[source]
        source: Source,
    },
    /// The machine did not do as it was told, and is as it was: ask again, or end it.
    #[error("{what} failed")]
    Machine {
        /// What was asked, as a noun phrase.
        what: &'static str,
        /// Why.
        #[source]
        source: boxlite_vmm::VmmError,
    },
    /// The guest answered with an error of its own: what runc would say of the same program.
    #[error("{message}")]
    Guest {
        /// The guest's code, passed on when it is one a guest may choose.
        code: Code,
        /// Already free of control characters.
        message: String,
    },
    /// The machine ended or does not answer.
    #[error("the machine is gone: {why}{console}", console = quoted(.console))]
    MachineGone {
        /// What was seen.
        why: String,
        /// The guest's last words; may be empty.
        console: String,
    },
}

fn quoted(console: &str) -> String {
    if console.is_empty() { String::new() } else { format!("; the guest's console ends with: {console}") }
}

impl TaskError {
    fn failed<E: Into<Source>>(part: Part, what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Failed { part, what, source: source.into() }
    }

    /// Wraps the failure of a part of [`Part::Launch`].
    pub(crate) fn launch<E: Into<Source>>(what: &'static str) -> impl FnOnce(E) -> Self {
        Self::failed(Part::Launch, what)
    }

    /// Wraps the failure of a part of [`Part::Host`].
    pub(crate) fn host<E: Into<Source>>(what: &'static str) -> impl FnOnce(E) -> Self {
        Self::failed(Part::Host, what)
    }

    /// Wraps the failure of a part of [`Part::Network`].
    pub(crate) fn network<E: Into<Source>>(what: &'static str) -> impl FnOnce(E) -> Self {
        Self::failed(Part::Network, what)
    }

    /// Wraps the failure of a part of [`Part::Template`].
    pub(crate) fn template<E: Into<Source>>(what: &'static str) -> impl FnOnce(E) -> Self {
        Self::failed(Part::Template, what)
    }

    /// Wraps the failure of a part of [`Part::Channel`].
    pub(crate) fn channel<E: Into<Source>>(what: &'static str) -> impl FnOnce(E) -> Self {
        Self::failed(Part::Channel, what)
    }

    /// Wraps the failure of a part of [`Part::Stdio`].
    pub(crate) fn stdio<E: Into<Source>>(what: &'static str) -> impl FnOnce(E) -> Self {
        Self::failed(Part::Stdio, what)
    }

    /// Wraps what a machine that is there has not done.
    pub(crate) fn machine(what: &'static str) -> impl FnOnce(boxlite_vmm::VmmError) -> Self {
        move |source| Self::Machine { what, source }
    }

    /// A task that is not there.
    pub(crate) fn no_task(id: &str) -> Self {
        Self::NotFound { what: "task", id: id.to_owned() }
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::INVALID_ARGUMENT,
            Self::Refused(refusal) if refusal.is_invalid() => Code::INVALID_ARGUMENT,
            Self::Refused(_) | Self::State { .. } | Self::Config(_) => Code::FAILED_PRECONDITION,
            Self::NotFound { .. } => Code::NOT_FOUND,
            Self::Exists { .. } => Code::ALREADY_EXISTS,
            Self::Exhausted { .. } => Code::RESOURCE_EXHAUSTED,
            Self::Unsupported { .. } => Code::UNIMPLEMENTED,
            Self::Failed { part, .. } => part.code(),
            // It did not end over the question; it may have before.
            Self::Machine { source: boxlite_vmm::VmmError::Ended(_), .. } => Code::UNAVAILABLE,
            Self::Machine { .. } => Code::INTERNAL,
            Self::Guest { code, .. } => *code,
            Self::MachineGone { .. } => Code::UNAVAILABLE,
        }
    }
}

/// The whole chain on one line, outermost first.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A transparent wrapper repeats its source; say each thing once.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The edge: what goes back to containerd.
#[must_use]
pub fn to_status(error: &TaskError) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(get_status(error.code(), chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(error: &TaskError) -> Code {
        match to_status(error) {
            ttrpc::Error::RpcStatus(status) => status.code(),
            other => panic!("not a status: {other}"),
        }
    }

    #[test]
    fn each_variant_has_its_code() {
        let io = || std::io::Error::other("disk on fire");
        let refused = boxlite_vmm::VmmError::Monitor { command: "cont", reason: "not today".into() };
        let table = [
            (TaskError::Invalid { what: "x".into() }, Code::INVALID_ARGUMENT),
            (TaskError::no_task("x"), Code::NOT_FOUND),
            (TaskError::Exists { what: "task", id: "x".into() }, Code::ALREADY_EXISTS),
            (TaskError::State { verb: "start", state: "stopped" }, Code::FAILED_PRECONDITION),
            (TaskError::Exhausted { what: "streams", limit: 3, hint: "x" }, Code::RESOURCE_EXHAUSTED),
            (TaskError::Unsupported { what: "checkpoint" }, Code::UNIMPLEMENTED),
            (TaskError::launch("the share")(io()), Code::UNKNOWN),
            (TaskError::host("starting the runtime")(io()), Code::INTERNAL),
            (TaskError::network("watching the network")(io()), Code::UNKNOWN),
            (TaskError::template("choosing a template")(io()), Code::UNKNOWN),
            (TaskError::channel("greeting the guest's agent")(io()), Code::UNAVAILABLE),
            (TaskError::stdio("opening a FIFO")(io()), Code::UNKNOWN),
            (TaskError::machine("resuming the machine")(refused), Code::INTERNAL),
            (TaskError::Guest { code: Code::NOT_FOUND, message: "x".into() }, Code::NOT_FOUND),
            (TaskError::MachineGone { why: "x".into(), console: String::new() }, Code::UNAVAILABLE),
        ];
        for (error, code) in table {
            assert_eq!(code_of(&error), code, "{error}");
        }
    }

    #[test]
    fn chain_is_printed_once_from_outside_in() {
        let error = TaskError::launch("the share")(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "the share failed: disk on fire");
    }

    #[test]
    fn a_machine_that_died_quotes_its_console() {
        let error = TaskError::MachineGone { why: "QEMU exited".into(), console: "Kernel panic".into() };
        assert_eq!(
            error.to_string(),
            "the machine is gone: QEMU exited; the guest's console ends with: Kernel panic"
        );
    }
}
