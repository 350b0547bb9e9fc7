// SPDX-License-Identifier: Apache-2.0
//! An agent that does as its test says: it refuses, keeps silent, ends what it likes and keeps streams open.
//!
//! Runs in the test's own process, at the other end of the channel of a machine that does nothing. What it was asked is
//! remembered, as words: "stats", "signal 9".

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use boxlite_protocol::agent::{
    ConfigureRequest, ConfigureResponse, ContainerRef, CreateContainerRequest, CreateContainerResponse,
    Empty, Event, ExecRequest, ExecResponse, ProcessRef, ResizeRequest, SetClockRequest, SignalRequest,
    StartContainerRequest, StatsResponse, UpdateRequest, WaitResponse,
};
use boxlite_protocol::agent_ttrpc::{Agent, create_agent};
use boxlite_protocol::mux::{self, Stream};
use boxlite_protocol::network::Network;
use boxlite_protocol::plan::CgroupFile;
use boxlite_protocol::stream::{Kind, StreamName};
use boxlite_protocol::ttrpc;
use boxlite_protocol::ttrpc::asynchronous::transport::Listener;
use boxlite_protocol::ttrpc::asynchronous::{Server, TtrpcContext};
use boxlite_protocol::{hello, ttrpc::Code};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::soon;

/// What it does.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// Calls that are never answered.
    pub silent: BTreeSet<&'static str>,
    /// Calls that are refused.
    pub refuses: BTreeSet<&'static str>,
    /// Processes that have ended, by exec id; the first one's is empty. No status: its Wait is refused.
    pub ended: BTreeMap<String, Option<u32>>,
    /// Streams of processes that have ended stay open.
    pub keeps_streams: bool,
    /// It reports that the kernel killed in the container as often as it is asked.
    pub floods: bool,
    /// "memory.current".
    pub memory: u64,
}

/// The agent. Clones are the same.
#[derive(Clone)]
pub struct Liar(Arc<Inner>);

struct Inner {
    manners: watch::Sender<Manners>,
    asked: watch::Sender<Vec<String>>,
    streams: Mutex<BTreeMap<StreamName, Stream>>,
    control: Mutex<Vec<JoinHandle<()>>>,
    channel: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Liar").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Liar {
    pub fn new(manners: Manners) -> Self {
        Self(Arc::new(Inner {
            manners: watch::Sender::new(manners),
            asked: watch::Sender::default(),
            streams: Mutex::default(),
            control: Mutex::default(),
            channel: Mutex::default(),
        }))
    }

    pub fn change(&self, change: impl FnOnce(&mut Manners)) {
        self.0.manners.send_modify(change);
    }

    /// Leaves a kind of call unanswered from here on.
    pub fn silence(&self, call: &'static str) {
        self.change(|manners| {
            manners.silent.insert(call);
        });
    }

    /// Has a process end, unless it has; without a status its Wait is refused. The first one has no exec id.
    pub fn end(&self, exec_id: &str, status: Option<u32>) {
        self.change(|manners| {
            manners.ended.entry(exec_id.to_owned()).or_insert(status);
        });
    }

    /// How often it was asked this.
    pub fn times_asked(&self, words: &str) -> usize {
        self.0.asked.borrow().iter().filter(|asked| *asked == words).count()
    }

    /// Waits until it was asked this.
    pub async fn asked(&self, words: &str) {
        let mut asked = self.0.asked.subscribe();
        let heard = asked.wait_for(|asked| asked.iter().any(|asked| asked == words));
        soon(words, heard).await.expect("the liar lives");
    }

    /// Takes an end of a channel, and gives what a process may have instead.
    pub fn take(&self, channel: StdUnixStream) -> std::io::Result<OwnedFd> {
        channel.set_nonblocking(true)?;
        let channel = UnixStream::from_std(channel)?;
        let serving = tokio::spawn(self.clone().serve(channel));
        *lock(&self.0.channel) = Some(serving);
        Ok(File::open("/dev/null")?.into())
    }

    /// The channel ends.
    pub fn hang_up(&self) {
        if let Some(serving) = lock(&self.0.channel).take() {
            serving.abort();
        }
        self.cut_control();
        lock(&self.0.streams).clear();
    }

    /// The control stream ends, and the channel does not.
    pub fn cut_control(&self) {
        for carrying in lock(&self.0.control).drain(..) {
            carrying.abort();
        }
    }

    async fn serve(self, mut channel: UnixStream) {
        channel.write_all(&hello::encode()).await.expect("the shim listens");
        let (opener, mut incoming, driver) = mux::server(channel);
        let (controls, mut control) = mpsc::unbounded_channel();
        let listener = futures_stream(move |context| control.poll_recv(context));
        let service = create_agent(Arc::new(self.clone()));
        let mut server = Server::new().add_listener(Listener::new(listener)).register_service(service);
        server.start().await.expect("a server");
        let accept = async {
            while let Some(mut stream) = incoming.recv().await {
                let Ok(name) = StreamName::read(&mut stream).await else { continue };
                if name.kind != Kind::Control {
                    lock(&self.0.streams).insert(name, stream);
                    continue;
                }
                let (near, mut far) = tokio::io::duplex(64 << 10);
                controls.send(near).expect("the server lives");
                let carrying =
                    async move { drop(tokio::io::copy_bidirectional(&mut stream, &mut far).await) };
                lock(&self.0.control).push(tokio::spawn(carrying));
            }
        };
        let (_, _) = tokio::join!(accept, driver);
        drop(opener);
    }

    /// Remembers a call, and answers as it is to.
    async fn hear(&self, call: &'static str, words: String) -> ttrpc::Result<()> {
        self.0.asked.send_modify(|asked| asked.push(words));
        let manners = self.0.manners.borrow().clone();
        if manners.silent.contains(call) {
            std::future::pending::<()>().await;
        }
        match manners.refuses.contains(call) {
            true => Err(refusal(call)),
            false => Ok(()),
        }
    }

    fn let_go(&self, exec_id: &str) {
        if !self.0.manners.borrow().keeps_streams {
            lock(&self.0.streams).retain(|name, _| name.exec_id != exec_id);
        }
    }
}

fn refusal(call: &str) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(Code::FAILED_PRECONDITION, format!("no {call} today")))
}

/// What a listener takes: a stream of connections.
fn futures_stream<T>(
    poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>>,
) -> impl futures::Stream<Item = std::io::Result<T>> {
    let mut poll = poll;
    futures::stream::poll_fn(move |context| poll(context).map(|item| item.map(Ok)))
}

#[async_trait]
impl Agent for Liar {
    async fn configure(&self, _: &TtrpcContext, _: ConfigureRequest) -> ttrpc::Result<ConfigureResponse> {
        self.hear("configure", "configure".to_owned()).await.map(|()| ConfigureResponse::default())
    }

    async fn connect_network(&self, _: &TtrpcContext, _: Network) -> ttrpc::Result<Empty> {
        self.hear("network", "network".to_owned()).await.map(|()| Empty::default())
    }

    async fn create_container(
        &self,
        _: &TtrpcContext,
        _: CreateContainerRequest,
    ) -> ttrpc::Result<CreateContainerResponse> {
        self.hear("create", "create".to_owned()).await.map(|()| CreateContainerResponse::default())
    }

    async fn start_container(&self, _: &TtrpcContext, _: StartContainerRequest) -> ttrpc::Result<Empty> {
        self.hear("start", "start".to_owned()).await.map(|()| Empty::default())
    }

    async fn set_clock(&self, _: &TtrpcContext, _: SetClockRequest) -> ttrpc::Result<Empty> {
        self.hear("clock", "clock".to_owned()).await.map(|()| Empty::default())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecRequest) -> ttrpc::Result<ExecResponse> {
        self.hear("exec", format!("exec {}", request.exec_id)).await.map(|()| ExecResponse::default())
    }

    async fn wait(&self, _: &TtrpcContext, request: ProcessRef) -> ttrpc::Result<WaitResponse> {
        self.hear("wait", format!("wait {}", request.exec_id)).await?;
        let mut manners = self.0.manners.subscribe();
        let known = manners.wait_for(|manners| manners.ended.contains_key(&request.exec_id)).await;
        let status = known.expect("the liar lives").ended.get(&request.exec_id).copied().flatten();
        self.let_go(&request.exec_id);
        let exit_status = status.ok_or_else(|| refusal("wait"))?;
        Ok(WaitResponse { exit_status, ..Default::default() })
    }

    async fn signal(&self, _: &TtrpcContext, request: SignalRequest) -> ttrpc::Result<Empty> {
        self.hear("signal", format!("signal {}", request.signal)).await?;
        if request.signal == 9 {
            self.end(&request.exec_id, Some(137));
        }
        Ok(Empty::default())
    }

    async fn resize(&self, _: &TtrpcContext, request: ResizeRequest) -> ttrpc::Result<Empty> {
        let words = format!("resize {} {}", request.rows, request.columns);
        self.hear("resize", words).await.map(|()| Empty::default())
    }

    async fn stats(&self, _: &TtrpcContext, _: ContainerRef) -> ttrpc::Result<StatsResponse> {
        self.hear("stats", "stats".to_owned()).await?;
        let value = self.0.manners.borrow().memory.to_string();
        let file = CgroupFile { name: "memory.current".to_owned(), value, ..Default::default() };
        Ok(StatsResponse { files: vec![file], ..Default::default() })
    }

    async fn update(&self, _: &TtrpcContext, _: UpdateRequest) -> ttrpc::Result<Empty> {
        self.hear("update", "update".to_owned()).await.map(|()| Empty::default())
    }

    async fn next_event(&self, _: &TtrpcContext, _: Empty) -> ttrpc::Result<Event> {
        if !self.0.manners.borrow().floods {
            std::future::pending::<()>().await;
        }
        Ok(Event { oom_container_id: "another".to_owned(), ..Default::default() })
    }
}
