// SPDX-License-Identifier: Apache-2.0
//! containerd's Task service, thin: each request is translated, handed to its task, and the answer translated back.
//!
//! Owns the map of tasks and, in [`deserted`], the decision when the shim ends unasked. Events are the task's affair, so that they stand in
//! order whatever asked for them. No lock is held across a boot or an RPC.

mod deserted;
mod processes;
mod translate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use boxlite_protocol::ttrpc;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest,
    PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
    StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, UpdateTaskRequest, WaitRequest,
    WaitResponse,
};
use containerd_shim_protos::events::task::{TaskPaused, TaskResumed};
use containerd_shim_protos::shim_async::Task as TaskService;
use containerd_shim_protos::ttrpc::asynchronous::TtrpcContext;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::container::{Container, Exit, Surroundings, exit_timestamp};
use crate::error::{TaskError, chain, to_status};
use crate::events::publish;
use crate::plan;
use crate::stdio::StdioPaths;

type Reply<T> = ttrpc::Result<T>;

/// A place in the map: taken while the task is made.
type Slot = Option<Arc<Container>>;

/// The service.
#[derive(Clone)]
pub struct Service {
    around: Surroundings,
    tasks: Arc<Mutex<HashMap<String, Slot>>>,
    /// When somebody last asked for a task.
    asked: watch::Sender<Instant>,
    shutdown: watch::Sender<bool>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A service without tasks.
    #[must_use]
    pub fn new(around: Surroundings) -> Self {
        let asked = watch::Sender::new(Instant::now());
        Self { around, tasks: Arc::default(), asked, shutdown: watch::Sender::new(false) }
    }

    /// Resolves when containerd asked for the end and no task is left.
    pub async fn ended(&self) {
        // The sender lives in `self`.
        let _ = self.shutdown.subscribe().wait_for(|ended| *ended).await;
    }

    /// Whether nothing is there or being made: a shim that stays so has been forgotten.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    /// Ends the shim.
    pub fn end(&self) {
        self.shutdown.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, id: &str) -> Result<Arc<Container>, TaskError> {
        self.asked.send_replace(Instant::now());
        self.lock().get(id).cloned().flatten().ok_or_else(|| TaskError::no_task(id))
    }

    /// One machine holds one container until pods are built.
    fn reserve(&self, id: &str) -> Result<(), TaskError> {
        let mut tasks = self.lock();
        if tasks.contains_key(id) {
            return Err(TaskError::Exists { what: "task", id: id.to_owned() });
        }
        if let Some(other) = tasks.keys().next() {
            return Err(TaskError::Invalid {
                what: format!("{id} asks to join the machine of {other}; pods are not supported yet"),
            });
        }
        tasks.insert(id.to_owned(), None);
        Ok(())
    }

    async fn create_task(&self, request: CreateTaskRequest) -> Result<CreateTaskResponse, TaskError> {
        if !request.checkpoint.is_empty() {
            return Err(TaskError::Unsupported { what: "starting from a checkpoint" });
        }
        let wanted = translate::create_request(&request)?;
        self.reserve(&request.id)?;
        let created = Container::create(wanted, &self.around).await;
        let task = match created {
            Ok(task) => task,
            Err(error) => {
                self.lock().remove(&request.id);
                return Err(error);
            }
        };
        publish(&*self.around.events, translate::task_create(&request, &task));
        task.watch();
        let pid = task.pid();
        self.lock().insert(request.id, Some(task));
        Ok(CreateTaskResponse { pid, ..Default::default() })
    }

    async fn delete_task(&self, request: DeleteRequest) -> Result<DeleteResponse, TaskError> {
        let task = self.task(&request.id)?;
        let exit = task.delete(&request.exec_id).await?;
        if request.exec_id.is_empty() {
            self.lock().remove(&request.id);
        }
        Ok(DeleteResponse {
            pid: task.pid(),
            exit_status: exit.status,
            exited_at: Some(exit_timestamp(exit)).into(),
            ..Default::default()
        })
    }

    fn state_of(&self, request: &StateRequest) -> Result<StateResponse, TaskError> {
        let task = self.task(&request.id)?;
        let known = task.status(&request.exec_id)?;
        Ok(translate::state(request, &task, known))
    }

    fn exec_process(&self, request: &ExecProcessRequest) -> Result<(), TaskError> {
        let task = self.task(&request.id)?;
        let spec = request.spec.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
        let process = plan::load_process(spec)?;
        let paths = StdioPaths {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        task.add_exec(&request.exec_id, &process, paths)
    }

    async fn update_task(&self, request: &UpdateTaskRequest) -> Result<(), TaskError> {
        let task = self.task(&request.id)?;
        let json = request.resources.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
        task.update(json).await
    }

    fn list_pids(&self, request: &PidsRequest) -> Result<PidsResponse, TaskError> {
        let task = self.task(&request.id)?;
        let entry = ProcessInfo { pid: task.pid(), ..Default::default() };
        Ok(PidsResponse { processes: vec![entry], ..Default::default() })
    }

    async fn pause_task(&self, id: &str) -> Result<(), TaskError> {
        self.task(id)?.pause().await?;
        publish(&*self.around.events, TaskPaused { container_id: id.to_owned(), ..Default::default() });
        Ok(())
    }

    async fn resume_task(&self, id: &str) -> Result<(), TaskError> {
        self.task(id)?.resume().await?;
        publish(&*self.around.events, TaskResumed { container_id: id.to_owned(), ..Default::default() });
        Ok(())
    }

    async fn wait_for(&self, request: &WaitRequest) -> Result<Exit, TaskError> {
        self.task(&request.id)?.wait(&request.exec_id).await
    }
}

/// The edge: the chain is logged and answered here, once.
fn answer<T>(verb: &'static str, id: &str, result: Result<T, TaskError>) -> Reply<T> {
    result.map_err(|error| {
        tracing::warn!(verb, id, error = chain(&error), "request failed");
        to_status(&error)
    })
}

#[async_trait]
impl TaskService for Service {
    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> Reply<CreateTaskResponse> {
        let (service, id) = (self.clone(), request.id.clone());
        // A request whose client went away must not stop halfway between a step and its record.
        let made = tokio::spawn(async move { service.create_task(request).await }).await;
        answer("create", &id, made.unwrap_or_else(|error| Err(TaskError::host("creating the task")(error))))
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> Reply<StartResponse> {
        let started = match self.task(&request.id) {
            Ok(task) => {
                let exec_id = request.exec_id.clone();
                let started = tokio::spawn(async move { task.start(&exec_id).await }).await;
                started.unwrap_or_else(|error| Err(TaskError::host("starting the task")(error)))
            }
            Err(error) => Err(error),
        };
        answer("start", &request.id, started.map(|pid| StartResponse { pid, ..Default::default() }))
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Reply<DeleteResponse> {
        let id = request.id.clone();
        answer("delete", &id, self.delete_task(request).await)
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> Reply<StateResponse> {
        answer("state", &request.id, self.state_of(&request))
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Reply<PidsResponse> {
        answer("pids", &request.id, self.list_pids(&request))
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> Reply<Empty> {
        answer("pause", &request.id, self.pause_task(&request.id).await.map(|()| Empty::default()))
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> Reply<Empty> {
        answer("resume", &request.id, self.resume_task(&request.id).await.map(|()| Empty::default()))
    }

    async fn checkpoint(&self, _: &TtrpcContext, request: CheckpointTaskRequest) -> Reply<Empty> {
        answer("checkpoint", &request.id, Err(TaskError::Unsupported { what: "checkpoint" }))
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Reply<Empty> {
        let killed = match self.task(&request.id) {
            Ok(task) => task.kill(&request.exec_id, request.signal, request.all).await,
            Err(error) => Err(error),
        };
        answer("kill", &request.id, killed.map(|()| Empty::default()))
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Reply<Empty> {
        answer("exec", &request.id, self.exec_process(&request).map(|()| Empty::default()))
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> Reply<Empty> {
        let resized = match self.task(&request.id) {
            Ok(task) => task.resize(&request.exec_id, request.height, request.width).await,
            Err(error) => Err(error),
        };
        answer("resize", &request.id, resized.map(|()| Empty::default()))
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> Reply<Empty> {
        let closed = match self.task(&request.id) {
            Ok(task) if request.stdin => task.close_stdin(&request.exec_id).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        answer("close_io", &request.id, closed.map(|()| Empty::default()))
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> Reply<Empty> {
        answer("update", &request.id, self.update_task(&request).await.map(|()| Empty::default()))
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Reply<WaitResponse> {
        let exit = answer("wait", &request.id, self.wait_for(&request).await)?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: Some(exit_timestamp(exit)).into(),
            ..Default::default()
        })
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> Reply<StatsResponse> {
        let measured = match self.task(&request.id) {
            Ok(task) => task.metrics().await.and_then(|metrics| translate::any(&metrics)),
            Err(error) => Err(error),
        };
        let stats = answer("stats", &request.id, measured)?;
        Ok(StatsResponse { stats: Some(stats).into(), ..Default::default() })
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> Reply<ConnectResponse> {
        // containerd connects right after the start, before there is a task; then there is no task pid to tell.
        let task_pid = self.task(&request.id).map_or(0, |task| task.pid());
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> Reply<Empty> {
        // A pod's shim outlives its first container's Shutdown.
        if self.is_idle() || request.now {
            self.end();
        }
        Ok(Empty::default())
    }
}
