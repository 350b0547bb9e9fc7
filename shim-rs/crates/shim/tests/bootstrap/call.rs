// SPDX-License-Identifier: Apache-2.0
//! Calls of the program, and the server that a `start` leaves behind.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use boxlite_protocol::protobuf::Message;
use boxlite_protocol::ttrpc;
use containerd_shim_protos::api::{ConnectRequest, ConnectResponse, Empty, ShutdownRequest};
use containerd_shim_protos::shim_async::Client;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use tempfile::TempDir;

pub(crate) const V2: &str = "containerd.task.v2.Task";
pub(crate) const V3: &str = "containerd.task.v3.Task";
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_containerd-shim-boxlite-v1");
const PATIENCE: Duration = Duration::from_secs(20);

/// A bundle, in which the program is called, and what it is called with.
pub(crate) struct Call {
    pub(crate) bundle: TempDir,
    pub(crate) id: String,
    /// Comes before the program, as `setpriv` does.
    pub(crate) wrapper: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) stdin: Vec<u8>,
}

impl Call {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "the shim's sockets are root's: run its tests as root");
        let bundle = tempfile::Builder::new().prefix("boxlite-test-").tempdir().unwrap();
        std::fs::write(bundle.path().join("config.json"), "{}").unwrap();
        let ttrpc = bundle.path().join("containerd.sock.ttrpc");
        let environment = vec![("TTRPC_ADDRESS".to_owned(), ttrpc.display().to_string())];
        Self { bundle, id: "c".to_owned(), wrapper: Vec::new(), environment, stdin: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn stdin(mut self, message: &impl Message) -> Self {
        self.stdin = message.write_to_bytes().unwrap();
        self
    }

    /// Runs one action to its end. The address of containerd is in the bundle, so the shim's socket is this test's own.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let address = self.bundle.path().join("containerd.sock");
        let mut words = self.wrapper.iter().map(String::as_str).chain([PROGRAM]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .args(["-namespace", "test", "-address", address.to_str().unwrap(), "-id", &self.id])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.environment.iter().cloned())
            .current_dir(self.bundle.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&self.stdin).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs `start`; what it answered. Returns only when nobody holds its stdout, so the server does not.
    pub(crate) fn start(&self) -> Vec<u8> {
        // The server is left behind by its parent and comes to this process, which can see it end.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let output = self.run(&["start"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// What an action that must fail said.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }
}

/// A running server. Ended with SIGKILL when the test did not end it.
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    pub(crate) pid: Pid,
    client: Client,
    ended: bool,
}

impl Server {
    /// Connects to what `start` answered.
    pub(crate) async fn connect(address: &str) -> Self {
        let socket = PathBuf::from(address.strip_prefix("unix://").expect("a socket by path"));
        let client = Client::connect(address).await.unwrap();
        let answer: ConnectResponse = request(&client, V3, "Connect", &connect()).await.unwrap();
        let pid = Pid::from_raw(answer.shim_pid.try_into().unwrap()).unwrap();
        Self { socket, pid, client, ended: false }
    }

    pub(crate) async fn call<T: Message>(
        &self,
        service: &str,
        method: &str,
        message: &impl Message,
    ) -> ttrpc::Result<T> {
        request(&self.client, service, method, message).await
    }

    /// Asks for the end and sees it: the process, its status and its socket.
    pub(crate) async fn shut_down(mut self) {
        let shutdown = ShutdownRequest { id: "c".into(), ..Default::default() };
        // The answer may be lost to the end it asks for.
        let _ = self.call::<Empty>(V3, "Shutdown", &shutdown).await;
        let pid = self.pid;
        let wait = move || rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
        let waited = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(wait)).await;
        let status = waited.expect("the server ends").unwrap().unwrap().unwrap();
        self.ended = true;
        assert_eq!(status.exit_status(), Some(0));
        assert!(!self.socket.exists());
    }

    pub(crate) fn kill(mut self) -> PathBuf {
        self.end();
        self.socket.clone()
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
            let _ = rustix::process::waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

pub(crate) fn connect() -> ConnectRequest {
    ConnectRequest { id: "c".into(), ..Default::default() }
}

async fn request<T: Message>(
    client: &Client,
    service: &str,
    method: &str,
    message: &impl Message,
) -> ttrpc::Result<T> {
    let request = ttrpc::Request {
        service: service.to_owned(),
        method: method.to_owned(),
        payload: message.write_to_bytes().unwrap(),
        timeout_nano: i64::try_from(PATIENCE.as_nanos()).unwrap(),
        ..Default::default()
    };
    let response = client.request(request).await?;
    Ok(T::parse_from_bytes(&response.payload).unwrap())
}

/// Where containerd expects a shim's socket that it did not place itself.
pub(crate) const SOCKETS: &str = "/run/containerd/s";

pub(crate) fn is_below(path: &Path, directory: &str) -> bool {
    path.parent() == Some(Path::new(directory))
}
