// SPDX-License-Identifier: Apache-2.0
//! The agent's service: unpacks a request, hands it on, packs the answer. No decisions.
//!
//! What must not stop half-way when a caller gives up (building, executing, removing) runs in a task of its own.

use std::future::Future;
use std::sync::Arc;

use boxlite_protocol::agent::{
    ConfigureRequest, ConfigureResponse, ContainerRef, CreateContainerRequest, CreateContainerResponse,
    Empty, Event, ExecRequest, ExecResponse, ProcessRef, ProcessesResponse, ResizeRequest, SetClockRequest,
    SignalRequest, StartContainerRequest, StatsResponse, UpdateRequest, WaitResponse,
};
use boxlite_protocol::agent_ttrpc::Agent;
use boxlite_protocol::async_trait::async_trait;
use boxlite_protocol::network::Network;
use boxlite_protocol::ttrpc;
use boxlite_protocol::ttrpc::r#async::TtrpcContext;

use crate::configure;
use crate::containers::Containers;
use crate::error::{AgentError, Fault};
use crate::processes;

/// Serves [`Containers`].
#[derive(Debug)]
pub(crate) struct Service(pub(crate) Arc<Containers>);

/// Runs `work` to its end even when the caller goes away.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, AgentError>> + Send + 'static,
) -> Result<T, AgentError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(_) => Err(Fault::refused("the agent failed".to_owned()).into()),
    }
}

fn unsigned(pid: i32) -> u32 {
    pid.unsigned_abs()
}

#[async_trait]
impl Agent for Service {
    async fn configure(
        &self,
        _: &TtrpcContext,
        request: ConfigureRequest,
    ) -> ttrpc::Result<ConfigureResponse> {
        let refused = self.0.configure(&request).map_err(AgentError::from)?;
        Ok(ConfigureResponse { refused, ..Default::default() })
    }

    async fn connect_network(&self, _: &TtrpcContext, request: Network) -> ttrpc::Result<Empty> {
        self.0.connect(&request).map_err(AgentError::from)?;
        Ok(Empty::new())
    }

    async fn create_container(
        &self,
        _: &TtrpcContext,
        request: CreateContainerRequest,
    ) -> ttrpc::Result<CreateContainerResponse> {
        let Some(plan) = request.plan.0 else { return Err(AgentError::Plan("no plan").into()) };
        let pid = whole(Arc::clone(&self.0).create(*plan)).await?;
        Ok(CreateContainerResponse { pid: unsigned(pid), ..Default::default() })
    }

    async fn set_clock(&self, _: &TtrpcContext, request: SetClockRequest) -> ttrpc::Result<Empty> {
        self.0.correct_clock(request.realtime_ns).map_err(AgentError::from)?;
        Ok(Empty::new())
    }

    async fn start_container(
        &self,
        _: &TtrpcContext,
        request: StartContainerRequest,
    ) -> ttrpc::Result<Empty> {
        let container = self.0.find(&request.container_id)?;
        self.0.correct_clock(request.realtime_ns).map_err(AgentError::from)?;
        container.init.start().await?;
        Ok(Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecRequest) -> ttrpc::Result<ExecResponse> {
        let Some(process) = request.process.0 else { return Err(AgentError::Plan("no process").into()) };
        let exec = Arc::clone(&self.0).exec(request.container_id, request.exec_id, *process);
        Ok(ExecResponse { pid: unsigned(whole(exec).await?), ..Default::default() })
    }

    async fn wait(&self, _: &TtrpcContext, request: ProcessRef) -> ttrpc::Result<WaitResponse> {
        let end = self.0.wait(&request.container_id, &request.exec_id).await?;
        Ok(WaitResponse {
            exit_status: end.exit.status,
            exited_at_ns: end.exit.at,
            oom_killed: end.oom_killed,
            stdout_bytes: end.written.stdout,
            stderr_bytes: end.written.stderr,
            ..Default::default()
        })
    }

    async fn signal(&self, _: &TtrpcContext, request: SignalRequest) -> ttrpc::Result<Empty> {
        self.0.signal(&request.container_id, &request.exec_id, request.signal, request.all)?;
        Ok(Empty::new())
    }

    async fn resize(&self, _: &TtrpcContext, request: ResizeRequest) -> ttrpc::Result<Empty> {
        let process = self.0.find(&request.container_id)?.process(&request.exec_id)?;
        process.resize(request.rows, request.columns)?;
        Ok(Empty::new())
    }

    async fn stats(&self, _: &TtrpcContext, request: ContainerRef) -> ttrpc::Result<StatsResponse> {
        let container = self.0.find(&request.container_id)?;
        let files = container.cgroup.as_ref().map(crate::cgroup::Cgroup::statistics).unwrap_or_default();
        Ok(StatsResponse { files, ..Default::default() })
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateRequest) -> ttrpc::Result<Empty> {
        configure::allow_memory(request.memory_limit).map_err(AgentError::from)?;
        self.0.update(&request.container_id, &request.files)?;
        Ok(Empty::new())
    }

    async fn processes(&self, _: &TtrpcContext, request: ContainerRef) -> ttrpc::Result<ProcessesResponse> {
        let container = self.0.find(&request.container_id)?;
        let processes = processes::describe(&container.members());
        Ok(ProcessesResponse { processes, ..Default::default() })
    }

    async fn next_event(&self, _: &TtrpcContext, _: Empty) -> ttrpc::Result<Event> {
        let oom_container_id = self.0.events.next().await.map_err(AgentError::from)?;
        Ok(Event { oom_container_id, ..Default::default() })
    }

    async fn remove_container(&self, _: &TtrpcContext, request: ContainerRef) -> ttrpc::Result<Empty> {
        whole(Arc::clone(&self.0).remove(request.container_id)).await?;
        Ok(Empty::new())
    }
}
