// SPDX-License-Identifier: Apache-2.0
//! One process of a task: the container's first, or an exec.
//!
//! Owns its state, its stdio and the news of its end. Does not talk to the guest: [`super::Task`] does, and tells it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boxlite_protocol::plan;
use tokio::sync::watch;

use super::state::{Exit, ProcessState};
use crate::error::TaskError;
use crate::stdio::{Stdio, StdioPaths, Written};

/// How long the output of a process that ended may take, from the guest and to those who read it.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// How long a reader may take for what is left when the process is deleted; containerd gives up at 10 s.
const READ: Duration = Duration::from_secs(5);

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    /// Empty: the container's first.
    pub(super) exec_id: String,
    pub(super) paths: StdioPaths,
    /// An exec's process; the first process's is in the launch plan.
    plan: Mutex<Option<plan::Process>>,
    state: Mutex<ProcessState>,
    exit: watch::Sender<Option<Exit>>,
    stdio: tokio::sync::Mutex<Stdio>,
    /// CloseIO that came before the process was started.
    stdin_closed: watch::Sender<bool>,
    /// Rows and columns that were asked for last.
    size: Mutex<Option<(u32, u32)>>,
    owed: Mutex<Owed>,
}

/// What was asked for while the machine stood still.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The terminal's size has changed.
    pub(super) size: bool,
    /// Signals with whether they are for all of the container. As with a kernel's, one that is pending already is not
    /// pending twice.
    pub(super) signals: BTreeSet<(u32, bool)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the process (panic = abort), so a poisoned lock is only met in tests.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    pub(super) fn new(exec_id: String, paths: StdioPaths, plan: Option<plan::Process>) -> Self {
        Self {
            exec_id,
            paths,
            plan: Mutex::new(plan),
            state: Mutex::new(ProcessState::Created),
            exit: watch::Sender::new(None),
            stdio: tokio::sync::Mutex::default(),
            stdin_closed: watch::Sender::new(false),
            size: Mutex::new(None),
            owed: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> ProcessState {
        *lock(&self.state)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut ProcessState) -> T) -> T {
        change(&mut lock(&self.state))
    }

    /// Takes an exec's plan, with the terminal size that was asked for meanwhile.
    pub(super) fn take_plan(&self) -> Option<plan::Process> {
        let mut plan = lock(&self.plan).take()?;
        if let Some((rows, columns)) = *lock(&self.size) {
            plan.rows = rows;
            plan.columns = columns;
        }
        Some(plan)
    }

    /// The size that was asked for last.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        *lock(&self.size)
    }

    pub(super) fn remember_size(&self, rows: u32, columns: u32) {
        *lock(&self.size) = Some((rows, columns));
    }

    pub(super) fn owe(&self, more: impl FnOnce(&mut Owed)) {
        more(&mut lock(&self.owed));
    }

    pub(super) fn take_owed(&self) -> Owed {
        std::mem::take(&mut *lock(&self.owed))
    }

    /// Takes the running pumps. A CloseIO that came first takes effect now.
    pub(super) async fn attach(&self, stdio: Stdio) {
        let mut slot = self.stdio.lock().await;
        *slot = stdio;
        if *self.stdin_closed.borrow() {
            slot.close_stdin();
        }
    }

    pub(super) async fn close_stdin(&self) {
        self.stdin_closed.send_replace(true);
        self.stdio.lock().await.close_stdin();
    }

    /// What was written is on this side.
    pub(super) async fn drained(&self, written: Written) {
        self.stdio.lock().await.drained(written, DRAIN).await;
    }

    /// The readers have it, or had their time.
    pub(super) async fn finished(&self) {
        self.stdio.lock().await.finished(READ).await;
    }

    /// Records the end; the first time, says where in its life the process was.
    pub(super) fn stop(&self, exit: Exit) -> Option<ProcessState> {
        let before = self.change(|state| {
            let before = *state;
            state.stop(exit).then_some(before)
        });
        if before.is_some() {
            self.exit.send_replace(Some(exit));
        }
        before
    }

    /// Waits for the end.
    pub(super) async fn exited(&self) -> Result<Exit, TaskError> {
        let mut exit = self.exit.subscribe();
        // The sender lives in `self`, which the caller holds.
        let seen = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        seen.ok_or_else(|| TaskError::NotFound { what: "process", id: self.exec_id.clone() })
    }
}
