// SPDX-License-Identifier: Apache-2.0
//! What somebody on the host does to the task's pid is done to the container: signals reach its first process, and its
//! end is the container's.

use std::sync::Arc;

use super::Task;
use super::state::ProcessState;
use super::verbs::SIGKILL;
use crate::error::chain;

/// Follows the double until the task ends.
pub(super) fn follow(task: &Arc<Task>) {
    let task = task.clone();
    tokio::spawn(async move {
        while let Some(signal) = task.double.next_signal().await {
            pass_on(&task, signal).await;
        }
        if task.is_ending() {
            return;
        }
        tracing::info!(id = task.id, "the double was killed, and the container is");
        if let Err(error) = task.kill("", SIGKILL, true).await {
            // It has ended meanwhile.
            tracing::debug!(id = task.id, error = chain(&error), "not killed");
        }
    });
}

/// A process that does not run yet ignores what it gets, as a container's first process does.
async fn pass_on(task: &Arc<Task>, signal: u32) {
    if task.init.state() != ProcessState::Running {
        return;
    }
    tracing::debug!(id = task.id, signal, "signal on the host");
    if let Err(error) = task.kill("", signal, false).await {
        tracing::warn!(id = task.id, signal, error = chain(&error), "a signal to the pid did not arrive");
    }
}
