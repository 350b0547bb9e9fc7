// SPDX-License-Identifier: Apache-2.0
//! containerd's place: a client of the Task API over a socket, a shim behind it in this very process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_protocol::protobuf::CodedOutputStream;
use boxlite_protocol::protobuf::well_known_types::any::Any;
use boxlite_protocol::ttrpc;
use boxlite_shim::bootstrap::services;
use boxlite_shim::container::Surroundings;
use boxlite_shim::service::Service;
use containerd_shim_protos::api::CreateTaskRequest;
use containerd_shim_protos::shim_async::{Client, TaskClient};
use containerd_shim_protos::ttrpc::Code;
use containerd_shim_protos::ttrpc::asynchronous::Server;
use containerd_shim_protos::ttrpc::context::{Context, with_duration};
use tempfile::TempDir;

use super::bundle::Bundle;
use super::events::Recorder;
use super::fifo::{self, Fifos, Reader};
use super::liar::Liar;
use super::machine::{FakeHost, Kind};
use super::process::Process;
use super::{PATIENCE, require_root};

pub const NAMESPACE: &str = "test";

/// One shim and its client. Everything it makes is below a directory that goes with it.
pub struct Shim {
    pub client: TaskClient,
    /// For calls by other names than the client's.
    pub connection: Client,
    pub service: Service,
    pub events: Recorder,
    pub host: Arc<FakeHost>,
    pub scratch: TempDir,
    _server: Server,
}

impl Drop for Shim {
    /// Ends the machines of tasks that were left running, and lets the shim clear up before the directory goes.
    fn drop(&mut self) {
        self.host.end_machines();
        let run = self.run_path().join(NAMESPACE);
        let is_empty = || std::fs::read_dir(&run).map_or(true, |mut entries| entries.next().is_none());
        let deadline = Instant::now() + Duration::from_secs(5);
        while !is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// No call takes longer.
pub fn patience() -> Context {
    with_duration(PATIENCE)
}

/// What a refused request was refused with.
pub fn refusal<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> (Code, String) {
    match answer {
        Err(ttrpc::Error::RpcStatus(status)) => (status.code(), status.message().to_owned()),
        other => panic!("not refused: {other:?}"),
    }
}

impl Shim {
    pub async fn start() -> Self {
        Self::with(Kind::Sound).await
    }

    pub async fn with(kind: Kind) -> Self {
        Self::on(FakeHost::new(kind)).await
    }

    /// A shim whose guests are `liar`.
    pub async fn lied_to_by(liar: &Liar) -> Self {
        Self::on(FakeHost::lying(liar.clone())).await
    }

    async fn on(host: FakeHost) -> Self {
        require_root();
        boxlite_shim::host_cgroup::remember_origin().unwrap();
        let scratch = tempfile::Builder::new().prefix("boxlite-test-").tempdir().unwrap();
        let events = Recorder::default();
        let host = Arc::new(host);
        let socket = scratch.path().join("shim.sock");
        let service = Service::new(Surroundings {
            namespace: NAMESPACE.to_owned(),
            socket: socket.clone(),
            host: host.clone(),
            events: Arc::new(events.clone()),
        });
        let address = format!("unix://{}", socket.display());
        let mut server = Server::new().bind(&address).unwrap().register_service(services(&service));
        server.start().await.unwrap();
        let connection = Client::connect(&address).await.unwrap();
        let client = TaskClient::new(connection.clone());
        Self { client, connection, service, events, host, scratch, _server: server }
    }

    /// `[paths] run`.
    pub fn run_path(&self) -> PathBuf {
        self.scratch.path().join("run")
    }

    /// The run directory of a task.
    pub fn run_directory(&self, id: &str) -> PathBuf {
        self.run_path().join(NAMESPACE).join(id)
    }

    pub fn bundle(&self, id: &str) -> Bundle {
        Bundle::make(self.scratch.path(), id)
    }

    pub fn request(&self, bundle: &Bundle, fifos: &Fifos) -> CreateTaskRequest {
        CreateTaskRequest {
            id: bundle.id.clone(),
            bundle: bundle.directory.display().to_string(),
            rootfs: bundle.mounts.clone(),
            stdin: fifo::name(fifos.stdin.as_ref()),
            stdout: fifo::name(fifos.stdout.as_ref()),
            stderr: fifo::name(fifos.stderr.as_ref()),
            terminal: bundle.terminal,
            options: Some(runtime_options(&self.run_path())).into(),
            ..Default::default()
        }
    }

    /// Writes the bundle's `config.json` and asks for the task.
    pub async fn try_create(&self, bundle: &Bundle) -> ttrpc::Result<Process> {
        bundle.write_config();
        let fifos = Fifos::make(&bundle.directory, "init", bundle.stdin, bundle.terminal);
        let read = |path: &Option<PathBuf>| path.as_deref().filter(|_| bundle.read).map(Reader::start);
        let (stdout, stderr) = (read(&fifos.stdout), read(&fifos.stderr));
        let process = self.try_create_from(bundle, self.request(bundle, &fifos)).await?;
        Ok(Process { fifos, stdout, stderr, ..process })
    }

    /// Asks for the task with a request of the test's own; its stdio is the test's affair.
    pub async fn try_create_from(
        &self,
        bundle: &Bundle,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<Process> {
        let answer = self.client.create(patience(), &request).await?;
        Ok(Process {
            client: self.client.clone(),
            container: bundle.id.clone(),
            exec: String::new(),
            pid: answer.pid,
            directory: bundle.directory.clone(),
            fifos: Fifos::default(),
            stdout: None,
            stderr: None,
        })
    }

    pub async fn create_from(&self, bundle: &Bundle, request: CreateTaskRequest) -> Process {
        self.try_create_from(bundle, request).await.expect("created")
    }

    pub async fn create(&self, bundle: &Bundle) -> Process {
        self.try_create(bundle).await.expect("created")
    }

    /// Creates and starts.
    pub async fn run(&self, bundle: &Bundle) -> Process {
        let process = self.create(bundle).await;
        process.start().await;
        process
    }
}

/// `runtimeoptions.v1.Options` with a configuration that keeps everything below `run`.
fn runtime_options(run: &Path) -> Any {
    let body = format!("[machine]\nnics = 1\n[paths]\nrun = \"{}\"\n", run.display());
    let mut value = Vec::new();
    let mut output = CodedOutputStream::vec(&mut value);
    output.write_string(3, &body).unwrap();
    output.flush().unwrap();
    drop(output);
    Any { type_url: "runtimeoptions.v1.Options".to_owned(), value, ..Default::default() }
}
