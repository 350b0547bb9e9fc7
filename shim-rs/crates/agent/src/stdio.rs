// SPDX-License-Identifier: Apache-2.0
//! Carries a process's bytes between its pipes or terminal and the streams the host opened.
//!
//! Owns one pump for each stream, each a task of its own: a reader who stops reading stops its stream and no other. An
//! output is carried until nobody is left who could write to it, whoever asked for it in the first place. A pump that
//! waits for something to carry holds no buffer: a thousand execs that say nothing are cheap.
//!
//! Order: [`connect`] makes the pipes, [`Ends::pump`] starts the copying once the process is there, and when it has
//! ended [`Pumps::whole`] waits for all there will be, or [`Pumps::written`] for what came before the end.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use boxlite_protocol::mux::Stream;
use boxlite_protocol::plan::Process;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::descriptor::{Watched, read_anew, write_all};
use crate::error::{Fault, Trying};
use crate::process::ChildStdio;
use crate::sys;

/// Bytes carried at once.
const CHUNK: usize = 64 << 10;

type Source = Arc<Watched>;

/// The streams the host opened for a process.
#[derive(Debug, Default)]
pub(crate) struct HostStreams {
    pub(crate) stdin: Option<Stream>,
    pub(crate) stdout: Option<Stream>,
    pub(crate) stderr: Option<Stream>,
}

/// The agent's ends of a process's pipes; none for a terminal, which comes later.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// What copies for one process.
#[derive(Debug, Default)]
pub(crate) struct Pumps {
    input: Option<JoinHandle<()>>,
    stdout: Option<Output>,
    stderr: Option<Output>,
}

/// What copies one output.
#[derive(Debug)]
struct Output {
    /// None for a terminal, which goes with its first process.
    pipe: Option<Source>,
    progress: watch::Receiver<Progress>,
    pump: JoinHandle<()>,
}

/// How far a pump is, in bytes.
#[derive(Debug, Default)]
struct Progress {
    /// From the process.
    taken: u64,
    /// Of these, to the stream.
    carried: u64,
}

/// How many bytes of each output were written before a process ended; none: all there will ever be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) stdout: Option<u64>,
    pub(crate) stderr: Option<u64>,
}

impl Written {
    pub(crate) const ALL: Self = Self { stdout: None, stderr: None };
}

/// Makes what `process` gets as its standard streams: pipes, /dev/null, or a terminal to be opened by itself.
pub(crate) fn connect(process: &Process) -> Result<(ChildStdio, Ends), Fault> {
    if process.terminal {
        return Ok((ChildStdio::Terminal, Ends::default()));
    }
    let (child_stdin, stdin) = pipe(process.stdin, Direction::In)?;
    let (child_stdout, stdout) = pipe(process.stdout, Direction::Out)?;
    let (child_stderr, stderr) = pipe(process.stderr, Direction::Out)?;
    let child = ChildStdio::Separate { stdin: child_stdin, stdout: child_stdout, stderr: child_stderr };
    Ok((child, Ends { stdin, stdout, stderr }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

fn pipe(wanted: bool, direction: Direction) -> Result<(OwnedFd, Option<OwnedFd>), Fault> {
    let what = || "pipe".to_owned();
    if !wanted {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        return Ok((null.trying(|| "open /dev/null".to_owned())?, None));
    }
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).trying(what)?;
    let (child, ours) = if direction == Direction::In { (reader, writer) } else { (writer, reader) };
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK).trying(what)?;
    Ok((child, Some(ours)))
}

impl Ends {
    /// Starts copying. `terminal` is the terminal's master, when the process has one.
    pub(crate) fn pump(self, streams: HostStreams, terminal: Option<Source>) -> Result<Pumps, Fault> {
        let what = || "watch standard streams".to_owned();
        let mut pumps = Pumps::default();
        if let Some(master) = terminal {
            if let Some(stream) = streams.stdin {
                pumps.input = Some(tokio::spawn(copy_in(stream, Arc::clone(&master))));
            }
            pumps.stdout = streams.stdout.map(|stream| Output::start(master, stream, false));
            return Ok(pumps);
        }
        if let (Some(fd), Some(stream)) = (self.stdin, streams.stdin) {
            pumps.input = Some(tokio::spawn(copy_in(stream, Arc::new(sys::watched(fd).trying(what)?))));
        }
        let output = |fd: Option<OwnedFd>, stream: Option<Stream>| match (fd, stream) {
            (Some(fd), Some(stream)) => {
                let pipe = Arc::new(sys::watched(fd).trying(what)?);
                Ok(Some(Output::start(pipe, stream, true)))
            }
            _ => Ok(None),
        };
        pumps.stdout = output(self.stdout, streams.stdout)?;
        pumps.stderr = output(self.stderr, streams.stderr)?;
        Ok(pumps)
    }
}

impl Pumps {
    /// Waits until all that was and will be written is in the streams, and these are closed.
    pub(crate) async fn whole(self) {
        self.stop_input();
        for output in [self.stdout, self.stderr].into_iter().flatten() {
            // A pump ends with its stream; it is not aborted by anybody and does not panic.
            let _ = output.pump.await;
        }
    }

    /// How much was written up to now, and a wait until that is in the streams. They stay open for others who hold the
    /// process's pipes; a terminal is taken from them.
    pub(crate) fn written(self) -> (Written, impl Future<Output = ()>) {
        self.stop_input();
        let written = Written {
            stdout: self.stdout.as_ref().and_then(Output::written),
            stderr: self.stderr.as_ref().and_then(Output::written),
        };
        let carried = async move {
            for (output, bytes) in [(self.stdout, written.stdout), (self.stderr, written.stderr)] {
                if let Some(output) = output {
                    output.carried(bytes).await;
                }
            }
        };
        (written, carried)
    }

    fn stop_input(&self) {
        if let Some(input) = &self.input {
            input.abort();
        }
    }
}

impl Output {
    fn start(source: Source, stream: Stream, is_pipe: bool) -> Self {
        let (sender, progress) = watch::channel(Progress::default());
        let pipe = is_pipe.then(|| Arc::clone(&source));
        Self { pipe, progress, pump: tokio::spawn(copy_out(source, stream, sender)) }
    }

    /// Taken and still in the pipe. Nothing runs between the two on the one thread.
    fn written(&self) -> Option<u64> {
        let pipe = self.pipe.as_ref()?;
        Some(self.progress.borrow().taken + rustix::io::ioctl_fionread(pipe.get_ref()).unwrap_or(0))
    }

    async fn carried(mut self, bytes: Option<u64>) {
        match bytes {
            // An error is the pump's end, or that of a stream that takes no more.
            Some(bytes) => drop(self.progress.wait_for(|progress| progress.carried >= bytes).await),
            None => drop(self.pump.await),
        }
    }
}

/// Host to process. The end of the stream closes a pipe; a terminal stays.
async fn copy_in(mut stream: Stream, sink: Source) {
    loop {
        match piece_of(&mut stream).await {
            Ok(piece) if !piece.is_empty() => {
                if write_all(&sink, &piece).await.is_err() {
                    // The process reads no more: dropping the stream tells the host.
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Process to host, until nobody is left who could write. A terminal reports its end as an error.
async fn copy_out(source: Source, mut stream: Stream, progress: watch::Sender<Progress>) {
    let mut taken = Vec::new();
    while let Ok(count @ 1..) = read_anew(&source, &mut taken, CHUNK).await {
        progress.send_modify(|progress| progress.taken += count as u64);
        if stream.write_all(&taken).await.is_err() {
            drop((stream, progress));
            // Who goes on writing must not be killed by it.
            return discard(&source, taken).await;
        }
        progress.send_modify(|progress| progress.carried = progress.taken);
    }
    // Fails when the channel does, and then everything ends.
    let _ = stream.shutdown().await;
}

async fn discard(source: &Source, mut taken: Vec<u8>) {
    while let Ok(1..) = read_anew(source, &mut taken, CHUNK).await {}
}

thread_local! {
    /// What is read from a stream until it has a place of its own. Nothing is in it between two reads.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// What is there, waiting for the first byte; empty at the end.
async fn piece_of(stream: &mut Stream) -> io::Result<Vec<u8>> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().to_vec()))
        })
    })
    .await
}
