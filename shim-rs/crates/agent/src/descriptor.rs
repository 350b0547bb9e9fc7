// SPDX-License-Identifier: Apache-2.0
//! Reads and writes descriptors the runtime watches: pipes, terminals, the channel.
//!
//! Owns what a hang-up means: the end, for who reads and for who writes. Some devices answer EAGAIN for ever once the
//! other side has gone (virtio-console's port, a terminal that was opened again), and the runtime, told of a hang-up
//! once, calls the descriptor ready from then on: waiting for more would never sleep again.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::buffer::{Buffer, spare_capacity};
use rustix::io::Errno;
use tokio::io::Ready;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// A non-blocking descriptor and the runtime's registration of it.
pub(crate) type Watched = AsyncFd<OwnedFd>;

/// Reads what is there, waiting for the first byte; 0 at the end.
pub(crate) async fn read_some(source: &Watched, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        if let Some(read) = read_once(source.readable().await?, &mut *buffer) {
            return read;
        }
    }
}

/// As [`read_some`], instead of what was in `bytes`, and `most` of it. Nothing is held while nothing is there.
pub(crate) async fn read_anew(source: &Watched, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    bytes.clear();
    loop {
        let guard = source.readable().await?;
        bytes.reserve_exact(most);
        match read_once(guard, spare_capacity(bytes)) {
            Some(read) => return read,
            None => *bytes = Vec::new(),
        }
    }
}

/// As [`read_some`], for a stream's `poll_read`.
pub(crate) fn poll_read(
    source: &Watched,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        if let Some(read) = read_once(ready!(source.poll_read_ready(context))?, &mut *buffer) {
            return Poll::Ready(read);
        }
    }
}

/// Writes all of it, waiting for room.
pub(crate) async fn write_all(sink: &Watched, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        if let Some(written) = write_once(sink.writable().await?, bytes) {
            bytes = bytes.get(written?..).unwrap_or_default();
        }
    }
    Ok(())
}

/// Writes what there is room for, for a stream's `poll_write`.
pub(crate) fn poll_write(sink: &Watched, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        if let Some(written) = write_once(ready!(sink.poll_write_ready(context))?, bytes) {
            return Poll::Ready(written);
        }
    }
}

fn read_once(
    guard: AsyncFdReadyGuard<'_, OwnedFd>,
    buffer: impl Buffer<u8, Output = usize>,
) -> Option<io::Result<usize>> {
    match attempt(guard, Ready::is_read_closed, |fd| rustix::io::read(fd, buffer)) {
        Attempt::Done(read) => Some(read),
        Attempt::HungUp => Some(Ok(0)),
        Attempt::NotNow => None,
    }
}

fn write_once(guard: AsyncFdReadyGuard<'_, OwnedFd>, bytes: &[u8]) -> Option<io::Result<usize>> {
    match attempt(guard, Ready::is_write_closed, |fd| rustix::io::write(fd, bytes)) {
        Attempt::Done(written) => Some(written),
        Attempt::HungUp => Some(Err(io::ErrorKind::BrokenPipe.into())),
        Attempt::NotNow => None,
    }
}

enum Attempt {
    Done(io::Result<usize>),
    /// The descriptor has nothing to give or no room to take, and never will have.
    HungUp,
    NotNow,
}

fn attempt(
    mut guard: AsyncFdReadyGuard<'_, OwnedFd>,
    closed: fn(Ready) -> bool,
    action: impl FnOnce(&OwnedFd) -> Result<usize, Errno>,
) -> Attempt {
    // Before the attempt, which takes the readiness away.
    let hung_up = closed(guard.ready());
    match guard.try_io(|fd| Ok(action(fd.get_ref())?)) {
        Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Attempt::NotNow,
        Ok(result) => Attempt::Done(result),
        Err(_would_block) if hung_up => Attempt::HungUp,
        Err(_would_block) => Attempt::NotNow,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::sys;

    /// One call of the kernel on one descriptor answers EAGAIN for this thread, as a port does whose host has gone.
    fn answer_again(call: libc::c_long, fd: &OwnedFd) {
        let instruction = |code: u16, jt: u8, jf: u8, k: u32| {
            let mut bytes = code.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[jt, jf]);
            bytes.extend_from_slice(&k.to_ne_bytes());
            bytes
        };
        let again = 0x0005_0000 | u32::try_from(libc::EAGAIN).unwrap();
        let filter = [
            // if nr == call and the first argument is the descriptor: EAGAIN, else allow.
            instruction(0x20, 0, 0, 0),
            instruction(0x15, 0, 3, u32::try_from(call).unwrap()),
            instruction(0x20, 0, 0, 16),
            instruction(0x15, 0, 1, u32::try_from(fd.as_raw_fd()).unwrap()),
            instruction(0x06, 0, 0, again),
            instruction(0x06, 0, 0, 0x7fff_0000),
        ];
        rustix::thread::set_no_new_privs(true).unwrap();
        sys::filter_system_calls(&filter.concat(), 0).unwrap();
    }

    /// What `use_it` makes of a descriptor that was hung up and whose `call` answers EAGAIN, on a thread of its own: one
    /// that spins heeds no limit of its runtime's.
    fn on_a_dead_port<T: Send + 'static>(
        call: libc::c_long,
        use_it: impl AsyncFnOnce(&Watched) -> T + Send + 'static,
    ) -> T {
        let (done, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (near, far) = UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            drop(far);
            let near = OwnedFd::from(near);
            answer_again(call, &near);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let used = runtime.block_on(async { use_it(&sys::watched(near).unwrap()).await });
            done.send(used).unwrap();
        });
        answer.recv_timeout(Duration::from_secs(10)).expect("a hang-up ends it")
    }

    #[test]
    fn who_writes_after_a_hang_up_is_told() {
        let written = on_a_dead_port(libc::SYS_write, async |port| write_all(port, b"x").await);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let polled = on_a_dead_port(libc::SYS_write, async |port| {
            std::future::poll_fn(|context| poll_write(port, context, b"x")).await
        });
        assert_eq!(polled.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn who_reads_after_a_hang_up_is_at_the_end() {
        let read = on_a_dead_port(libc::SYS_read, async |port| read_some(port, &mut [0; 1]).await);
        assert_eq!(read.unwrap(), 0);
        let polled = on_a_dead_port(libc::SYS_read, async |port| {
            std::future::poll_fn(|context| poll_read(port, context, &mut [0; 1])).await
        });
        assert_eq!(polled.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_something_to_read_holds_nothing() {
        let (near, far) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let near = sys::watched(near).unwrap();
        let mut bytes = Vec::new();
        for text in [b"one".as_slice(), b"another"] {
            rustix::io::write(&far, text).unwrap();
            assert_eq!(read_anew(&near, &mut bytes, 4096).await.unwrap(), text.len());
            assert_eq!(bytes, text);
        }
        let none = Duration::from_millis(20);
        assert!(tokio::time::timeout(none, read_anew(&near, &mut bytes, 4096)).await.is_err());
        assert_eq!(bytes.capacity(), 0);
        drop(far);
        assert_eq!(read_anew(&near, &mut bytes, 4096).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_was_written_before_a_hang_up_is_read_first() {
        let (near, far) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        rustix::io::write(&far, b"last").unwrap();
        drop(far);
        let near = sys::watched(near).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(read_some(&near, &mut buffer).await.unwrap(), 4);
        assert_eq!(read_some(&near, &mut buffer).await.unwrap(), 0);
    }
}
