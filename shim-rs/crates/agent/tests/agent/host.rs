// SPDX-License-Identifier: Apache-2.0
//! The host's end, for tests: an agent as a plain process over a socket pair, and a small root file system.
//!
//! Owns no expectations. A test skips itself (and says so) when it is not run by root.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use boxlite_protocol::agent::{
    ContainerRef, CreateContainerRequest, ExecRequest, ProcessRef, SignalRequest, StartContainerRequest,
    WaitResponse,
};
use boxlite_protocol::agent_ttrpc::AgentClient;
use boxlite_protocol::mux::{self, Incoming, Opener, Stream};
use boxlite_protocol::plan::{LaunchPlan, Process};
use boxlite_protocol::stream::{Kind, StreamName};
use boxlite_protocol::ttrpc::r#async::{Client, transport::Socket};
use boxlite_protocol::ttrpc::context::{Context, with_timeout};
use boxlite_protocol::{hello, ttrpc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::child::{Program, within};
use crate::qemu;

/// A machine boots in this time, emulated on a busy host.
const BOOT: Duration = Duration::from_secs(60);

const APPLETS: [&str; 20] = [
    "sh", "true", "false", "cat", "echo", "sleep", "id", "stty", "touch", "head", "ls", "kill", "tty", "env",
    "pwd", "ps", "date", "dd", "tail", "wc",
];

/// Streams of one process, as the host has them.
#[derive(Default)]
pub(crate) struct Io {
    pub(crate) stdin: Option<Stream>,
    pub(crate) stdout: Option<Stream>,
    pub(crate) stderr: Option<Stream>,
}

/// An agent at work.
pub(crate) struct Guest {
    pub(crate) client: AgentClient,
    pub(crate) opener: Opener,
    /// Streams the agent opens.
    pub(crate) relayed: tokio::sync::Mutex<Incoming>,
    pub(crate) share: tempfile::TempDir,
    agent: Program,
    driver: tokio::task::JoinHandle<Result<(), mux::MuxError>>,
    /// virtiofsd and what the machine's sockets lie in.
    machine: Option<(Program, tempfile::TempDir)>,
}

/// No call of a test takes longer, in nanoseconds.
pub(crate) fn patience() -> Context {
    with_timeout(20_000_000_000)
}

/// Whether this test can run here.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: containers can only be made by root");
    }
    root
}

fn busybox() -> PathBuf {
    let places = ["/bin/busybox", "/usr/bin/busybox"];
    places.iter().map(PathBuf::from).find(|path| path.exists()).expect("busybox-static is installed")
}

/// A root file system of busybox alone.
pub(crate) fn fill_rootfs(rootfs: &Path) {
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::copy(busybox(), rootfs.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv/web:/bin/sh\n")
        .unwrap();
    fs::write(rootfs.join("etc/plain"), "not a program\n").unwrap();
}

fn share() -> tempfile::TempDir {
    let share = tempfile::tempdir().unwrap();
    fill_rootfs(&share.path().join("c/rootfs"));
    share
}

impl Guest {
    /// Starts an agent and speaks first, as the shim does.
    pub(crate) async fn start() -> Self {
        let share = share();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let agent = Program::start(
            Command::new(env!("CARGO_BIN_EXE_boxlite-agent"))
                .args(["--fd", "0", "--cgroup", "", "--share"])
                .arg(share.path())
                .stdin(Stdio::from(OwnedFd::from(theirs))),
        );
        Self::greet(share, ours, agent, None).await
    }

    /// Boots a machine with `devices` beside what every machine has.
    pub(crate) async fn boot(devices: &[&str]) -> Self {
        let share = share();
        let work = tempfile::tempdir().unwrap();
        let virtiofsd = qemu::start_virtiofsd(share.path(), work.path());
        let (channel, qemu) = within(BOOT, "QEMU", qemu::start(work.path(), devices)).await;
        Self::greet(share, channel, qemu, Some((virtiofsd, work))).await
    }

    async fn greet(
        share: tempfile::TempDir,
        channel: UnixStream,
        agent: Program,
        machine: Option<(Program, tempfile::TempDir)>,
    ) -> Self {
        channel.set_nonblocking(true).unwrap();
        let mut channel = tokio::net::UnixStream::from_std(channel).unwrap();
        let mut bytes = [0; hello::LENGTH];
        within(BOOT, "the agent", channel.read_exact(&mut bytes)).await.unwrap();
        hello::check(bytes).unwrap();
        let (opener, relayed, driver) = mux::client(channel);
        let driver = tokio::spawn(driver);
        let control = opener.open(&StreamName::control()).await.unwrap();
        let client = AgentClient::new(Client::new(Socket::new(control)));
        let relayed = tokio::sync::Mutex::new(relayed);
        Self { client, opener, relayed, share, agent, driver, machine }
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.share.path().join("c/rootfs")
    }

    pub(crate) async fn open(&self, container: &str, exec: &str, process: &Process) -> Io {
        let open = async |wanted: bool, kind| match wanted {
            true => Some(self.opener.open(&StreamName::stdio(kind, container, exec)).await.unwrap()),
            false => None,
        };
        Io {
            stdin: open(process.stdin, Kind::Stdin).await,
            stdout: open(process.stdout, Kind::Stdout).await,
            stderr: open(process.stderr && !process.terminal, Kind::Stderr).await,
        }
    }

    pub(crate) async fn create(&self, plan: LaunchPlan) -> ttrpc::Result<Io> {
        let io = self.open(&plan.container_id, "", &plan.process).await;
        let request = CreateContainerRequest { plan: Some(plan).into(), ..Default::default() };
        let answer = self.client.create_container(patience(), &request).await?;
        assert!(answer.pid > 1);
        Ok(io)
    }

    pub(crate) async fn launch(&self, plan: LaunchPlan) -> ttrpc::Result<Io> {
        let id = plan.container_id.clone();
        let io = self.create(plan).await?;
        self.client.start_container(patience(), &start(&id)).await?;
        Ok(io)
    }

    pub(crate) async fn exec(&self, id: &str, exec: &str, process: Process) -> ttrpc::Result<Io> {
        let io = self.open(id, exec, &process).await;
        let request = ExecRequest {
            container_id: id.into(),
            exec_id: exec.into(),
            process: Some(process).into(),
            ..Default::default()
        };
        self.client.exec(patience(), &request).await?;
        Ok(io)
    }

    pub(crate) async fn wait(&self, id: &str, exec: &str) -> WaitResponse {
        let process = ProcessRef { container_id: id.into(), exec_id: exec.into(), ..Default::default() };
        self.client.wait(patience(), &process).await.unwrap()
    }

    pub(crate) async fn signal(&self, id: &str, exec: &str, signal: u32, all: bool) -> ttrpc::Result<()> {
        let request = SignalRequest {
            container_id: id.into(),
            exec_id: exec.into(),
            signal,
            all,
            ..Default::default()
        };
        self.client.signal(patience(), &request).await.map(drop)
    }

    pub(crate) async fn remove(&self, id: &str) {
        self.client.remove_container(patience(), &container(id)).await.unwrap();
    }

    /// Runs container "c" to its end: exit status, standard output, standard error.
    pub(crate) async fn run(&self, plan: LaunchPlan) -> (u32, String, String) {
        let id = plan.container_id.clone();
        let io = self.launch(plan).await.unwrap();
        let (output, error) = tokio::join!(read_all(io.stdout), read_all(io.stderr));
        let end = self.wait(&id, "").await;
        self.remove(&id).await;
        (end.exit_status, output, error)
    }

    /// Ends the channel; the agent's exit status.
    pub(crate) async fn end(mut self) -> Option<i32> {
        self.driver.abort();
        // Cancelled, and with it the channel is closed.
        let _ = self.driver.await;
        let code = self.agent.ended().await.code();
        if let Some((mut virtiofsd, _work)) = self.machine {
            // It ends with its machine.
            assert_eq!(virtiofsd.ended().await.code(), Some(0));
        }
        code
    }

    pub(crate) fn agent(&self) -> &Program {
        &self.agent
    }
}

pub(crate) fn start(id: &str) -> StartContainerRequest {
    StartContainerRequest { container_id: id.into(), ..Default::default() }
}

pub(crate) fn container(id: &str) -> ContainerRef {
    ContainerRef { container_id: id.into(), ..Default::default() }
}

pub(crate) async fn read_all(stream: Option<Stream>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).await.unwrap();
    }
    String::from_utf8(bytes).unwrap()
}

pub(crate) async fn send(stream: &mut Option<Stream>, text: &str) {
    let stream = stream.as_mut().unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// Reads until `wanted` has come; a test's timeout is the limit.
pub(crate) async fn read_until(stream: &mut Option<Stream>, wanted: &str) -> String {
    let stream = stream.as_mut().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let read = tokio::time::timeout(std::time::Duration::from_secs(20), stream.read(&mut buffer));
        let count = read.await.unwrap_or_else(|_| panic!("no {wanted:?} in {text:?}")).unwrap();
        assert!(count > 0, "no {wanted:?} in {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

/// The code and message of a refusal.
pub(crate) fn refusal<T>(result: ttrpc::Result<T>) -> (ttrpc::Code, String) {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => (status.code(), status.message().to_owned()),
        Err(other) => panic!("not a status: {other:?}"),
        Ok(_) => panic!("accepted"),
    }
}
