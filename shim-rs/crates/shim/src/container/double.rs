// SPDX-License-Identifier: Apache-2.0
//! What somebody on the host does to the task's pid is done to the container: signals reach its first process, and its
//! end is the container's.

use std::sync::Arc;

use super::Container;
use super::state::ProcessState;
use super::verbs::SIGKILL;
use crate::error::chain;

/// Follows the double until the task ends.
pub(super) fn follow(container: &Arc<Container>) {
    let container = container.clone();
    tokio::spawn(async move {
        while let Some(signal) = container.double.next_signal().await {
            pass_on(&container, signal).await;
        }
        if container.is_ending() {
            return;
        }
        tracing::info!(id = container.id, "the double was killed, and the container is");
        if let Err(error) = container.kill("", SIGKILL, true).await {
            // It has ended meanwhile.
            tracing::debug!(id = container.id, error = chain(&error), "not killed");
        }
    });
}

/// A process that does not run yet ignores what it gets, as a container's first process does.
async fn pass_on(container: &Arc<Container>, signal: u32) {
    if container.init.state() != ProcessState::Running {
        return;
    }
    tracing::debug!(id = container.id, signal, "signal on the host");
    if let Err(error) = container.kill("", signal, false).await {
        tracing::warn!(
            id = container.id,
            signal,
            error = chain(&error),
            "a signal to the pid did not arrive"
        );
    }
}
