// SPDX-License-Identifier: Apache-2.0
//! One stream, and the channel below all of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::places::Place;

/// One stream of the channel. Shutting down its write half is seen as end of file by the peer; dropping it resets it.
#[derive(Debug)]
pub struct Stream {
    // Dropped in this order: a place is left only after its stream.
    inner: Compat<yamux::Stream>,
    _place: Place,
}

impl Stream {
    pub(super) fn new(inner: yamux::Stream, place: Place) -> Self {
        Self { inner: inner.compat(), _place: place.used() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The channel, which tells whether the peer takes what is written.
#[derive(Debug)]
pub(super) struct Channel<T> {
    inner: T,
    stuck: Arc<AtomicBool>,
}

impl<T> Channel<T> {
    /// Also gives what tells it: true while a write waits for the peer.
    pub(super) fn over(inner: T) -> (Self, Arc<AtomicBool>) {
        let stuck = Arc::new(AtomicBool::new(false));
        (Self { inner, stuck: Arc::clone(&stuck) }, stuck)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Channel<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Channel<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.stuck.store(written.is_pending(), Ordering::SeqCst);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.stuck.store(flushed.is_pending(), Ordering::SeqCst);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
