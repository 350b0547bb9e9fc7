// SPDX-License-Identifier: Apache-2.0
//! How a container ends, once: drain what the guest still says, tell containerd, and leave the sandbox.
//!
//! ```text
//!  first process ended ─┐
//!  sandbox dead ────────┼─▶ drain all processes ─▶ TaskExit of execs, then its own ─▶ leave the sandbox
//!  never ran ───────────┘   (one deadline; short, or none, after SIGKILL)
//! ```
//! What the guest answers to a Wait, a refusal too, is that process's end and nothing else's. The container ends with its
//! first process, with the channel or with the machine.
//!
//! TaskExit says that the container's processes have ended and their output is on this side, as it does for any
//! runtime. That nothing is left of them on the host (the root file system unmounted, the cgroup gone) is what Delete
//! says: it waits for that. Engines delete a task before they restart or remove a container.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use boxlite_protocol::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::events::task::{TaskExit, TaskOOM};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::process::{DRAIN, Process};
use super::state::{Exit, ProcessState};
use super::{Container, lock};
use crate::error::{TaskError, chain};
use crate::events::publish;
use crate::machine::TOGETHER;
use crate::stdio::Written;

/// A process that was killed with the machine under it.
const KILLED: u32 = 137;
/// A process of whose end the guest knows nothing, as a shell says of what went out of range.
const UNKNOWN: u32 = 255;
/// How long the output of a container may take once SIGKILL was asked for and its processes have ended: who asks for
/// that does not wait for a guest that keeps streams, nor for readers who are slow.
const DRAIN_KILLED: Duration = Duration::from_secs(1);
/// The least time between two events that a guest reports unasked.
const BETWEEN_EVENTS: Duration = Duration::from_millis(100);

/// How far a task is on its way out.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Set once somebody ends the task: there is one end.
    begun: watch::Sender<bool>,
    /// SIGKILL was asked for.
    killed: watch::Sender<bool>,
}

/// As protobuf has it.
#[must_use]
pub fn timestamp(exit: Exit) -> Timestamp {
    let since = exit.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        ..Default::default()
    }
}

/// Without a machine there is no container.
pub(super) fn watch_sandbox(container: &Arc<Container>) {
    let container = container.clone();
    tokio::spawn(async move {
        container.sandbox.dead().await;
        end(&container, Exit::now(KILLED), true).await;
    });
}

/// Reports the end of a process that was started.
pub(super) fn watch_process(container: &Arc<Container>, process: &Arc<Process>) {
    let (container, process) = (container.clone(), process.clone());
    if process.exec_id.is_empty() {
        watch_events(&container);
    }
    tokio::spawn(async move {
        let Some((exit, written)) = ended(&container, &process).await else { return };
        if process.exec_id.is_empty() {
            return end(&container, exit, true).await;
        }
        process.drained(written).await;
        exec_ended(&container, &process, exit);
    });
}

/// Waits for the end of a process as the guest tells it, and how much it wrote; nothing when only the machine's end will
/// tell.
async fn ended(container: &Container, process: &Process) -> Option<(Exit, Written)> {
    let guest = container.sandbox.guest().await.ok()?;
    match guest.wait(&container.id, &process.exec_id).await {
        Ok(answer) => {
            if answer.oom_killed && process.exec_id.is_empty() {
                tracing::info!(id = container.id, "a process of the container was killed for memory");
            }
            return Some((Exit::now(answer.exit_status), Written::by(&answer)));
        }
        Err(_) if container.is_ending() => return None,
        Err(error) => {
            let (id, exec, error) = (&container.id, &process.exec_id, &error);
            tracing::error!(id, exec, error = chain(error), "the guest does not tell the end of a process");
            if matches!(error, TaskError::Guest { .. }) {
                return Some((Exit::now(UNKNOWN), Written::ALL));
            }
        }
    }
    // No word of the guest's: the channel may be gone, and the container with it. If it is not, the container goes on.
    // The end of the channel, too, may come after that of its control stream.
    let gone = tokio::time::timeout(TOGETHER, guest.channel_ended()).await.is_ok();
    (!gone && !process.exec_id.is_empty()).then(|| (Exit::now(UNKNOWN), Written::ALL))
}

/// Passes on what the guest reports unasked.
fn watch_events(container: &Arc<Container>) {
    let container = container.clone();
    tokio::spawn(async move {
        let Ok(guest) = container.sandbox.guest().await else { return };
        // Ends with the channel.
        while let Ok(event) = guest.next_event().await {
            // What comes faster waits in the guest, which is to flood neither this program nor the engine.
            let next = tokio::time::sleep(BETWEEN_EVENTS);
            // The id in the event is the guest's word; the container is this one.
            if !event.oom_container_id.is_empty() {
                publish(
                    &*container.around.events,
                    TaskOOM { container_id: container.id.clone(), ..Default::default() },
                );
            }
            next.await;
        }
    });
}

/// A first process that could not be started: the machine goes, and no event is owed for what never ran.
pub(super) async fn never_ran(container: &Arc<Container>, exit: Exit) {
    end(container, exit, false).await;
}

/// Ends the container; the first caller does it, the others return when it is done.
async fn end(container: &Arc<Container>, exit: Exit, announce: bool) {
    if container.end.begun.send_replace(true) {
        return unmade(container).await;
    }
    if !announce {
        // Nothing it could still say is owed to anybody.
        container.sandbox.kill().await;
    }
    let execs: Vec<_> = lock(&container.execs).values().cloned().collect();
    let processes = execs.iter().chain([&container.init]).cloned();
    let drained = |process: Arc<Process>| async move { process.drained(Written::ALL).await };
    let mut drains: JoinSet<()> = processes.map(drained).collect();
    tokio::select! {
        () = async { while drains.join_next().await.is_some() {} } => {}
        () = too_late(container) => tracing::warn!(id = container.id, "output is left behind"),
    }
    drop(drains);
    for process in &execs {
        exec_ended(container, process, Exit::now(KILLED));
    }
    if let Some(before) = container.init.stop(exit) {
        tracing::info!(id = container.id, status = exit.status, "ended");
        // A start that fails tells its caller.
        if announce && before != ProcessState::Starting {
            publish_exit(container, &container.id, exit);
        }
    }
    unmake(container).await;
}

/// Resolves when the end of the task waits no longer for output.
async fn too_late(container: &Container) {
    let killed = async {
        let _ = container.end.killed.subscribe().wait_for(|killed| *killed).await;
        tokio::time::sleep(DRAIN_KILLED).await;
    };
    let _ = tokio::time::timeout(DRAIN, killed).await;
}

impl Container {
    /// Whether somebody ends it.
    pub(super) fn is_ending(&self) -> bool {
        *self.end.begun.borrow()
    }

    /// SIGKILL was asked for: from here on its end waits for nothing for long.
    pub(super) fn hurry(&self) {
        self.end.killed.send_replace(true);
    }

    /// Resolves when somebody ends it. From there on its end takes a bounded time.
    pub(super) async fn end_begun(&self) {
        // Fails only without the sender, which is here.
        let _ = self.end.begun.subscribe().wait_for(|ending| *ending).await;
    }
}

/// Leaves the sandbox, which goes with its last container.
async fn unmake(container: &Container) {
    container.sandbox.leave(&container.id).await;
    container.unmade.send_replace(true);
}

/// Waits until nothing is left of the task on the host.
pub(super) async fn unmade(container: &Container) {
    // Fails only without the sender, which the task holds.
    let _ = container.unmade.subscribe().wait_for(|unmade| *unmade).await;
}

fn exec_ended(container: &Container, process: &Process, exit: Exit) {
    // What never ran, or fails to start, has no end to tell of.
    if process.stop(exit) == Some(ProcessState::Running) {
        publish_exit(container, &process.exec_id, exit);
    }
}

fn publish_exit(container: &Container, process_id: &str, exit: Exit) {
    publish(
        &*container.around.events,
        TaskExit {
            container_id: container.id.clone(),
            id: process_id.to_owned(),
            pid: container.pid(),
            exit_status: exit.status,
            exited_at: Some(timestamp(exit)).into(),
            ..Default::default()
        },
    );
}
