// SPDX-License-Identifier: Apache-2.0
//! FIFO to stream.
//!
//! The FIFO is held open for writing by us too, so that a client which detaches is no end of file. Closing that
//! hold is what CloseIO means: the reader sees the end once the other writers are gone as well.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use boxlite_protocol::mux::Stream;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio::task::JoinHandle;

use super::piece;
use crate::error::TaskError;

/// Both ends of containerd's stdin FIFO.
#[derive(Debug)]
pub(super) struct Fifo {
    reader: Receiver,
    hold: Sender,
}

impl Fifo {
    pub(super) fn open(path: &str) -> Result<Self, TaskError> {
        let path = Path::new(path.strip_prefix("fifo://").unwrap_or(path));
        let open = || -> std::io::Result<Self> {
            let reader = OpenOptions::new().open_receiver(path)?;
            // Cannot block or fail with ENXIO: the reader is there.
            let hold = OpenOptions::new().open_sender(path)?;
            Ok(Self { reader, hold })
        };
        open().map_err(TaskError::stdio("opening the stdin FIFO"))
    }
}

/// The running pump; dropping it stops reading.
#[derive(Debug)]
pub(super) struct Input {
    hold: Mutex<Option<Sender>>,
    pump: JoinHandle<()>,
}

impl Input {
    pub(super) fn start(fifo: Fifo, stream: Stream) -> Self {
        let Fifo { reader, hold } = fifo;
        Self { hold: Mutex::new(Some(hold)), pump: tokio::spawn(pump(reader, stream)) }
    }

    pub(super) fn close(&self) {
        drop(self.hold.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

async fn pump(mut reader: Receiver, mut stream: Stream) {
    // Either end may break when the process ends first; nobody waits for this.
    if let Err(error) = carry(&mut reader, &mut stream).await {
        tracing::debug!(%error, "stdin ended early");
    }
    if let Err(error) = stream.shutdown().await {
        tracing::debug!(%error, "stdin of a process that is gone");
    }
}

async fn carry(reader: &mut Receiver, stream: &mut Stream) -> std::io::Result<()> {
    loop {
        let piece = piece::next(reader).await?;
        if piece.is_empty() {
            return Ok(());
        }
        stream.write_all(&piece).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use boxlite_protocol::mux;
    use boxlite_protocol::stream::{Kind, StreamName};
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn streams() -> (Stream, Stream) {
        let (host, guest) = tokio::io::duplex(4096);
        let (opener, _incoming, driver) = mux::client(host);
        tokio::spawn(driver);
        let (_opener, mut accepted, driver) = mux::server(guest);
        tokio::spawn(driver);
        let near = opener.open(&StreamName::stdio(Kind::Stdin, "c", "")).await.unwrap();
        let mut far = accepted.recv().await.unwrap();
        StreamName::read(&mut far).await.unwrap();
        (near, far)
    }

    fn fifo(directory: &Path) -> String {
        let path = directory.join("stdin");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_writer_that_detaches_and_comes_back_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(directory.path());
        let (near, mut far) = streams().await;
        let input = Input::start(Fifo::open(&path).unwrap(), near);
        let mut bytes = [0; 3];
        for text in [b"one", b"two"] {
            std::fs::write(&path, text).unwrap();
            far.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, text);
        }
        let quiet = tokio::time::timeout(Duration::from_millis(50), far.read(&mut bytes)).await;
        assert!(quiet.is_err(), "a detached writer is no end of file");
        input.close();
        assert_eq!(far.read(&mut bytes).await.unwrap(), 0);
    }
}
