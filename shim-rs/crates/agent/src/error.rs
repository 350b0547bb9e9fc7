// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, by what the caller can do about it, and the ttrpc status of each.
//!
//! Owns the wording of system errors: lower case and bare, as Go prints them, because engines look for these words.

use std::io;

use boxlite_protocol::ttrpc::{self, Code, get_status};
use rustix::io::Errno;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("no container {0:?} in this machine")]
    UnknownContainer(String),
    #[error("no process {exec:?} in container {container:?}")]
    UnknownProcess { container: String, exec: String },
    #[error("{0:?} exists already")]
    Exists(String),
    #[error("container {0:?} is not running")]
    NotRunning(String),
    #[error("container {0:?} is paused")]
    Paused(String),
    #[error("process has finished")]
    Finished,
    #[error("the host opened no {0} stream")]
    NoStream(&'static str),
    #[error("plan refused: {0}")]
    Plan(&'static str),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Whose fault a [`Fault`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Blame {
    /// The guest's kernel said no.
    System = 0,
    /// The container's program: not there, not executable.
    Program = 1,
}

/// A step that failed, in words: what was tried and what the kernel answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    pub(crate) blame: Blame,
    pub(crate) message: String,
}

impl Fault {
    /// `what` failed with `error`.
    pub(crate) fn system(what: &str, error: impl Into<io::Error>) -> Self {
        Self { blame: Blame::System, message: format!("{what}: {}", words(&error.into())) }
    }

    /// The program's own fault, already in the engine's words.
    pub(crate) fn program(message: String) -> Self {
        Self { blame: Blame::Program, message }
    }

    /// Something the plan asks for and the container's files make impossible.
    pub(crate) fn refused(message: String) -> Self {
        Self { blame: Blame::System, message }
    }
}

/// Says what was tried when it failed.
pub(crate) trait Trying<T> {
    /// Names the step; built only on failure.
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| Fault::system(&what(), error))
    }
}

/// A system error in Go's words: "no such file or directory".
pub(crate) fn words(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.find(" (os error") {
        text.truncate(end);
    }
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

/// [`words`] of an error number.
pub(crate) fn errno_words(errno: Errno) -> String {
    words(&errno.into())
}

impl From<AgentError> for ttrpc::Error {
    fn from(error: AgentError) -> Self {
        let code = match &error {
            AgentError::UnknownContainer(_) | AgentError::UnknownProcess { .. } | AgentError::Finished => {
                Code::NOT_FOUND
            }
            AgentError::Exists(_) => Code::ALREADY_EXISTS,
            AgentError::NotRunning(_) | AgentError::Paused(_) | AgentError::NoStream(_) => {
                Code::FAILED_PRECONDITION
            }
            AgentError::Plan(_) | AgentError::Fault(Fault { blame: Blame::Program, .. }) => {
                Code::INVALID_ARGUMENT
            }
            AgentError::Fault(Fault { blame: Blame::System, .. }) => Code::INTERNAL,
        };
        Self::RpcStatus(get_status(code, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: AgentError) -> Code {
        match ttrpc::Error::from(error) {
            ttrpc::Error::RpcStatus(status) => status.code(),
            other => panic!("not a status: {other:?}"),
        }
    }

    #[test]
    fn every_error_has_its_code() {
        let id = || "c".to_owned();
        assert_eq!(code(AgentError::UnknownContainer(id())), Code::NOT_FOUND);
        assert_eq!(code(AgentError::UnknownProcess { container: id(), exec: id() }), Code::NOT_FOUND);
        assert_eq!(code(AgentError::Finished), Code::NOT_FOUND);
        assert_eq!(code(AgentError::Exists(id())), Code::ALREADY_EXISTS);
        assert_eq!(code(AgentError::NotRunning(id())), Code::FAILED_PRECONDITION);
        assert_eq!(code(AgentError::Paused(id())), Code::FAILED_PRECONDITION);
        assert_eq!(code(AgentError::NoStream("stdin")), Code::FAILED_PRECONDITION);
        assert_eq!(code(AgentError::Plan("x")), Code::INVALID_ARGUMENT);
        assert_eq!(code(Fault::program(id()).into()), Code::INVALID_ARGUMENT);
        assert_eq!(code(Fault::system("x", Errno::IO).into()), Code::INTERNAL);
    }

    #[test]
    fn system_errors_read_as_go_prints_them() {
        for (errno, text) in [
            (Errno::NOENT, "no such file or directory"),
            (Errno::ACCESS, "permission denied"),
            (Errno::ISDIR, "is a directory"),
            (Errno::NOTDIR, "not a directory"),
            (Errno::NOEXEC, "exec format error"),
            (Errno::PERM, "operation not permitted"),
        ] {
            assert_eq!(errno_words(errno), text);
        }
    }
}
