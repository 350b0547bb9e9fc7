// SPDX-License-Identifier: Apache-2.0
//! What can be asked of a task between Create and Delete.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use boxlite_protocol::agent::ProcessesResponse;
use containerd_shim_protos::events::task::{TaskDelete, TaskExecAdded};

use super::process::Process;
use super::state::{Exit, ProcessState};
use super::{Container, exit, lock};
use crate::error::{TaskError, chain};
use crate::events::publish;
use crate::hooks;
use crate::plan;
use crate::stdio::StdioPaths;

pub(super) const SIGKILL: u32 = 9;
/// How long a guest has to carry out a SIGKILL before the machine is killed instead.
const GUEST_KILL: Duration = Duration::from_secs(2);
/// The status of what was created and never started when it is deleted, as runc's shim says.
const NEVER_STARTED: u32 = 0;

/// What State answers, from the host's knowledge alone.
#[derive(Debug, Clone)]
pub struct TaskStatus {
    /// The double's.
    pub pid: u32,
    /// Of the process.
    pub state: ProcessState,
    /// The machine is stopped.
    pub paused: bool,
    /// Of the process.
    pub paths: StdioPaths,
}

impl Container {
    /// What is known of a process.
    ///
    /// # Errors
    /// No such process.
    pub fn status(&self, exec_id: &str) -> Result<TaskStatus, TaskError> {
        let process = self.process(exec_id)?;
        Ok(TaskStatus {
            pid: self.pid(),
            state: process.state(),
            paused: self.sandbox.is_paused(),
            paths: process.paths.clone(),
        })
    }

    /// Adds a process; [`Container::start`] runs it.
    ///
    /// # Errors
    /// A bad process, or a taken id.
    pub fn add_exec(
        &self,
        exec_id: &str,
        process: &oci_spec::runtime::Process,
        paths: StdioPaths,
    ) -> Result<(), TaskError> {
        self.init.state().running("exec in")?;
        let plan = plan::compile_process(process, &self.compiled.basis)?;
        match lock(&self.execs).entry(exec_id.to_owned()) {
            Entry::Occupied(_) => return Err(TaskError::Exists { what: "process", id: exec_id.to_owned() }),
            Entry::Vacant(slot) => slot.insert(Arc::new(Process::new(exec_id.to_owned(), paths, Some(plan)))),
        };
        publish(
            &*self.around.events,
            TaskExecAdded {
                container_id: self.id.clone(),
                exec_id: exec_id.to_owned(),
                ..Default::default()
            },
        );
        Ok(())
    }

    /// Sends a signal; to what is paused, once it goes on. SIGKILL to the container always works: when the guest does not
    /// carry it out, the machine dies.
    ///
    /// # Errors
    /// A process that does not run, or the guest's answer.
    pub async fn kill(self: &Arc<Self>, exec_id: &str, signal: u32, all: bool) -> Result<(), TaskError> {
        let process = self.process(exec_id)?;
        if exec_id.is_empty() && signal == SIGKILL {
            return self.kill_all(process.state());
        }
        match process.state() {
            ProcessState::Stopped(_) => {
                return Err(TaskError::NotFound { what: "process", id: self.id.clone() });
            }
            state => state.running("signal")?,
        }
        if self.sandbox.is_paused() {
            return self.owe_signal(&process, signal, all).await;
        }
        let guest = self.sandbox.guest().await?;
        guest.signal(&self.id, exec_id, signal, all).await.map_err(|error| self.sandbox.with_console(error))
    }

    fn kill_all(self: &Arc<Self>, state: ProcessState) -> Result<(), TaskError> {
        if let ProcessState::Stopped(_) = state {
            return Err(TaskError::NotFound { what: "process", id: self.id.clone() });
        }
        self.hurry();
        let container = self.clone();
        tokio::spawn(async move {
            // Through the guest first: what was written and not yet read comes over that way. One that is ending already
            // has been waited for long enough.
            if state == ProcessState::Running && !container.sandbox.is_paused() && !container.is_ending() {
                match tokio::time::timeout(GUEST_KILL, container.kill_in_guest()).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        tracing::warn!(id = container.id, error = chain(&error), "guest did not kill");
                    }
                    Err(_) => tracing::warn!(id = container.id, "guest did not kill in time"),
                }
            }
            container.sandbox.kill().await;
        });
        Ok(())
    }

    /// Has the guest kill the container, and sees its end begin.
    async fn kill_in_guest(&self) -> Result<(), TaskError> {
        let guest = self.sandbox.guest().await?;
        guest.signal(&self.id, "", SIGKILL, true).await?;
        self.end_begun().await;
        Ok(())
    }

    /// Waits for the end of a process.
    ///
    /// # Errors
    /// No such process.
    pub async fn wait(&self, exec_id: &str) -> Result<Exit, TaskError> {
        self.process(exec_id)?.exited().await
    }

    /// Deletes what has ended, or was never started. A first process takes the task with it.
    ///
    /// # Errors
    /// It runs.
    pub async fn delete(self: &Arc<Self>, exec_id: &str) -> Result<Exit, TaskError> {
        let process = self.process(exec_id)?;
        let exit = match process.state().deletable()? {
            Some(exit) => exit,
            None if exec_id.is_empty() => {
                exit::never_ran(self, Exit::now(NEVER_STARTED)).await;
                process.exited().await?
            }
            None => {
                let exit = Exit::now(NEVER_STARTED);
                process.stop(exit);
                exit
            }
        };
        process.finished().await;
        if !exec_id.is_empty() {
            lock(&self.execs).remove(exec_id);
            return Ok(exit);
        }
        exit::unmade(self).await;
        self.deleted.get_or_init(|| self.say_goodbye(exit)).await;
        Ok(exit)
    }

    async fn say_goodbye(&self, exit: Exit) {
        self.run_poststop().await;
        publish(
            &*self.around.events,
            TaskDelete {
                container_id: self.id.clone(),
                pid: self.pid(),
                exit_status: exit.status,
                exited_at: Some(exit::timestamp(exit)).into(),
                ..Default::default()
            },
        );
    }

    /// OCI runtime spec, "Lifecycle" 13: a failing poststop hook is logged and changes nothing.
    async fn run_poststop(&self) {
        let state = self.hook_state("stopped", 0);
        for error in hooks::run_each(&self.compiled.hooks.poststop, &state).await {
            tracing::warn!(error = chain(&error), "a poststop hook failed");
        }
    }

    /// Sets a terminal's size; before the start, and while the machine stands still, it is remembered.
    ///
    /// # Errors
    /// The guest's answer.
    pub async fn resize(&self, exec_id: &str, rows: u32, columns: u32) -> Result<(), TaskError> {
        let process = self.process(exec_id)?;
        process.remember_size(rows, columns);
        match process.state() {
            ProcessState::Running if self.sandbox.is_paused() => self.owe_size(&process).await,
            ProcessState::Running => {
                let guest = self.sandbox.guest().await?;
                guest.resize(&self.id, exec_id, rows, columns).await
            }
            _ => Ok(()),
        }
    }

    /// The process reads end of file.
    ///
    /// # Errors
    /// No such process.
    pub async fn close_stdin(&self, exec_id: &str) -> Result<(), TaskError> {
        self.process(exec_id)?.close_stdin().await;
        Ok(())
    }

    /// Writes the container's cgroup files for `resources`, JSON as in the spec, and lets the machine take what a higher limit needs. Not kept for later while
    /// the machine stands still: whether they can be written is the guest's to say.
    ///
    /// # Errors
    /// A refusal of what is asked for; not running, paused, or the guest's answer.
    pub async fn update(&self, resources: &[u8]) -> Result<(), TaskError> {
        let update = plan::load_resources(resources, self.compiled.size.vcpus)?;
        self.answering("update")?;
        let guest = self.sandbox.guest().await?;
        let allowed = update.memory_limit.map(|limit| {
            let needed = plan::for_limit(limit, self.defaults, crate::host_facts::memory_mib());
            self.sandbox.allow_memory(needed)
        });
        guest.update(&self.id, update.files, allowed.transpose()?.unwrap_or_default()).await
    }

    /// What runs in the container, by the guest's word.
    ///
    /// # Errors
    /// Not running, paused, or a guest that does not answer.
    pub async fn guest_processes(&self) -> Result<ProcessesResponse, TaskError> {
        self.answering("look into")?;
        self.sandbox.guest().await?.processes(&self.id).await
    }

    /// Only a guest that runs can answer.
    pub(super) fn answering(&self, verb: &'static str) -> Result<(), TaskError> {
        self.init.state().running(verb)?;
        if self.sandbox.is_paused() {
            return Err(TaskError::State { verb, state: "paused" });
        }
        Ok(())
    }
}
