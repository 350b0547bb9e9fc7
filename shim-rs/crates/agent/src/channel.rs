// SPDX-License-Identifier: Apache-2.0
//! The one byte channel to the host: a virtio-serial port, or a socket the agent inherited.
//!
//! Order: [`Channel::open`], [`greet`](Channel::greet), [`await_host`](Channel::await_host), and only then
//! [`Channel::connect`]. Until then nothing is read, so that a machine can be saved while it waits and each clone of
//! it finds the channel as new.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use boxlite_protocol::hello;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sys;

/// The channel before the host has spoken.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
}

/// The channel in use.
#[derive(Debug)]
pub(crate) struct Connected {
    fd: AsyncFd<OwnedFd>,
}

impl Channel {
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        // The port tells of a host that comes or goes by a signal only: a poll on it ends at once while nobody is
        // at the other end.
        sys::request_io_signal(fd.as_fd())?;
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fd })
    }

    /// Writes the hello, when the host can take it.
    pub(crate) fn greet(&self) -> io::Result<()> {
        let bytes = hello::encode();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            self.until(PollFlags::OUT)?;
            match rustix::io::write(&self.fd, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns when the host's first byte can be read.
    pub(crate) fn await_host(&self) -> io::Result<()> {
        self.until(PollFlags::IN)
    }

    fn until(&self, wanted: PollFlags) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.fd, wanted)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [polled] = fds;
            if polled.revents().contains(wanted) {
                return Ok(());
            }
            if polled.revents().contains(PollFlags::HUP) {
                sys::wait_for_io();
            }
        }
    }

    pub(crate) fn connect(self) -> io::Result<Connected> {
        // From here on the runtime tells; the signals stop.
        rustix::fs::fcntl_setfl(&self.fd, OFlags::NONBLOCK)?;
        Ok(Connected { fd: sys::watched(self.fd)? })
    }
}

impl AsyncRead for Connected {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *unfilled)?)) {
                Ok(result) => {
                    buffer.advance(result?);
                    return Poll::Ready(Ok(()));
                }
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Connected {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(context))?;
            match guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A port has no end of file to send: the channel ends with the machine.
        Poll::Ready(Ok(()))
    }
}
