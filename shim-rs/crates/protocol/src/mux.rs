// SPDX-License-Identifier: Apache-2.0
//! The channel split into streams with flow control of their own (yamux), so that one reader who stops reading
//! stops nothing else.
//!
//! Owns the yamux settings, how many streams each side may open ([`places`]), and the task that drives a connection.
//! Knows no device: hand in any byte channel. The host is the [`client`] and the guest the [`server`]. The host opens the
//! control stream and those of stdio, and names each ([`StreamName`]); the guest opens a stream for each connection that
//! leaves the machine by way of the host ([`RelayName`]). The driver future must be polled (spawned) for anything to
//! move; it ends when the channel does.
//!
//! The host does not trust the guest, which trusts the host: what the host opens is counted by the host, exactly, and the
//! guest takes it all. An idle stream costs each side some 1 KiB; one that is not read, up to its window besides
//! (256 KiB).

mod places;
mod stream;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::AsyncWrite as _;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

use self::places::{Place, Places};
pub use self::stream::Stream;
use crate::relay::{MAX_RELAYED, RelayName};
use crate::stream::{StreamError, StreamName};

/// Streams the host may have open at once: a thousand execs with three each, and some to spare for the container's own
/// and the control stream.
pub const MAX_HOST_STREAMS: usize = 3072;

/// Streams that were dropped and not seen to while the guest takes nothing. An agent of ours that opens streams also
/// reads; from another one no more is held than this.
const MAX_LEFT: usize = 512;

/// By how much the guest's bounds are wider than what the host keeps to: what the host is done with may be here for a
/// while (a process that does not read its stdin keeps the stream).
const SLACK: usize = 4;

/// Of the streams the peer opens, so many are acknowledged by what is sent on them in time, which costs no frame of
/// its own when a container starts. Each further one at once: yamux opens no more while 256 are not acknowledged, and a
/// silent process acknowledges nothing.
const ACKNOWLEDGED_IN_TIME: usize = 64;

/// Most bytes of one stream that go before another gets its turn: what a pipe holds. Each write wakes somebody on the
/// other side of the machine's wall, so few and large ones carry more.
const MAX_FRAME: usize = 64 << 10;
/// Room for a frame with its header, so that both go in one write.
const WRITE_BUFFER: usize = MAX_FRAME + 64;

/// Why the multiplexer stopped or would not open a stream.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// The channel has ended: the machine is gone.
    #[error("the channel is closed")]
    Closed,
    /// So many streams are open that this one does not fit: close others first.
    #[error("{limit} streams may be open to a machine, and no more are free")]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// The peer broke the multiplexer's rules, or the device failed.
    #[error("the channel failed")]
    Connection(#[from] yamux::ConnectionError),
    /// The peer opens streams and takes nothing of what it is told of their ends.
    #[error("the peer opens streams without end")]
    Unruly,
    /// The stream's header could not be written.
    #[error("a stream could not be named")]
    Name(#[from] StreamError),
}

/// A place, and who waits for the stream that is to have it.
type OpenRequest = (Place, oneshot::Sender<Result<Stream, MuxError>>);

/// Opens streams on a channel whose driver runs.
#[derive(Debug, Clone)]
pub struct Opener {
    requests: mpsc::Sender<OpenRequest>,
    places: Arc<Places>,
}

/// Room for one stream.
#[derive(Debug)]
pub struct Vacancy {
    requests: mpsc::Sender<OpenRequest>,
    place: Place,
}

impl Opener {
    /// Makes room for streams that belong together.
    ///
    /// # Errors
    /// [`MuxError::Full`], at once, where there is not room for all of them.
    pub fn reserve(&self, count: usize) -> Result<Vec<Vacancy>, MuxError> {
        let limit = self.places.limit();
        let places = self.places.take(count).ok_or(MuxError::Full { limit })?;
        let vacancy = |place| Vacancy { requests: self.requests.clone(), place };
        Ok(places.into_iter().map(vacancy).collect())
    }

    /// Opens a stream and says which it is.
    ///
    /// # Errors
    /// [`MuxError::Closed`] when the machine is gone, [`MuxError::Full`].
    pub async fn open(&self, name: &StreamName) -> Result<Stream, MuxError> {
        self.vacancy()?.open(name).await
    }

    /// Opens a stream that asks for a way out of the machine. The guest's.
    ///
    /// # Errors
    /// [`MuxError::Closed`] when the host is gone, [`MuxError::Full`].
    pub async fn open_relay(&self, name: &RelayName) -> Result<Stream, MuxError> {
        let mut stream = self.vacancy()?.unnamed().await?;
        name.write(&mut stream).await?;
        Ok(stream)
    }

    fn vacancy(&self) -> Result<Vacancy, MuxError> {
        self.reserve(1)?.pop().ok_or(MuxError::Closed)
    }
}

impl Vacancy {
    /// Opens the stream and says which it is. Waits while the peer has not taken earlier ones.
    ///
    /// # Errors
    /// [`MuxError::Closed`] when the machine is gone.
    pub async fn open(self, name: &StreamName) -> Result<Stream, MuxError> {
        let mut stream = self.unnamed().await?;
        name.write(&mut stream).await?;
        Ok(stream)
    }

    async fn unnamed(self) -> Result<Stream, MuxError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send((self.place, reply)).await.map_err(|_| MuxError::Closed)?;
        answer.await.map_err(|_| MuxError::Closed)?
    }
}

/// How many streams there may be.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Those opened here.
    ours: usize,
    /// Those the peer opens; more are reset.
    theirs: usize,
    /// Those the peer opened that may be left at once.
    left: usize,
}

impl Bounds {
    const HOST: Self = Self {
        ours: MAX_HOST_STREAMS,
        // What the guest is done with may not be done with here.
        theirs: MAX_RELAYED + MAX_RELAYED / 4,
        left: MAX_LEFT,
    };
    const GUEST: Self =
        Self { ours: MAX_RELAYED * SLACK, theirs: MAX_HOST_STREAMS * SLACK, left: MAX_HOST_STREAMS * SLACK };

    /// Where yamux gives up. Above all that can be open by these rules.
    fn at_most(self) -> usize {
        self.ours + self.theirs + self.left + 1
    }
}

fn config(bounds: Bounds) -> Config {
    let mut config = Config::default();
    // yamux looks at each of the two in the light of the other.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(bounds.at_most());
    // The floor yamux allows: every stream may hold its 256 KiB and none may grow beyond what others leave.
    config.set_max_connection_receive_window(Some(bounds.at_most() * yamux::DEFAULT_CREDIT as usize));
    config.set_split_send_size(MAX_FRAME);
    config
}

/// The streams the peer has opened. There are no more than the peer may have open.
pub type Incoming = mpsc::UnboundedReceiver<Stream>;

/// The host's end.
pub fn client<T>(channel: T) -> (Opener, Incoming, impl Future<Output = Result<(), MuxError>> + Send)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    end(channel, Mode::Client, Bounds::HOST)
}

/// The guest's end.
pub fn server<T>(channel: T) -> (Opener, Incoming, impl Future<Output = Result<(), MuxError>> + Send)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    end(channel, Mode::Server, Bounds::GUEST)
}

fn end<T>(
    channel: T,
    mode: Mode,
    bounds: Bounds,
) -> (Opener, Incoming, impl Future<Output = Result<(), MuxError>> + Send)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, receiver) = mpsc::channel(16);
    let (accepted, incoming) = mpsc::unbounded_channel();
    let (channel, stuck) = stream::Channel::over(channel);
    let channel = BufWriter::with_capacity(WRITE_BUFFER, channel);
    let places = Places::new(bounds.ours);
    let mut driver = Driver {
        connection: Connection::new(channel.compat(), config(bounds), mode),
        requests: receiver,
        waiting: None,
        accepted,
        arrived: 0,
        stuck,
        ours: Arc::clone(&places),
        theirs: Places::new(bounds.theirs),
        bounds,
    };
    (Opener { requests, places }, incoming, poll_fn(move |context| driver.poll(context)))
}

/// Drives one connection.
struct Driver<T> {
    connection: Connection<Compat<T>>,
    requests: mpsc::Receiver<OpenRequest>,
    waiting: Option<OpenRequest>,
    accepted: mpsc::UnboundedSender<Stream>,
    /// How many streams the peer has opened in all.
    arrived: usize,
    /// A write waits for the peer.
    stuck: Arc<AtomicBool>,
    ours: Arc<Places>,
    theirs: Arc<Places>,
    bounds: Bounds,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), MuxError>> {
        loop {
            if self.waiting.is_none()
                && let Poll::Ready(Some(request)) = self.requests.poll_recv(context)
            {
                self.waiting = Some(request);
            }
            if self.waiting.is_some()
                && let Poll::Ready(result) = self.connection.poll_new_outbound(context)
                && let Some((place, reply)) = self.waiting.take()
            {
                // The caller may have given up: its stream is dropped, which resets it.
                let _ = reply.send(result.map(|stream| Stream::new(stream, place)).map_err(MuxError::from));
                continue;
            }
            let (ours_left, theirs_left) = (self.ours.left(), self.theirs.left());
            match self.connection.poll_next_inbound(context) {
                Poll::Ready(Some(Ok(stream))) => {
                    if self.theirs.left() > self.bounds.left {
                        return Poll::Ready(Err(MuxError::Unruly));
                    }
                    self.accept(stream, context);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    // It has seen to whatever was dropped before, unless it is stuck with one of them.
                    if !self.stuck.load(Ordering::SeqCst) {
                        self.ours.clear(ours_left);
                        self.theirs.clear(theirs_left);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn accept(&mut self, mut stream: yamux::Stream, context: &mut Context<'_>) {
        let Some(place) = self.theirs.take(1).and_then(|mut places| places.pop()) else {
            // Dropped, which resets it.
            return self.theirs.turn_away();
        };
        self.arrived = self.arrived.saturating_add(1);
        if self.arrived > ACKNOWLEDGED_IN_TIME {
            // A frame without content. There is room for a new stream's first one; should there be none, the next that
            // is sent on it will do.
            let _ = Pin::new(&mut stream).poll_write(context, &[]);
        }
        // Where nobody takes streams, dropping it resets it.
        let _ = self.accepted.send(Stream::new(stream, place));
    }
}

#[cfg(test)]
mod tests;
