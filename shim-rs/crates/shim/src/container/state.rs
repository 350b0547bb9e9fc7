// SPDX-License-Identifier: Apache-2.0
//! The life of one process as containerd sees it, pure.
//!
//! ```text
//!            start            started
//!  Created ────────▶ Starting ────────▶ Running ──┐ ended
//!     │                  │ failed                 ▼
//!     └──── killed ──────┴──────────────────▶ Stopped
//! ```
//! A failed start of an exec stays `Stopped`; a failed first process stops the task, as with runc. Pausing is the
//! machine's, not the process's: see [`super::Task`].

use std::time::SystemTime;

use crate::error::TaskError;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// 0-255; 128 + signal for one that was killed.
    pub status: u32,
    /// By the host's clock.
    pub at: SystemTime,
}

impl Exit {
    /// Ended just now.
    #[must_use]
    pub fn now(status: u32) -> Self {
        Self { status, at: SystemTime::now() }
    }
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// Known, not started.
    Created,
    /// Being started; a second start is refused.
    Starting,
    /// Executing.
    Running,
    /// Ended.
    Stopped(Exit),
}

impl ProcessState {
    /// The word in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopped(_) => "stopped",
        }
    }

    fn refuse<T>(self, verb: &'static str) -> Result<T, TaskError> {
        Err(TaskError::State { verb, state: self.name() })
    }

    /// Start was asked for.
    ///
    /// # Errors
    /// Anything but a created process.
    pub fn start(&mut self) -> Result<(), TaskError> {
        match self {
            Self::Created => {
                *self = Self::Starting;
                Ok(())
            }
            other => other.refuse("start"),
        }
    }

    /// The guest executes it. A process that was stopped meanwhile stays so; true if it runs.
    pub fn started(&mut self) -> bool {
        if *self == Self::Starting {
            *self = Self::Running;
        }
        *self == Self::Running
    }

    /// It ended. The first word counts; true if this was it.
    pub fn stop(&mut self, exit: Exit) -> bool {
        if matches!(self, Self::Stopped(_)) {
            return false;
        }
        *self = Self::Stopped(exit);
        true
    }

    /// Only what runs can be signalled, resized, joined.
    ///
    /// # Errors
    /// Not running.
    pub fn running(self, verb: &'static str) -> Result<(), TaskError> {
        match self {
            Self::Running => Ok(()),
            other => other.refuse(verb),
        }
    }

    /// Only what has ended, or never began, can be deleted.
    ///
    /// # Errors
    /// Still alive.
    pub fn deletable(self) -> Result<Option<Exit>, TaskError> {
        match self {
            Self::Stopped(exit) => Ok(Some(exit)),
            Self::Created => Ok(None),
            other => other.refuse("delete"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ordinary_life() {
        let mut state = ProcessState::Created;
        state.start().unwrap();
        state.started();
        assert!(state.running("signal").is_ok());
        assert!(state.stop(Exit::now(3)));
        assert_eq!(state.deletable().unwrap().unwrap().status, 3);
    }

    #[test]
    fn a_second_start_is_refused() {
        let mut state = ProcessState::Created;
        state.start().unwrap();
        assert!(matches!(state.start(), Err(TaskError::State { verb: "start", state: "starting" })));
    }

    #[test]
    fn the_first_exit_counts() {
        let mut state = ProcessState::Running;
        assert!(state.stop(Exit::now(1)));
        assert!(!state.stop(Exit::now(2)));
        assert_eq!(state.deletable().unwrap().unwrap().status, 1);
    }

    #[test]
    fn a_process_killed_while_it_starts_does_not_come_back() {
        let mut state = ProcessState::Created;
        state.start().unwrap();
        state.stop(Exit::now(137));
        state.started();
        assert!(matches!(state, ProcessState::Stopped(_)));
    }

    #[test]
    fn a_running_process_cannot_be_deleted() {
        assert!(ProcessState::Running.deletable().is_err());
    }
}
