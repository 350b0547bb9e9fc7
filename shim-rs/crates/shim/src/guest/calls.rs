// SPDX-License-Identifier: Apache-2.0
//! The agent's calls, each with its deadline.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boxlite_protocol::agent::{
    ConfigureRequest, ContainerRef, CreateContainerRequest, Empty, Event, ExecRequest, ProcessRef,
    ProcessesResponse, ResizeRequest, SetClockRequest, SignalRequest, StartContainerRequest, StatsResponse,
    UpdateRequest, WaitResponse,
};
use boxlite_protocol::agent_ttrpc::AgentClient;
use boxlite_protocol::network::Network;
use boxlite_protocol::plan::{CgroupFile, LaunchPlan, Process};
use boxlite_protocol::ttrpc::context::Context;

use super::{Guest, clean};
use crate::error::TaskError;

/// A call that does little work in the guest. Generous: two cores may carry twenty emulated guests.
const QUICK: Duration = Duration::from_secs(10);
/// A call that mounts, forks and executes.
pub(super) const SLOW: Duration = Duration::from_secs(60);
/// A guest that refuses more settings is not listened to.
const MAX_REFUSED: usize = 64;
/// Random bytes a guest is given.
const ENTROPY: usize = 64;

impl Guest {
    /// First call: see `ConfigureRequest`. Gives the settings that the guest refused, each with its reason.
    pub async fn configure(&self, request: &ConfigureRequest) -> Result<Vec<String>, TaskError> {
        let request = request.clone();
        let call = |agent: AgentClient| async move { agent.configure(Context::default(), &request).await };
        let answer = self.control.ask(SLOW, call).await?;
        Ok(answer.refused.iter().take(MAX_REFUSED).map(|text| clean(text)).collect())
    }

    /// Repeats the engine's network in the guest.
    pub async fn connect_network(&self, network: &Network) -> Result<(), TaskError> {
        let network = network.clone();
        let call =
            |agent: AgentClient| async move { agent.connect_network(Context::default(), &network).await };
        self.control.ask(SLOW, call).await.map(drop)
    }

    /// Builds the container up to its first process.
    pub async fn create(&self, plan: LaunchPlan) -> Result<(), TaskError> {
        let request = CreateContainerRequest { plan: Some(plan).into(), ..Default::default() };
        let call =
            |agent: AgentClient| async move { agent.create_container(Context::default(), &request).await };
        self.control.ask(SLOW, call).await.map(drop)
    }

    /// Sets the guest's clock to the host's.
    pub async fn set_clock(&self) -> Result<(), TaskError> {
        self.set_clock_within(QUICK).await
    }

    pub(super) async fn set_clock_within(&self, deadline: Duration) -> Result<(), TaskError> {
        let request = SetClockRequest { realtime_ns: realtime_ns(), ..Default::default() };
        let call = |agent: AgentClient| async move { agent.set_clock(Context::default(), &request).await };
        self.control.ask(deadline, call).await.map(drop)
    }

    /// Lets the first process execute.
    pub async fn start(&self, container_id: &str) -> Result<(), TaskError> {
        let request = StartContainerRequest {
            container_id: container_id.to_owned(),
            realtime_ns: realtime_ns(),
            ..Default::default()
        };
        let call =
            |agent: AgentClient| async move { agent.start_container(Context::default(), &request).await };
        self.control.ask(SLOW, call).await.map(drop)
    }

    /// Starts another process.
    pub async fn exec(&self, container_id: &str, exec_id: &str, process: Process) -> Result<(), TaskError> {
        let request = ExecRequest {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            process: Some(process).into(),
            ..Default::default()
        };
        let call = |agent: AgentClient| async move { agent.exec(Context::default(), &request).await };
        self.control.ask(SLOW, call).await.map(drop)
    }

    /// Answers when the process has ended; no deadline.
    pub async fn wait(&self, container_id: &str, exec_id: &str) -> Result<WaitResponse, TaskError> {
        let request = ProcessRef {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            ..Default::default()
        };
        let call = |agent: AgentClient| async move { agent.wait(Context::default(), &request).await };
        let mut answer = self.control.follow(call).await?;
        answer.exit_status &= 0xff;
        Ok(answer)
    }

    /// Sends a signal to one process, or to all of the container.
    pub async fn signal(
        &self,
        container_id: &str,
        exec_id: &str,
        signal: u32,
        all: bool,
    ) -> Result<(), TaskError> {
        let request = SignalRequest {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all,
            ..Default::default()
        };
        let call = |agent: AgentClient| async move { agent.signal(Context::default(), &request).await };
        self.control.ask(QUICK, call).await.map(drop)
    }

    /// Sets a terminal's size.
    pub async fn resize(
        &self,
        container_id: &str,
        exec_id: &str,
        rows: u32,
        columns: u32,
    ) -> Result<(), TaskError> {
        let request = ResizeRequest {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            rows,
            columns,
            ..Default::default()
        };
        let call = |agent: AgentClient| async move { agent.resize(Context::default(), &request).await };
        self.control.ask(QUICK, call).await.map(drop)
    }

    /// The container's cgroup files; no deadline. For one call at a time.
    pub async fn stats(&self, container_id: &str) -> Result<StatsResponse, TaskError> {
        let request = container(container_id);
        let call = |agent: AgentClient| async move { agent.stats(Context::default(), &request).await };
        self.control.follow(call).await
    }

    /// Writes cgroup files.
    pub async fn update(
        &self,
        container_id: &str,
        files: Vec<CgroupFile>,
        memory_limit: u64,
    ) -> Result<(), TaskError> {
        let request = UpdateRequest {
            container_id: container_id.to_owned(),
            files,
            memory_limit,
            ..Default::default()
        };
        let call = |agent: AgentClient| async move { agent.update(Context::default(), &request).await };
        self.control.ask(QUICK, call).await.map(drop)
    }

    /// What runs in the container.
    pub async fn processes(&self, container_id: &str) -> Result<ProcessesResponse, TaskError> {
        let request = container(container_id);
        let call = |agent: AgentClient| async move { agent.processes(Context::default(), &request).await };
        self.control.ask(QUICK, call).await
    }

    /// Answers when something happened; no deadline.
    pub async fn next_event(&self) -> Result<Event, TaskError> {
        let call = async |agent: AgentClient| agent.next_event(Context::default(), &Empty::default()).await;
        self.control.follow(call).await
    }
}

/// A first call with what makes any guest its own: the clock, read now, and random numbers. The caller adds the rest.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn first_call() -> Result<ConfigureRequest, TaskError> {
    let mut entropy = vec![0; ENTROPY];
    rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty())
        .map_err(TaskError::launch("reading entropy"))?;
    Ok(ConfigureRequest { realtime_ns: realtime_ns(), entropy, ..Default::default() })
}

/// Nanoseconds since 1970, now.
fn realtime_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

fn container(container_id: &str) -> ContainerRef {
    ContainerRef { container_id: container_id.to_owned(), ..Default::default() }
}
