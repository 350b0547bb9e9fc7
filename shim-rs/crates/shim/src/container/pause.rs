// SPDX-License-Identifier: Apache-2.0
//! A machine that stands still: stopping it, letting it go on, and what it is told then.
//!
//! Whether its processors run is the machine's to say ([`boxlite_vmm::Machine::running`]); nothing is remembered of it
//! here. A guest that stands still is not asked anything: it could not answer, and what waits for it would fill the
//! channel. What can wait (signals, a terminal's size) is owed to its process and paid when the machine goes on, as the
//! kernel does under runc; what cannot is refused at once.

use std::sync::Arc;

use super::process::Process;
use super::{Container, lock};
use crate::error::{TaskError, chain};

/// The highest signal there is (SIGRTMAX).
const LAST_SIGNAL: u32 = 64;

impl Container {
    /// Stops the machine: nothing in it runs.
    ///
    /// # Errors
    /// Not running, or paused.
    pub async fn pause(self: &Arc<Self>) -> Result<(), TaskError> {
        const VERB: &str = "pause";
        self.init.state().running(VERB)?;
        if self.sandbox.is_paused() {
            return Err(TaskError::State { verb: VERB, state: "paused" });
        }
        self.measure_before_pause().await;
        self.sandbox.pause().await
    }

    /// Lets the machine go on, with the clock set, which stood still with it.
    ///
    /// # Errors
    /// Not paused.
    pub async fn resume(&self) -> Result<(), TaskError> {
        self.init.state().running("resume")?;
        self.sandbox.resume().await?;
        // It goes on, whatever becomes of its clock and of what it is owed.
        if let Err(error) = self.set_clock().await {
            tracing::warn!(id = self.id, error = chain(&error), "the clock was not set after a pause");
        }
        let execs: Vec<_> = lock(&self.execs).values().cloned().collect();
        for process in execs.iter().chain([&self.init]) {
            if let Err(error) = self.pay(process).await {
                let (id, exec, error) = (&self.id, &process.exec_id, chain(&error));
                tracing::warn!(id, exec, error, "what was asked for during a pause did not reach the guest");
            }
        }
        Ok(())
    }

    async fn set_clock(&self) -> Result<(), TaskError> {
        self.sandbox.guest().await?.set_clock().await
    }

    /// Keeps a signal for when the machine goes on.
    ///
    /// # Errors
    /// There is no such signal: nobody could tell later.
    pub(super) async fn owe_signal(
        &self,
        process: &Process,
        signal: u32,
        all: bool,
    ) -> Result<(), TaskError> {
        if !(1..=LAST_SIGNAL).contains(&signal) {
            return Err(TaskError::Invalid { what: format!("there is no signal {signal}") });
        }
        process.owe(|owed| {
            owed.signals.insert((signal, all));
        });
        self.pay_if_running(process).await
    }

    /// Keeps a terminal's size for when the machine goes on.
    pub(super) async fn owe_size(&self, process: &Process) -> Result<(), TaskError> {
        process.owe(|owed| owed.size = true);
        self.pay_if_running(process).await
    }

    /// A machine that went on while something was added to what it is owed may have been paid before.
    async fn pay_if_running(&self, process: &Process) -> Result<(), TaskError> {
        if self.sandbox.is_paused() { Ok(()) } else { self.pay(process).await }
    }

    async fn pay(&self, process: &Process) -> Result<(), TaskError> {
        let owed = process.take_owed();
        if !owed.size && owed.signals.is_empty() {
            return Ok(());
        }
        let (guest, exec) = (self.sandbox.guest().await?, process.exec_id.as_str());
        let sized = match process.size() {
            Some((rows, columns)) if owed.size => guest.resize(&self.id, exec, rows, columns).await,
            _ => Ok(()),
        };
        for (signal, all) in owed.signals {
            guest.signal(&self.id, exec, signal, all).await?;
        }
        sized
    }
}
