// SPDX-License-Identifier: Apache-2.0
//! The channel split into streams with flow control of their own (yamux), so that one reader who stops reading
//! stops nothing else.
//!
//! Owns the yamux settings and the task that drives a connection. Knows no device: hand in any byte channel.
//! The host is the [`client`] and the guest the [`server`]. The host opens the control stream and those of stdio, and
//! names each ([`StreamName`]); the guest opens a stream for each connection that leaves the machine by way of the host
//! ([`RelayName`]). The driver future must be polled (spawned) for anything to move; it ends when the channel does.

use std::future::{Future, poll_fn};
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

use crate::relay::RelayName;
use crate::stream::{StreamError, StreamName};

/// One stream of the channel. Shutting down its write half is seen as end of file by the peer.
pub type Stream = Compat<yamux::Stream>;

/// More streams than 50 execs with three streams each, as many relayed ones as there may be, and some to spare; bounds
/// what a guest can make us hold.
const MAX_STREAMS: usize = 512;

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
    /// The peer broke the multiplexer's rules, or the device failed.
    #[error("the channel failed")]
    Connection(#[from] yamux::ConnectionError),
    /// The stream's header could not be written.
    #[error("a stream could not be named")]
    Name(#[from] StreamError),
}

type OpenRequest = oneshot::Sender<Result<Stream, MuxError>>;

/// Opens streams on a channel whose driver runs.
#[derive(Debug, Clone)]
pub struct Opener {
    requests: mpsc::Sender<OpenRequest>,
}

impl Opener {
    /// Opens a stream and says which it is.
    ///
    /// # Errors
    /// [`MuxError::Closed`] when the machine is gone.
    pub async fn open(&self, name: &StreamName) -> Result<Stream, MuxError> {
        let mut stream = self.unnamed().await?;
        name.write(&mut stream).await?;
        Ok(stream)
    }

    /// Opens a stream that asks for a way out of the machine. The guest's.
    ///
    /// # Errors
    /// [`MuxError::Closed`] when the host is gone.
    pub async fn open_relay(&self, name: &RelayName) -> Result<Stream, MuxError> {
        let mut stream = self.unnamed().await?;
        name.write(&mut stream).await?;
        Ok(stream)
    }

    async fn unnamed(&self) -> Result<Stream, MuxError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(reply).await.map_err(|_| MuxError::Closed)?;
        answer.await.map_err(|_| MuxError::Closed)?
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config.set_split_send_size(MAX_FRAME);
    // The floor yamux allows: every stream may hold its 256 KiB and none may grow beyond what others leave.
    config.set_max_connection_receive_window(Some(MAX_STREAMS * yamux::DEFAULT_CREDIT as usize));
    config
}

/// The streams the peer has opened. yamux bounds how many there are.
pub type Incoming = mpsc::UnboundedReceiver<Stream>;

/// The host's end.
pub fn client<T>(channel: T) -> (Opener, Incoming, impl Future<Output = Result<(), MuxError>> + Send)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    end(channel, Mode::Client)
}

/// The guest's end.
pub fn server<T>(channel: T) -> (Opener, Incoming, impl Future<Output = Result<(), MuxError>> + Send)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    end(channel, Mode::Server)
}

fn end<T>(channel: T, mode: Mode) -> (Opener, Incoming, impl Future<Output = Result<(), MuxError>> + Send)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, receiver) = mpsc::channel(16);
    let (accepted, incoming) = mpsc::unbounded_channel();
    let channel = BufWriter::with_capacity(WRITE_BUFFER, channel);
    let connection = Connection::new(channel.compat(), config(), mode);
    let accept = move |stream| {
        // Where nobody takes streams, dropping it resets it.
        let _ = accepted.send(stream);
    };
    (Opener { requests }, incoming, drive(connection, receiver, accept))
}

async fn drive<T>(
    mut connection: Connection<Compat<T>>,
    mut requests: mpsc::Receiver<OpenRequest>,
    mut accept: impl FnMut(Stream) + Send,
) -> Result<(), MuxError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut waiting: Option<OpenRequest> = None;
    poll_fn(move |context| {
        loop {
            if waiting.is_none()
                && let Poll::Ready(Some(request)) = requests.poll_recv(context)
            {
                waiting = Some(request);
            }
            if waiting.is_some()
                && let Poll::Ready(result) = connection.poll_new_outbound(context)
                && let Some(reply) = waiting.take()
            {
                // The caller may have given up: its stream is dropped, which resets it.
                let _ = reply.send(result.map(FuturesAsyncReadCompatExt::compat).map_err(MuxError::from));
                continue;
            }
            match connection.poll_next_inbound(context) {
                Poll::Ready(Some(Ok(stream))) => accept(FuturesAsyncReadCompatExt::compat(stream)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::stream::Kind;

    type End = (Opener, Incoming);

    fn ends() -> (End, End) {
        let (host, guest) = tokio::io::duplex(4096);
        let (host_opener, host_incoming, driver) = client(host);
        tokio::spawn(driver);
        let (guest_opener, guest_incoming, driver) = server(guest);
        tokio::spawn(driver);
        ((host_opener, host_incoming), (guest_opener, guest_incoming))
    }

    fn pair() -> (Opener, Incoming) {
        let ((opener, _), (_, streams)) = ends();
        (opener, streams)
    }

    #[tokio::test]
    async fn a_guest_opens_streams_beside_the_hosts() {
        let ((host, mut relayed), (guest, mut streams)) = ends();
        let control = host.open(&StreamName::control()).await.unwrap();
        let name = RelayName { way: 16, uid: 7, gid: 8 };
        let mut out = guest.open_relay(&name).await.unwrap();
        out.write_all(b"out").await.unwrap();
        out.shutdown().await.unwrap();
        assert_eq!(
            StreamName::read(&mut streams.recv().await.unwrap()).await.unwrap(),
            StreamName::control()
        );
        let mut arrived = relayed.recv().await.unwrap();
        assert_eq!(RelayName::read(&mut arrived).await.unwrap(), name);
        let mut text = String::new();
        arrived.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "out");
        drop(control);
    }

    #[tokio::test]
    async fn a_stream_nobody_takes_is_reset() {
        let ((host, relayed), (guest, _streams)) = ends();
        drop(relayed);
        let mut out = guest.open_relay(&RelayName { way: 16, uid: 0, gid: 0 }).await.unwrap();
        assert!(matches!(out.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        drop(host);
    }

    #[tokio::test]
    async fn bytes_arrive_on_the_stream_they_were_sent_on() {
        let (opener, mut streams) = pair();
        let name = StreamName::stdio(Kind::Stdin, "c", "");
        let mut sender = opener.open(&name).await.unwrap();
        sender.write_all(b"hello").await.unwrap();
        sender.shutdown().await.unwrap();
        let mut receiver = streams.recv().await.unwrap();
        assert_eq!(StreamName::read(&mut receiver).await.unwrap(), name);
        let mut text = String::new();
        receiver.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }

    #[tokio::test]
    async fn half_close_leaves_the_other_direction_open() {
        let (opener, mut streams) = pair();
        let mut host = opener.open(&StreamName::control()).await.unwrap();
        host.shutdown().await.unwrap();
        let mut guest = streams.recv().await.unwrap();
        StreamName::read(&mut guest).await.unwrap();
        assert_eq!(guest.read(&mut [0; 1]).await.unwrap(), 0);
        guest.write_all(b"late").await.unwrap();
        guest.shutdown().await.unwrap();
        let mut text = String::new();
        host.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "late");
    }

    #[tokio::test]
    async fn a_reader_that_stops_reading_stops_only_its_own_stream() {
        let (opener, mut streams) = pair();
        let mut stuck = opener.open(&StreamName::stdio(Kind::Stdin, "a", "")).await.unwrap();
        let writer = tokio::spawn(async move { stuck.write_all(&vec![0; 8 << 20]).await });
        let _unread = streams.recv().await.unwrap();
        let mut other = opener.open(&StreamName::stdio(Kind::Stdin, "b", "")).await.unwrap();
        other.write_all(b"moves").await.unwrap();
        let mut receiver = streams.recv().await.unwrap();
        StreamName::read(&mut receiver).await.unwrap();
        let mut bytes = [0; 5];
        receiver.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"moves");
        assert!(!writer.is_finished());
    }

    #[tokio::test]
    async fn open_after_the_channel_ended_is_closed() {
        let (host, guest) = tokio::io::duplex(64);
        let (opener, _incoming, driver) = client(host);
        drop(guest);
        let _ = driver.await;
        assert!(matches!(opener.open(&StreamName::control()).await, Err(MuxError::Closed)));
    }
}
