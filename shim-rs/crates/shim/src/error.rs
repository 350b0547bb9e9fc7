// SPDX-License-Identifier: Apache-2.0
//! What a task request can fail with, and the one table to ttrpc codes.
//!
//! Owns the variants, by what the caller can do about them, and [`to_status`]. Modules below return their own
//! errors, which become a source here; the chain is printed once, at the edge, which is [`to_status`].

use std::error::Error;

use boxlite_protocol::ttrpc;
use containerd_shim_protos::ttrpc::{Code, get_status};

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
    /// One step of building the task failed; everything before it was undone.
    #[error("{step} failed")]
    Launch {
        /// Which step, as a noun phrase.
        step: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The host did not give the shim's own program what it needs, or nobody hears its answer: no container is the worse
    /// for it. Look at the host, and ask again.
    #[error("{what} failed")]
    Host {
        /// What was tried, as a noun phrase.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The container's network could not be looked at or joined; what runs keeps the network it had.
    #[error("{what} failed")]
    Network {
        /// What was tried, as a noun phrase.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A template could not be chosen, made or removed; those there are, are as they were. Machines can boot without.
    #[error("{what} failed")]
    Template {
        /// What was tried, as a noun phrase.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nobody who speaks as our agent does is at the machine's end of the channel: end the machine.
    #[error("{what} failed")]
    Channel {
        /// What was tried, as a noun phrase.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What the engine named for a process's standard streams cannot be had: name something else, or make it so.
    #[error("{what} failed")]
    Stdio {
        /// What was tried, as a noun phrase.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
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
    /// Wraps the failure of one launch step.
    pub(crate) fn launch<E: Into<Box<dyn Error + Send + Sync>>>(
        step: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Launch { step, source: source.into() }
    }

    /// Wraps the failure of what the shim's own program needs of the host.
    pub(crate) fn host<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Host { what, source: source.into() }
    }

    /// Wraps the failure of a look at the container's network.
    pub(crate) fn network<E: Into<Box<dyn Error + Send + Sync>>>(
        what: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Network { what, source: source.into() }
    }

    /// Wraps the failure of a step with a template.
    pub(crate) fn template<E: Into<Box<dyn Error + Send + Sync>>>(
        what: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Template { what, source: source.into() }
    }

    /// Wraps the failure of meeting the guest's agent.
    pub(crate) fn channel<E: Into<Box<dyn Error + Send + Sync>>>(
        what: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Channel { what, source: source.into() }
    }

    /// Wraps the failure to open what a process's standard streams are to lead to.
    pub(crate) fn stdio<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Stdio { what, source: source.into() }
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
            // What runc's shim answers when the container could not be made.
            Self::Launch { .. } | Self::Stdio { .. } | Self::Network { .. } | Self::Template { .. } => {
                Code::UNKNOWN
            }
            // It did not end over the question; it may have before.
            Self::Machine { source: boxlite_vmm::VmmError::Ended(_), .. } => Code::UNAVAILABLE,
            Self::Machine { .. } | Self::Host { .. } => Code::INTERNAL,
            Self::Guest { code, .. } => *code,
            Self::MachineGone { .. } | Self::Channel { .. } => Code::UNAVAILABLE,
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
