// SPDX-License-Identifier: Apache-2.0
//! The one byte channel to the host: a virtio-serial port, or a socket the agent inherited.
//!
//! Order: [`Channel::open`], in a machine that will be saved [`provisions`](Door::provisions), then
//! [`greet`](Door::greet) and [`await_host`](Door::await_host): there it is saved, and each clone of it goes on,
//! with a channel as good as new.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use boxlite_protocol::agent::Provisions;
use boxlite_protocol::{hello, provisions};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::descriptor::{Watched, poll_read, poll_write};
use crate::sys;

/// The channel as a stream, read and written as the runtime tells. Its first hang-up is its end.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Until the first who reads or writes. While a machine waits for its host nobody is at the other end, which the
    /// runtime, had it seen that, would take for a hang-up that lasts.
    fresh: Option<OwnedFd>,
    watched: Option<Watched>,
}

/// The same channel, for who waits for the host before the stream is used: these calls block the one thread.
#[derive(Debug)]
pub(crate) struct Door {
    fd: OwnedFd,
    /// A hang-up means that the host has not come yet. A socket's is its end.
    port: bool,
}

impl Channel {
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fresh: Some(fd), watched: None })
    }

    /// Before the stream is used.
    pub(crate) fn door(&self) -> io::Result<Door> {
        let fd = self.fresh.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_clone()?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        Ok(Door { fd, port: kind == FileType::CharacterDevice })
    }

    fn watched(&mut self) -> io::Result<&Watched> {
        if let Some(fd) = self.fresh.take() {
            self.watched = Some(sys::watched(fd)?);
        }
        // None only when it could not be watched.
        self.watched.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Door {
    /// Reads what a machine that will be saved is to make ready.
    pub(crate) fn provisions(&self) -> io::Result<Provisions> {
        let mut header = [0; provisions::HEADER];
        self.read(&mut header)?;
        let mut message = vec![0; provisions::length(header).map_err(io::Error::other)?];
        self.read(&mut message)?;
        provisions::decode(&message).map_err(io::Error::other)
    }

    fn read(&self, mut rest: &mut [u8]) -> io::Result<()> {
        while !rest.is_empty() {
            self.until(PollFlags::IN)?;
            match rustix::io::read(&self.fd, &mut *rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
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

    /// Returns when the host's first byte can be read, and the host is there: the kernel may take in the byte first, and a
    /// port without a host counts as readable. Whoever read it then would be told that the host has gone.
    pub(crate) fn await_host(&self) -> io::Result<()> {
        self.until(PollFlags::IN)
    }

    fn until(&self, wanted: PollFlags) -> io::Result<()> {
        let mut signals = None;
        loop {
            let mut fds = [PollFd::new(&self.fd, wanted)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [polled] = fds;
            let hung_up = polled.revents().contains(PollFlags::HUP);
            if polled.revents().contains(wanted) && !(self.port && hung_up) {
                return Ok(());
            }
            if hung_up {
                // The port tells of a host that comes by a signal only: a poll ends at once while nobody is at the
                // other end. Looked at once more with the signal on, or one that came just now would be missed.
                match signals {
                    Some(_) => sys::wait_for_io(),
                    None => signals = Some(sys::IoSignals::request(self.fd.as_fd())?),
                }
            }
        }
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(poll_read(self.watched()?, context, buffer.initialize_unfilled()))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_write(self.watched()?, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A port has no end of file to send: the channel ends with the machine.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{Mode, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// Waits for the host on a thread of its own, which says when it came.
    fn waiter(door: Door) -> mpsc::Receiver<io::Result<()>> {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(door.await_host()));
        told
    }

    #[test]
    fn a_byte_without_a_host_is_not_the_host() {
        // A terminal's first end is to its second as a port is to its host.
        let port = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&port).unwrap();
        unlockpt(&port).unwrap();
        let name = ptsname(&port, Vec::new()).unwrap();
        let host = || open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        rustix::io::write(host(), b"x").unwrap();
        let door = Channel::open(port).unwrap().door().unwrap();

        let came = waiter(door);
        came.recv_timeout(Duration::from_millis(100)).expect_err("nobody is at the other end");
        let host = host();
        rustix::io::write(&host, b"y").unwrap();
        came.recv_timeout(Duration::from_secs(10)).expect("told").unwrap();
    }

    #[test]
    fn a_socket_whose_host_has_gone_is_waited_for_no_longer() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        let door = Channel::open(near.into()).unwrap().door().unwrap();
        waiter(door).recv_timeout(Duration::from_secs(10)).expect("told").unwrap();
    }
}
