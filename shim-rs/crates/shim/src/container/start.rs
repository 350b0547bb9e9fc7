// SPDX-License-Identifier: Apache-2.0
//! Start: the network is complete now, the guest is up or nearly; make it the container's and let it run.
//!
//! Docker 28 and later move the veth in between Create and Start, earlier ones and nerdctl during Create by a hook, CNI
//! before Create: one scan here serves them all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_protocol::agent::ConfigureRequest;
use boxlite_protocol::stream::Kind;
use containerd_shim_protos::events::task::{TaskExecStarted, TaskStart};

use super::process::Process;
use super::state::{Exit, ProcessState};
use super::{Container, NEVER_RAN, exit};
use crate::error::TaskError;
use crate::events::publish;
use crate::guest::{self, Guest};
use crate::hooks;
use crate::memory;
use crate::stdio::{Owner, Stdio};

/// How long a guest may take to be up, counted from Start. An emulated one on a loaded host takes seconds.
const BOOT: Duration = Duration::from_secs(60);

impl Container {
    /// Starts the first process, or an exec.
    ///
    /// # Errors
    /// The program's (not found, not executable), the machine's, or a wrong state.
    pub async fn start(self: &Arc<Self>, exec_id: &str) -> Result<u32, TaskError> {
        let process = self.process(exec_id)?;
        if let Err(error) = process.change(ProcessState::start) {
            // The last words of a machine that died meanwhile are the better reason.
            let never_up = self.sandbox.never_up().filter(|_| exec_id.is_empty());
            return Err(never_up.unwrap_or(error));
        }
        let started =
            if exec_id.is_empty() { self.start_init().await } else { self.start_exec(&process).await };
        if let Err(error) = started {
            let error = self.sandbox.with_console(error);
            if exec_id.is_empty() {
                exit::never_ran(self, Exit::now(NEVER_RAN)).await;
            } else {
                process.stop(Exit::now(NEVER_RAN));
            }
            return Err(error);
        }
        // Under the state's lock: an end that comes now is told after the start.
        let running = process.change(|state| {
            let running = state.started();
            if running {
                self.announce(exec_id);
            }
            running
        });
        if !running {
            return Err(self.sandbox.gone("it ended while the process was started".to_owned()));
        }
        exit::watch_process(self, &process);
        tokio::task::spawn_blocking(memory::give_back);
        Ok(self.pid())
    }

    /// Before anything can be said of the end: containerd wants TaskStart first.
    fn announce(&self, exec_id: &str) {
        let events = &*self.around.events;
        if exec_id.is_empty() {
            publish(
                events,
                TaskStart { container_id: self.id.clone(), pid: self.pid(), ..Default::default() },
            );
        } else {
            publish(
                events,
                TaskExecStarted {
                    container_id: self.id.clone(),
                    exec_id: exec_id.to_owned(),
                    pid: self.pid(),
                    ..Default::default()
                },
            );
        }
    }

    async fn start_init(self: &Arc<Self>) -> Result<(), TaskError> {
        let began = Instant::now();
        let (changes, joined) = self.sandbox.join_network().await?;
        let network = joined.described();
        let t_scan = began.elapsed();
        let guest = match tokio::time::timeout(BOOT, self.sandbox.guest()).await {
            Ok(guest) => guest?,
            Err(_) => {
                return Err(self.sandbox.gone(format!("the guest was not up within {} s", BOOT.as_secs())));
            }
        };
        let t_guest = began.elapsed();
        let prepared = super::lock(&self.prepared).take();
        if let Some(prepared) = prepared {
            prepared.await.map_err(TaskError::launch("preparing the container"))??;
            guest.connect_network(&network).await?;
        } else {
            self.configure(&guest).await?;
            guest.connect_network(&network).await?;
            self.build(&guest).await?;
        }
        let t_container = began.elapsed();
        if let Some((rows, columns)) = self.init.size() {
            guest.resize(&self.id, "", rows, columns).await?;
        }
        guest.start(&self.id).await?;
        self.sandbox.follow_network(changes, joined);
        tracing::info!(id = self.id, ?t_scan, ?t_guest, ?t_container, t_start = ?began.elapsed(),
            t_total = ?self.created.elapsed(), settings = self.sandbox.settings().len(), "started");
        let state = self.hook_state("running", self.pid());
        // OCI runtime spec, "Lifecycle" 10: a failing poststart hook is logged and changes nothing.
        for error in hooks::run_each(&self.compiled.hooks.poststart, &state).await {
            tracing::warn!(error = crate::error::chain(&error), "a poststart hook failed");
        }
        Ok(())
    }

    /// Configures the guest and builds the container while the engine is still busy with the network. What fails
    /// here is told at Start, as it would be there.
    pub(super) fn prepare(self: &Arc<Self>) {
        if !self.compiled.network_last {
            return;
        }
        let container = self.clone();
        let preparing = tokio::spawn(async move {
            let guest = container.sandbox.guest().await?;
            let began = Instant::now();
            container.configure(&guest).await?;
            let t_configure = began.elapsed();
            container.build(&guest).await?;
            tracing::info!(id = container.id, ?t_configure, t_build = ?began.elapsed() - t_configure, "prepared");
            Ok(())
        });
        *super::lock(&self.prepared) = Some(preparing);
    }

    /// Opens the first process's streams and has the guest build the container up to it.
    async fn build(&self, guest: &Guest) -> Result<(), TaskError> {
        self.init.attach(self.open_stdio(guest, &self.init).await?).await;
        let mut plan = self.compiled.launch.clone();
        if let Some(first) = plan.process.as_mut() {
            name_streams(first, &self.init);
        }
        guest.create(plan).await
    }

    async fn configure(&self, guest: &Guest) -> Result<(), TaskError> {
        let (share_tag, share_path) = self.sandbox.share();
        let request = ConfigureRequest {
            hostname: self.compiled.launch.hostname.clone(),
            share_tag,
            share_path,
            memory_limit: self.sandbox.allow_memory(self.compiled.size.memory_mib)?,
            sysctls: crate::machine::guest_sysctls(self.sandbox.accel()),
            settings: self.sandbox.settings().iter().map(Into::into).collect(),
            ..guest::first_call()?
        };
        for refusal in guest.configure(&request).await? {
            tracing::warn!(id = self.id, refusal, "the guest does not take a setting of the host's");
        }
        Ok(())
    }

    async fn start_exec(&self, process: &Process) -> Result<(), TaskError> {
        self.answering("exec in")?;
        let Some(mut plan) = process.take_plan() else {
            return Err(TaskError::State { verb: "start", state: "started" });
        };
        name_streams(&mut plan, process);
        let guest = self.sandbox.guest().await?;
        process.attach(self.open_stdio(&guest, process).await?).await;
        guest.exec(&self.id, &process.exec_id, plan).await
    }

    async fn open_stdio(&self, guest: &Guest, process: &Process) -> Result<Stdio, TaskError> {
        let owner =
            Owner { namespace: &self.around.namespace, container_id: &self.id, exec_id: &process.exec_id };
        Stdio::open(&process.paths, guest.opener(), owner).await
    }
}

/// Tells the guest which streams are open, and that the terminal is what containerd said.
fn name_streams(plan: &mut boxlite_protocol::plan::Process, process: &Process) {
    plan.stdin = process.paths.wants(Kind::Stdin);
    plan.stdout = process.paths.wants(Kind::Stdout);
    plan.stderr = process.paths.wants(Kind::Stderr);
    plan.terminal = process.paths.terminal;
}
