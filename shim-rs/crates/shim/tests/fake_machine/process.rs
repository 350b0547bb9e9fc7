// SPDX-License-Identifier: Apache-2.0
//! One process of a container as a client of the Task API sees it: the first one, or an exec.

use std::path::PathBuf;

use boxlite_protocol::protobuf::Message;
use boxlite_protocol::protobuf::well_known_types::any::Any;
use boxlite_protocol::ttrpc;
use containerd_shim_protos::api::{
    CloseIORequest, DeleteRequest, DeleteResponse, ExecProcessRequest, KillRequest, PauseRequest,
    PidsRequest, ResizePtyRequest, ResumeRequest, StartRequest, StartResponse, StateRequest, StateResponse,
    StatsRequest, Status, UpdateTaskRequest, WaitRequest,
};
use containerd_shim_protos::cgroups_v2::metrics::Metrics;
use containerd_shim_protos::shim_async::TaskClient;
use serde_json::{Value, json};

use super::containerd::patience;
use super::fifo::{self, Fifos, Listener, Reader};

/// One process.
pub struct Process {
    pub client: TaskClient,
    pub container: String,
    /// Empty: the first one.
    pub exec: String,
    /// The task's, on the host.
    pub pid: u32,
    pub directory: PathBuf,
    pub fifos: Fifos,
    pub stdout: Option<Reader>,
    pub stderr: Option<Reader>,
}

/// How an exec is to be.
#[derive(Debug, Clone)]
pub struct Exec {
    pub process: Value,
    pub stdin: bool,
    pub read: bool,
}

impl Exec {
    pub fn args(args: &[&str]) -> Self {
        let process =
            json!({ "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
        Self { process, stdin: false, read: true }
    }

    pub fn shell(line: &str) -> Self {
        Self::args(&["sh", "-c", line])
    }

    pub fn with_terminal(mut self) -> Self {
        self.process["terminal"] = json!(true);
        self.stdin = true;
        self
    }

    pub fn nobody_reads(mut self) -> Self {
        self.read = false;
        self
    }
}

impl Process {
    pub async fn try_start(&self) -> ttrpc::Result<StartResponse> {
        let request =
            StartRequest { id: self.container.clone(), exec_id: self.exec.clone(), ..Default::default() };
        self.client.start(patience(), &request).await
    }

    pub async fn start(&self) {
        let answer = self.try_start().await.expect("started");
        assert_eq!(answer.pid, self.pid, "the task has one pid on the host");
    }

    pub async fn try_wait(&self) -> ttrpc::Result<u32> {
        let request =
            WaitRequest { id: self.container.clone(), exec_id: self.exec.clone(), ..Default::default() };
        self.client.wait(patience(), &request).await.map(|answer| answer.exit_status)
    }

    /// The exit status.
    pub async fn wait(&self) -> u32 {
        self.try_wait().await.expect("waited")
    }

    pub async fn try_kill(&self, signal: u32) -> ttrpc::Result<()> {
        let request = KillRequest {
            id: self.container.clone(),
            exec_id: self.exec.clone(),
            signal,
            ..Default::default()
        };
        self.client.kill(patience(), &request).await.map(drop)
    }

    pub async fn kill(&self, signal: u32) {
        self.try_kill(signal).await.expect("killed");
    }

    pub async fn try_delete(&self) -> ttrpc::Result<DeleteResponse> {
        let request =
            DeleteRequest { id: self.container.clone(), exec_id: self.exec.clone(), ..Default::default() };
        self.client.delete(patience(), &request).await
    }

    /// The exit status.
    pub async fn delete(&self) -> u32 {
        self.try_delete().await.expect("deleted").exit_status
    }

    /// Ends a container and deletes it. For the end of a test on one thread: a shim that is dropped there has nobody left
    /// who would clear up.
    pub async fn remove(&self) {
        // One that has ended is as good.
        let _ = self.try_kill(9).await;
        self.wait().await;
        self.delete().await;
    }

    pub async fn try_state(&self) -> ttrpc::Result<StateResponse> {
        let request =
            StateRequest { id: self.container.clone(), exec_id: self.exec.clone(), ..Default::default() };
        self.client.state(patience(), &request).await
    }

    pub async fn status(&self) -> Status {
        self.try_state().await.expect("state").status()
    }

    /// The task's pids on the host.
    pub async fn pids(&self) -> Vec<u32> {
        let request = PidsRequest { id: self.container.clone(), ..Default::default() };
        let answer = self.client.pids(patience(), &request).await.expect("pids");
        answer.processes.iter().map(|process| process.pid).collect()
    }

    pub async fn close_stdin(&self) {
        let request = CloseIORequest {
            id: self.container.clone(),
            exec_id: self.exec.clone(),
            stdin: true,
            ..Default::default()
        };
        self.client.close_io(patience(), &request).await.expect("stdin closed");
    }

    pub async fn resize(&self, rows: u32, columns: u32) {
        let request = ResizePtyRequest {
            id: self.container.clone(),
            exec_id: self.exec.clone(),
            height: rows,
            width: columns,
            ..Default::default()
        };
        self.client.resize_pty(patience(), &request).await.expect("resized");
    }

    pub async fn try_pause(&self) -> ttrpc::Result<()> {
        let request = PauseRequest { id: self.container.clone(), ..Default::default() };
        self.client.pause(patience(), &request).await.map(drop)
    }

    pub async fn pause(&self) {
        self.try_pause().await.expect("paused");
    }

    pub async fn try_resume(&self) -> ttrpc::Result<()> {
        let request = ResumeRequest { id: self.container.clone(), ..Default::default() };
        self.client.resume(patience(), &request).await.map(drop)
    }

    pub async fn resume(&self) {
        self.try_resume().await.expect("resumed");
    }

    pub async fn try_stats(&self) -> ttrpc::Result<Metrics> {
        let request = StatsRequest { id: self.container.clone(), ..Default::default() };
        let answer = self.client.stats(patience(), &request).await?;
        Ok(Metrics::parse_from_bytes(&answer.stats.value).expect("cgroup v2 metrics"))
    }

    /// Bytes in use.
    pub async fn memory(&self) -> u64 {
        self.try_stats().await.expect("measured").memory.usage
    }

    pub async fn try_update(&self, resources: &Value) -> ttrpc::Result<()> {
        let value = resources.to_string().into_bytes();
        let resources = Any { value, ..Default::default() };
        let request = UpdateTaskRequest {
            id: self.container.clone(),
            resources: Some(resources).into(),
            ..Default::default()
        };
        self.client.update(patience(), &request).await.map(drop)
    }

    /// Adds an exec; it runs when it is started.
    pub async fn try_add(&self, id: &str, exec: &Exec) -> ttrpc::Result<Self> {
        let terminal = exec.process["terminal"] == json!(true);
        let fifos = Fifos::make(&self.directory, id, exec.stdin, terminal);
        let read = |path: &Option<PathBuf>| path.as_deref().filter(|_| exec.read).map(Reader::start);
        let (stdout, stderr) = (read(&fifos.stdout), read(&fifos.stderr));
        let request = ExecProcessRequest {
            id: self.container.clone(),
            exec_id: id.to_owned(),
            stdin: fifo::name(fifos.stdin.as_ref()),
            stdout: fifo::name(fifos.stdout.as_ref()),
            stderr: fifo::name(fifos.stderr.as_ref()),
            terminal,
            spec: Some(Any { value: exec.process.to_string().into_bytes(), ..Default::default() }).into(),
            ..Default::default()
        };
        self.client.exec(patience(), &request).await?;
        Ok(Self {
            client: self.client.clone(),
            container: self.container.clone(),
            exec: id.to_owned(),
            pid: self.pid,
            directory: self.directory.clone(),
            stdout,
            stderr,
            fifos,
        })
    }

    pub async fn add(&self, id: &str, exec: &Exec) -> Self {
        self.try_add(id, exec).await.expect("exec added")
    }

    /// Adds and starts.
    pub async fn exec(&self, id: &str, exec: &Exec) -> Self {
        let process = self.add(id, exec).await;
        process.start().await;
        process
    }

    /// What stdout had in all, once the process is deleted.
    pub async fn stdout(&mut self) -> Vec<u8> {
        self.stdout.take().expect("a read stdout").all().await
    }

    pub async fn stderr(&mut self) -> Vec<u8> {
        self.stderr.take().expect("a read stderr").all().await
    }

    /// Listens to stdout as it comes.
    pub fn listen(&self) -> Listener {
        Listener::open(self.fifos.stdout.as_deref().expect("stdout"))
    }

    /// A client that writes to stdin; it detaches when dropped. The process must have been started.
    pub fn attach(&self) -> std::fs::File {
        let stdin = self.fifos.stdin.as_ref().expect("stdin");
        std::fs::OpenOptions::new().write(true).open(stdin).unwrap()
    }
}
