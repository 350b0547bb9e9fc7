// SPDX-License-Identifier: Apache-2.0
//! How a task ends, once: drain what the guest still says, tell containerd, and unmake the machine meanwhile.
//!
//! ```text
//!  first process ended ─┐
//!  machine ended ───────┼─▶ drain all processes ─▶ TaskExit of execs, then the task's ─▶ unmake
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
use super::{Task, launch, lock};
use crate::error::{TaskError, chain};
use crate::events::publish;
use crate::stdio::Written;

/// A process that was killed with the machine under it.
const KILLED: u32 = 137;
/// A process of whose end the guest knows nothing, as a shell says of what went out of range.
const UNKNOWN: u32 = 255;
/// How long the output of a container may take once SIGKILL was asked for and its processes have ended: who asks for
/// that does not wait for a guest that keeps streams, nor for readers who are slow.
const DRAIN_KILLED: Duration = Duration::from_secs(1);
/// How long the end of a machine may come after that of its channel, or of its control stream: they go together, in no
/// order one can rely on.
const TOGETHER: Duration = Duration::from_secs(1);

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

/// A machine that ends by itself, or is ended, ends the task. One without files is ended: whatever touched one would
/// wait for ever. So is one whose guest cannot be reached any more.
pub(super) fn watch_machine(task: &Arc<Task>) {
    let task = task.clone();
    tokio::spawn(async move {
        let how = tokio::select! {
            how = task.machine.exited() => how,
            why = useless(&task) => {
                if !task.is_ending() {
                    tracing::error!(id = task.id, why, "the machine is of no use any more");
                    task.machine.end().await;
                }
                task.machine.exited().await
            }
        };
        if !task.is_ending() {
            tracing::error!(id = task.id, %how, console = task.machine.console_tail(), "the machine ended");
        }
        end(&task, Exit::now(KILLED), true).await;
    });
}

/// Resolves with the reason why a machine that runs is not to be kept.
async fn useless(task: &Task) -> String {
    tokio::select! {
        why = files_gone(task) => why,
        () = channel_gone(task) => "its guest has closed the channel".to_owned(),
    }
}

/// Resolves with the reason when the share is not served any more.
async fn files_gone(task: &Task) -> String {
    let Some(virtiofsd) = &task.virtiofsd else { return std::future::pending().await };
    tokio::select! {
        exit = virtiofsd.exited() => format!("its file server ended: {exit}: {}", virtiofsd.stderr()),
        () = virtiofsd.panicked() => format!("its file server panicked: {}", virtiofsd.stderr()),
    }
}

/// Resolves when a guest that was up has left the channel. With the machine goes the channel: that is not meant.
async fn channel_gone(task: &Task) {
    // One that never comes up is told of by Start.
    let Ok(guest) = task.guest().await else { return std::future::pending().await };
    guest.channel_ended().await;
    if tokio::time::timeout(TOGETHER, task.machine.exited()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Reports the end of a process that was started.
pub(super) fn watch_process(task: &Arc<Task>, process: &Arc<Process>) {
    let (task, process) = (task.clone(), process.clone());
    if process.exec_id.is_empty() {
        watch_events(&task);
    }
    tokio::spawn(async move {
        let Some((exit, written)) = ended(&task, &process).await else { return };
        if process.exec_id.is_empty() {
            return end(&task, exit, true).await;
        }
        process.drained(written).await;
        exec_ended(&task, &process, exit);
    });
}

/// Waits for the end of a process as the guest tells it, and how much it wrote; nothing when only the machine's end will
/// tell.
async fn ended(task: &Task, process: &Process) -> Option<(Exit, Written)> {
    let guest = task.guest().await.ok()?;
    match guest.wait(&task.id, &process.exec_id).await {
        Ok(answer) => {
            if answer.oom_killed && process.exec_id.is_empty() {
                tracing::info!(id = task.id, "a process of the container was killed for memory");
            }
            return Some((Exit::now(answer.exit_status), Written::by(&answer)));
        }
        Err(_) if task.is_ending() => return None,
        Err(error) => {
            let (id, exec, error) = (&task.id, &process.exec_id, &error);
            tracing::error!(id, exec, error = chain(error), "the guest does not tell the end of a process");
            if matches!(error, TaskError::Guest { .. }) {
                return Some((Exit::now(UNKNOWN), Written::ALL));
            }
        }
    }
    // No word of the guest's: the channel may be gone, and the container with it. If it is not, the container goes on.
    let gone = tokio::time::timeout(TOGETHER, guest.channel_ended()).await.is_ok();
    (!gone && !process.exec_id.is_empty()).then(|| (Exit::now(UNKNOWN), Written::ALL))
}

/// Passes on what the guest reports unasked.
fn watch_events(task: &Arc<Task>) {
    let task = task.clone();
    tokio::spawn(async move {
        let Ok(guest) = task.guest().await else { return };
        // Ends with the channel.
        while let Ok(event) = guest.next_event().await {
            // The id in the event is the guest's word; the container is this one.
            if !event.oom_container_id.is_empty() {
                publish(
                    &*task.around.events,
                    TaskOOM { container_id: task.id.clone(), ..Default::default() },
                );
            }
        }
    });
}

/// A first process that could not be started: the machine goes, and no event is owed for what never ran.
pub(super) async fn never_ran(task: &Arc<Task>, exit: Exit) {
    end(task, exit, false).await;
}

/// Ends the task; the first caller does it, the others return when it is done.
async fn end(task: &Arc<Task>, exit: Exit, announce: bool) {
    if task.end.begun.send_replace(true) {
        return unmade(task).await;
    }
    if !announce {
        // Nothing it could still say is owed to anybody.
        task.machine.end().await;
    }
    let execs: Vec<_> = lock(&task.execs).values().cloned().collect();
    let processes = execs.iter().chain([&task.init]).cloned();
    let drained = |process: Arc<Process>| async move { process.drained(Written::ALL).await };
    let mut drains: JoinSet<()> = processes.map(drained).collect();
    tokio::select! {
        () = async { while drains.join_next().await.is_some() {} } => {}
        () = too_late(task) => tracing::warn!(id = task.id, "output is left behind"),
    }
    drop(drains);
    for process in &execs {
        exec_ended(task, process, Exit::now(KILLED));
    }
    if let Some(before) = task.init.stop(exit) {
        tracing::info!(id = task.id, status = exit.status, "ended");
        // A start that fails tells its caller.
        if announce && before != ProcessState::Starting {
            publish_exit(task, &task.id, exit);
        }
    }
    unmake(task).await;
}

/// Resolves when the end of the task waits no longer for output.
async fn too_late(task: &Task) {
    let killed = async {
        let _ = task.end.killed.subscribe().wait_for(|killed| *killed).await;
        tokio::time::sleep(DRAIN_KILLED).await;
    };
    let _ = tokio::time::timeout(DRAIN, killed).await;
}

impl Task {
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

/// Ends the machine and takes away all that was made for it.
async fn unmake(task: &Task) {
    let record = lock(&task.record).take();
    let undone = async {
        if let Some(record) = record {
            launch::unmake(record).await;
        }
    };
    tokio::join!(task.machine.end(), undone);
    task.unmade.send_replace(true);
}

/// Waits until nothing is left of the task on the host.
pub(super) async fn unmade(task: &Task) {
    // Fails only without the sender, which the task holds.
    let _ = task.unmade.subscribe().wait_for(|unmade| *unmade).await;
}

fn exec_ended(task: &Task, process: &Process, exit: Exit) {
    // What never ran, or fails to start, has no end to tell of.
    if process.stop(exit) == Some(ProcessState::Running) {
        publish_exit(task, &process.exec_id, exit);
    }
}

fn publish_exit(task: &Task, process_id: &str, exit: Exit) {
    publish(
        &*task.around.events,
        TaskExit {
            container_id: task.id.clone(),
            id: process_id.to_owned(),
            pid: task.pid(),
            exit_status: exit.status,
            exited_at: Some(timestamp(exit)).into(),
            ..Default::default()
        },
    );
}
