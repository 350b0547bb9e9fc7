// SPDX-License-Identifier: Apache-2.0
//! Carries a process's bytes between its pipes or terminal and the streams the host opened.
//!
//! Owns one pump for each stream, each a task of its own: a reader who stops reading stops its stream and no other.
//! Order: [`connect`] makes the pipes, [`Ends::pump`] starts the copying once the process is there, and
//! [`Pumps::finish`] is awaited when it has ended.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use boxlite_protocol::mux::Stream;
use boxlite_protocol::plan::Process;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::descriptor::{Watched, read_some, write_all};
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
#[derive(Debug)]
pub(crate) struct Pumps {
    input: Option<JoinHandle<()>>,
    output: Vec<JoinHandle<()>>,
    ended: watch::Sender<bool>,
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
        let (ended, _) = watch::channel(false);
        let mut pumps = Pumps { input: None, output: Vec::new(), ended };
        if let Some(master) = terminal {
            if let Some(stream) = streams.stdin {
                pumps.input = Some(tokio::spawn(copy_in(stream, Arc::clone(&master))));
            }
            if let Some(stream) = streams.stdout {
                pumps.output.push(tokio::spawn(copy_out(master, stream)));
            }
            return Ok(pumps);
        }
        if let (Some(fd), Some(stream)) = (self.stdin, streams.stdin) {
            pumps.input = Some(tokio::spawn(copy_in(stream, Arc::new(sys::watched(fd).trying(what)?))));
        }
        for (fd, stream) in [(self.stdout, streams.stdout), (self.stderr, streams.stderr)] {
            if let (Some(fd), Some(stream)) = (fd, stream) {
                let source = Arc::new(sys::watched(fd).trying(what)?);
                pumps.output.push(tokio::spawn(copy_pipe(source, stream, pumps.ended.subscribe())));
            }
        }
        Ok(pumps)
    }
}

impl Pumps {
    /// Waits until what the process wrote is in the streams and these are closed. With `others_live`, somebody
    /// else may hold its pipes open: then only what is in them now is carried.
    pub(crate) async fn finish(self, others_live: bool) {
        if let Some(input) = self.input {
            input.abort();
        }
        if others_live {
            self.ended.send_replace(true);
        }
        for output in self.output {
            // A pump ends with its stream; it is not aborted by anybody and does not panic.
            let _ = output.await;
        }
    }
}

/// Host to process. The end of the stream closes a pipe; a terminal stays.
async fn copy_in(mut stream: Stream, sink: Source) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if write_all(&sink, &buffer[..count]).await.is_err() {
            // The process reads no more: dropping the stream tells the host.
            return;
        }
    }
}

/// Process to host, to the end. A terminal reports its end as an error.
async fn copy_out(source: Source, mut stream: Stream) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = read_some(&source, &mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            discard(&source, &mut buffer).await;
            return;
        }
    }
    // Fails when the channel does, and then everything ends.
    let _ = stream.shutdown().await;
}

/// As [`copy_out`]; when the process has ended while others hold its pipe, only what is in it at that moment.
async fn copy_pipe(source: Source, mut stream: Stream, mut ended: watch::Receiver<bool>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            read = read_some(&source, &mut buffer), if !has_ended(&ended) => Some(read.unwrap_or(0)),
            // An error means that the pumps were let go of, which happens only at the end.
            _ = ended.changed() => None,
        };
        let Some(count) = read else { break carry_rest(&source, &mut stream, &mut buffer).await };
        if count == 0 {
            break;
        }
        if stream.write_all(&buffer[..count]).await.is_err() {
            return discard(&source, &mut buffer).await;
        }
    }
    let _ = stream.shutdown().await;
    drop(stream);
    // What still holds the other end must not be killed by writing to it.
    tokio::spawn(async move { discard(&source, &mut buffer).await });
}

fn has_ended(ended: &watch::Receiver<bool>) -> bool {
    *ended.borrow()
}

async fn carry_rest(source: &Source, stream: &mut Stream, buffer: &mut [u8]) {
    let mut left = rustix::io::ioctl_fionread(source.get_ref()).unwrap_or(0);
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(CHUNK));
        let Ok(count @ 1..) = rustix::io::read(source.get_ref(), &mut buffer[..wanted]) else { return };
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        left = left.saturating_sub(count as u64);
    }
}

async fn discard(source: &Source, buffer: &mut [u8]) {
    while let Ok(1..) = read_some(source, buffer).await {}
}
