// SPDX-License-Identifier: Apache-2.0
//! A machine that stands still: stopping it, and letting it go on.
//!
//! Whether its processors run is the machine's to say ([`boxlite_vmm::Machine::running`]); nothing is remembered of it
//! here. What is said of a guest that stands still is what it said last: it is not asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Task;
use crate::error::{TaskError, chain};

/// Held by who pauses or resumes: one at a time.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(pausing: &'a AtomicBool, verb: &'static str) -> Result<Self, TaskError> {
        if pausing.swap(true, Ordering::SeqCst) {
            return Err(TaskError::State { verb, state: "pausing or resuming" });
        }
        Ok(Self(pausing))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Task {
    /// Whether the machine stands still.
    pub(super) fn is_paused(&self) -> bool {
        !*self.machine.running().borrow()
    }

    /// Resolves when the machine stands still.
    pub(super) async fn stands_still(&self) {
        // An error is a machine that has ended: that is told elsewhere.
        if self.machine.running().wait_for(|running| !running).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops the machine: nothing in it runs.
    ///
    /// # Errors
    /// Not running, or paused.
    pub async fn pause(self: &Arc<Self>) -> Result<(), TaskError> {
        const VERB: &str = "pause";
        self.init.state().running(VERB)?;
        let _turn = Turn::take(&self.pausing, VERB)?;
        if self.is_paused() {
            return Err(TaskError::State { verb: VERB, state: "paused" });
        }
        self.measure_before_pause().await;
        match self.machine.pause().await {
            Err(error) if !self.is_paused() => Err(TaskError::launch("pausing the machine")(error)),
            _ => Ok(()),
        }
    }

    /// Lets the machine go on, with the clock set, which stood still with it.
    ///
    /// # Errors
    /// Not paused.
    pub async fn resume(&self) -> Result<(), TaskError> {
        const VERB: &str = "resume";
        let state = self.init.state();
        state.running(VERB)?;
        let turn = Turn::take(&self.pausing, VERB)?;
        if !self.is_paused() {
            return Err(TaskError::State { verb: VERB, state: state.name() });
        }
        match self.machine.resume().await {
            Err(error) if self.is_paused() => return Err(TaskError::launch("resuming the machine")(error)),
            _ => {}
        }
        drop(turn);
        // It goes on, whatever becomes of its clock.
        if let Err(error) = self.set_clock().await {
            tracing::warn!(id = self.id, error = chain(&error), "the clock was not set after a pause");
        }
        Ok(())
    }

    async fn set_clock(&self) -> Result<(), TaskError> {
        self.guest().await?.set_clock().await
    }
}
