// SPDX-License-Identifier: Apache-2.0
//! The stdio of one process, between containerd's FIFOs and the streams of the channel.
//!
//! Owns opening both ends, the pumps between them, and when each ends:
//! - stdin ends only by [`Stdio::close_stdin`] (CloseIO); a writer that detaches and comes back goes on;
//! - an output has *drained* when what the process wrote is on this side, and is *finished* when the guest closed its
//!   stream and the FIFO has all of it. In between an exec's children may write.
//!
//! Order: [`Stdio::open`] before the process is created in the guest, [`Stdio::drained`] after it ended and before
//! the machine is, [`Stdio::finished`] before the task is deleted.

mod input;
mod logger;
mod output;
mod piece;
mod sink;

use std::time::Duration;

use boxlite_protocol::agent::WaitResponse;
use boxlite_protocol::mux::{MuxError, Opener, Stream, Vacancy};
use boxlite_protocol::stream::{Kind, StreamName};
use tokio::time::{Instant, timeout, timeout_at};

use self::input::Input;
use self::output::Output;
use self::sink::Sink;
use crate::error::{TaskError, chain};

/// A reader who makes no room for as long as this is not reading.
const STANDS_STILL: Duration = Duration::from_millis(500);

/// How long a guest may take to take a stream that is offered to it.
const TAKE: Duration = Duration::from_secs(10);

/// What containerd named in Create or Exec; empty is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StdioPaths {
    /// FIFO.
    pub stdin: String,
    /// FIFO, `file://` or `binary://`.
    pub stdout: String,
    /// Like stdout; not used with a terminal.
    pub stderr: String,
    /// One pseudo-terminal instead of three pipes.
    pub terminal: bool,
}

impl StdioPaths {
    /// Whether the guest must offer a stream of this kind.
    #[must_use]
    pub fn wants(&self, kind: Kind) -> bool {
        match kind {
            Kind::Control => false,
            Kind::Stdin => !self.stdin.is_empty(),
            Kind::Stdout => !self.stdout.is_empty(),
            Kind::Stderr => !self.terminal && !self.stderr.is_empty(),
        }
    }
}

/// How many bytes of each output were written before a process ended; `None`: all there will ever be.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    stdout: Option<u64>,
    stderr: Option<u64>,
}

impl Written {
    /// Whatever comes until the guest closes its streams.
    pub const ALL: Self = Self { stdout: None, stderr: None };

    /// As the guest says.
    #[must_use]
    pub fn by(answer: &WaitResponse) -> Self {
        Self { stdout: answer.stdout_bytes, stderr: answer.stderr_bytes }
    }
}

/// The running pumps of one process.
#[derive(Debug, Default)]
pub struct Stdio {
    input: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
}

/// Whose process it is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// containerd's namespace.
    pub namespace: &'a str,
    /// Container.
    pub container_id: &'a str,
    /// Empty: its first process.
    pub exec_id: &'a str,
}

impl Stdio {
    /// Opens the FIFOs, then a stream for each, and starts to pump.
    ///
    /// # Errors
    /// More streams than may be open, a FIFO that cannot be opened, a log URI that is not understood, or a guest that
    /// does not take a stream.
    pub async fn open(paths: &StdioPaths, opener: &Opener, owner: Owner<'_>) -> Result<Self, TaskError> {
        let wanted = [Kind::Stdin, Kind::Stdout, Kind::Stderr].map(|kind| paths.wants(kind));
        // Before anything is opened: a guest keeps what it was offered and nobody came for.
        let count = wanted.iter().filter(|wanted| **wanted).count();
        let mut room = opener.reserve(count).map_err(not_open)?;
        let mut stream = async |kind| match room.pop() {
            Some(vacancy) => {
                open_stream(vacancy, StreamName::stdio(kind, owner.container_id, owner.exec_id)).await
            }
            None => Err(not_open(MuxError::Closed)),
        };
        let [stdin, stdout, stderr] = wanted;
        let mut stdio = Self::default();
        if stdin {
            let fifo = input::Fifo::open(&paths.stdin)?;
            stdio.input = Some(Input::start(fifo, stream(Kind::Stdin).await?));
        }
        let sinks = Sink::open(
            stdout.then_some(paths.stdout.as_str()),
            stderr.then_some(paths.stderr.as_str()),
            owner,
        );
        let [to_stdout, to_stderr] = sinks.await?;
        // A log program has both, whatever is wanted.
        if let Some(sink) = to_stdout.filter(|_| stdout) {
            stdio.stdout = Some(Output::start(stream(Kind::Stdout).await?, sink));
        }
        if let Some(sink) = to_stderr.filter(|_| stderr) {
            stdio.stderr = Some(Output::start(stream(Kind::Stderr).await?, sink));
        }
        Ok(stdio)
    }

    /// The process reads end of file after what is in the FIFO now, once no other writer is left.
    pub fn close_stdin(&self) {
        if let Some(input) = &self.input {
            input.close();
        }
    }

    /// Waits until what was `written` is on this side and with those who read it, `deadline` for both. From here on a
    /// reader who does not read cannot hold the guest any more. One who does may close his end when he is told that the
    /// process has ended, as containerd's own client does.
    pub async fn drained(&mut self, written: Written, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        self.input = None;
        let mut outputs: Vec<_> = self.outputs(written).collect();
        for (output, bytes) in &outputs {
            output.stop_holding_back(*bytes);
        }
        let all = async {
            for (output, bytes) in &mut outputs {
                output.drained(*bytes).await;
            }
        };
        if timeout_at(deadline, all).await.is_err() {
            tracing::warn!("the guest was not done with its output in time, the rest is dropped");
        }
        let all = async {
            for (output, bytes) in &mut outputs {
                output.handed_over(*bytes, STANDS_STILL).await;
            }
        };
        // One who is slow for longer has it later.
        let _ = timeout_at(deadline, all).await;
    }

    /// Waits until the readers have everything, at most `deadline`; then their FIFOs are closed.
    pub async fn finished(&mut self, deadline: Duration) {
        let all = async {
            for (output, _) in self.outputs(Written::ALL) {
                output.finished().await;
            }
        };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!("a reader left output unread, or a child of the process goes on writing");
        }
        (self.stdout, self.stderr) = (None, None);
    }

    fn outputs(&mut self, written: Written) -> impl Iterator<Item = (&mut Output, Option<u64>)> {
        let both = [(&mut self.stdout, written.stdout), (&mut self.stderr, written.stderr)];
        both.into_iter().filter_map(|(output, bytes)| Some((output.as_mut()?, bytes)))
    }
}

async fn open_stream(vacancy: Vacancy, name: StreamName) -> Result<Stream, TaskError> {
    match timeout(TAKE, vacancy.open(&name)).await {
        Ok(stream) => stream.map_err(not_open),
        Err(_) => Err(TaskError::MachineGone {
            why: format!("the guest did not take a stream within {} s", TAKE.as_secs()),
            console: String::new(),
        }),
    }
}

fn not_open(error: MuxError) -> TaskError {
    match error {
        MuxError::Full { limit } => TaskError::Exhausted {
            what: "streams",
            limit,
            hint: "a process of the container has up to three: let others end first",
        },
        other => TaskError::MachineGone {
            why: format!("a stream to its guest cannot be opened: {}", chain(&other)),
            console: String::new(),
        },
    }
}
