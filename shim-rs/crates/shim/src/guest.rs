// SPDX-License-Identifier: Apache-2.0
//! The guest as the shim sees it: the agent's calls with deadlines, and everything it says checked before use.
//!
//! Owns the hello, the multiplexed channel and the control stream. Does not own the machine: when that ends, every
//! call fails, and the task finds out why.
//!
//! Rules for what comes from a guest (it may be hostile): ids in answers are never used to find anything, texts lose
//! their control characters and are bounded, codes are passed on only from a short list, every call but `wait` and
//! `next_event` has a deadline.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use boxlite_protocol::agent::{
    ConfigureRequest, ContainerRef, CreateContainerRequest, Empty, Event, ExecRequest, ProcessRef,
    ProcessesResponse, ResizeRequest, SetClockRequest, SignalRequest, StartContainerRequest, StatsResponse,
    UpdateRequest, WaitResponse,
};
use boxlite_protocol::agent_ttrpc::AgentClient;
use boxlite_protocol::mux::{self, Incoming, Opener};
use boxlite_protocol::network::Network;
use boxlite_protocol::plan::{CgroupFile, LaunchPlan, Process};
use boxlite_protocol::stream::StreamName;
use boxlite_protocol::ttrpc::asynchronous::Client;
use boxlite_protocol::ttrpc::asynchronous::transport::Socket;
use boxlite_protocol::ttrpc::context::{Context, with_duration};
use boxlite_protocol::{hello, ttrpc};
use containerd_shim_protos::ttrpc::Code;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::error::TaskError;

/// A call that does little work in the guest. Generous: two cores may carry twenty emulated guests.
const QUICK: Duration = Duration::from_secs(10);
/// A call that mounts, forks and executes.
const SLOW: Duration = Duration::from_secs(60);
/// Random bytes a guest is given.
const ENTROPY: usize = 64;
/// Longest text of the guest's that is passed on, in characters.
const MAX_TEXT: usize = 1024;

/// Whether the guest still has to introduce itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// It boots, and says hello when it is up.
    Expected,
    /// It was restored, and said it before it was saved.
    SaidBefore,
}

/// A connected guest.
#[derive(Clone)]
pub struct Guest {
    agent: AgentClient,
    opener: Opener,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guest").finish_non_exhaustive()
    }
}

impl Guest {
    /// Waits for the guest to be up and opens the control stream. Also gives the streams the guest opens.
    ///
    /// # Errors
    /// A channel that ends, or something at its end that is not our agent.
    pub async fn connect(channel: StdUnixStream, greeting: Greeting) -> Result<(Self, Incoming), TaskError> {
        channel.set_nonblocking(true).map_err(TaskError::launch("preparing the channel"))?;
        let mut channel =
            UnixStream::from_std(channel).map_err(TaskError::launch("preparing the channel"))?;
        if greeting == Greeting::Expected {
            let mut bytes = [0; hello::LENGTH];
            channel
                .read_exact(&mut bytes)
                .await
                .map_err(TaskError::launch("waiting for the guest's agent"))?;
            hello::check(bytes).map_err(TaskError::launch("greeting the guest's agent"))?;
        }
        let (opener, incoming, driver) = mux::client(channel);
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "channel ended");
            }
        });
        let control = opener
            .open(&StreamName::control())
            .await
            .map_err(TaskError::launch("opening the control stream"))?;
        Ok((Self { agent: AgentClient::new(Client::new(Socket::new(control))), opener }, incoming))
    }

    /// Connects to a guest that goes on from a template, and has it answer once: its clock stood still with it, so that
    /// is set. `within`: how long it may take, not counted what `waited` says others kept it from running.
    ///
    /// # Errors
    /// No answer in time, or none that is one.
    pub async fn awake(
        channel: StdUnixStream,
        within: Duration,
        waited: impl Fn() -> Duration,
    ) -> Result<(Self, Incoming), TaskError> {
        let (guest, incoming) = Self::connect(channel, Greeting::SaidBefore).await?;
        let (began, before) = (Instant::now(), waited());
        let mut answer = std::pin::pin!(guest.set_clock_within(SLOW));
        let mut left = within;
        while !left.is_zero() {
            if let Ok(answered) = tokio::time::timeout(left, &mut answer).await {
                return answered.map(|()| (guest.clone(), incoming));
            }
            // On a host with more machines than processors, most of the time is others'.
            left = (within + waited().saturating_sub(before)).saturating_sub(began.elapsed());
        }
        Err(TaskError::MachineGone {
            why: format!("the guest did not answer within {} ms of its restore", within.as_millis()),
            console: String::new(),
        })
    }

    /// For the stdio of a process.
    #[must_use]
    pub fn opener(&self) -> &Opener {
        &self.opener
    }

    /// First call: see `ConfigureRequest`.
    pub async fn configure(&self, request: &ConfigureRequest) -> Result<(), TaskError> {
        self.agent.configure(with_duration(SLOW), request).await.map(drop).map_err(|e| failed(&e))
    }

    /// Repeats the engine's network in the guest.
    pub async fn connect_network(&self, network: &Network) -> Result<(), TaskError> {
        self.agent.connect_network(with_duration(SLOW), network).await.map(drop).map_err(|e| failed(&e))
    }

    /// Builds the container up to its first process.
    pub async fn create(&self, plan: LaunchPlan) -> Result<(), TaskError> {
        let request = CreateContainerRequest { plan: Some(plan).into(), ..Default::default() };
        self.agent.create_container(with_duration(SLOW), &request).await.map(drop).map_err(|e| failed(&e))
    }

    /// Sets the guest's clock to the host's.
    pub async fn set_clock(&self) -> Result<(), TaskError> {
        self.set_clock_within(QUICK).await
    }

    async fn set_clock_within(&self, deadline: Duration) -> Result<(), TaskError> {
        let request = SetClockRequest { realtime_ns: realtime_ns(), ..Default::default() };
        self.agent.set_clock(with_duration(deadline), &request).await.map(drop).map_err(|e| failed(&e))
    }

    /// Lets the first process execute.
    pub async fn start(&self, container_id: &str) -> Result<(), TaskError> {
        let request = StartContainerRequest {
            container_id: container_id.to_owned(),
            realtime_ns: realtime_ns(),
            ..Default::default()
        };
        self.agent.start_container(with_duration(SLOW), &request).await.map(drop).map_err(|e| failed(&e))
    }

    /// Starts another process.
    pub async fn exec(&self, container_id: &str, exec_id: &str, process: Process) -> Result<(), TaskError> {
        let request = ExecRequest {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            process: Some(process).into(),
            ..Default::default()
        };
        self.agent.exec(with_duration(SLOW), &request).await.map(drop).map_err(|e| failed(&e))
    }

    /// Answers when the process has ended; no deadline.
    pub async fn wait(&self, container_id: &str, exec_id: &str) -> Result<WaitResponse, TaskError> {
        let request = ProcessRef {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            ..Default::default()
        };
        let mut answer = self.agent.wait(Context::default(), &request).await.map_err(|e| failed(&e))?;
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
        self.agent.signal(with_duration(QUICK), &request).await.map(drop).map_err(|e| failed(&e))
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
        self.agent.resize(with_duration(QUICK), &request).await.map(drop).map_err(|e| failed(&e))
    }

    /// The container's cgroup files.
    pub async fn stats(&self, container_id: &str) -> Result<StatsResponse, TaskError> {
        self.agent.stats(with_duration(QUICK), &container(container_id)).await.map_err(|e| failed(&e))
    }

    /// Writes cgroup files.
    pub async fn update(&self, container_id: &str, files: Vec<CgroupFile>) -> Result<(), TaskError> {
        let request = UpdateRequest { container_id: container_id.to_owned(), files, ..Default::default() };
        self.agent.update(with_duration(QUICK), &request).await.map(drop).map_err(|e| failed(&e))
    }

    /// What runs in the container.
    pub async fn processes(&self, container_id: &str) -> Result<ProcessesResponse, TaskError> {
        self.agent.processes(with_duration(QUICK), &container(container_id)).await.map_err(|e| failed(&e))
    }

    /// Answers when something happened; no deadline.
    pub async fn next_event(&self) -> Result<Event, TaskError> {
        self.agent.next_event(Context::default(), &Empty::default()).await.map_err(|e| failed(&e))
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

fn failed(error: &ttrpc::Error) -> TaskError {
    match error {
        ttrpc::Error::RpcStatus(status) => {
            let code = match status.code() {
                code @ (Code::INVALID_ARGUMENT
                | Code::NOT_FOUND
                | Code::ALREADY_EXISTS
                | Code::FAILED_PRECONDITION
                | Code::UNIMPLEMENTED) => code,
                Code::DEADLINE_EXCEEDED => {
                    return TaskError::MachineGone {
                        why: "the guest did not answer in time".to_owned(),
                        console: String::new(),
                    };
                }
                _ => Code::UNKNOWN,
            };
            TaskError::Guest { code, message: clean(status.message()) }
        }
        other => {
            TaskError::MachineGone { why: format!("the channel failed: {other}"), console: String::new() }
        }
    }
}

/// Text of a guest's that may go into a log, an error or a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_text_cannot_drive_a_terminal() {
        assert_eq!(clean("exec \u{1b}[2Jfoo\r\n"), "exec  [2Jfoo  ");
        assert_eq!(clean(&"x".repeat(5000)).len(), MAX_TEXT);
    }

    #[test]
    fn a_guest_cannot_choose_any_code() {
        let status = ttrpc::get_status(Code::CANCELLED, "x");
        let TaskError::Guest { code, .. } = failed(&ttrpc::Error::RpcStatus(status)) else {
            panic!("not the guest's")
        };
        assert_eq!(code, Code::UNKNOWN);
    }

    #[tokio::test]
    async fn a_guest_that_never_wakes_is_given_up_in_time() {
        let (near, _far) = StdUnixStream::pair().unwrap();
        let began = std::time::Instant::now();
        let error = Guest::awake(near, Duration::from_millis(50), || Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("did not answer within 50 ms"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_guest_that_is_kept_from_running_has_longer() {
        let (near, _far) = StdUnixStream::pair().unwrap();
        let began = std::time::Instant::now();
        // Nine tenths of the time belong to others.
        let waited = || began.elapsed() * 9 / 10;
        Guest::awake(near, Duration::from_millis(50), waited).await.unwrap_err();
        assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn noise_instead_of_hello_is_an_error() {
        use std::io::Write;
        let (near, mut far) = StdUnixStream::pair().unwrap();
        far.write_all(b"Linux version 6.12").unwrap();
        let error = Guest::connect(near, Greeting::Expected).await.unwrap_err();
        assert!(crate::error::chain(&error).contains("not an agent's hello"), "{error}");
    }
}
