// SPDX-License-Identifier: Apache-2.0
//! Stream to FIFO, in two halves with a budget of bytes between them.
//!
//! While the process runs, a reader who does not read fills the budget and then holds the guest's writer, as a pipe
//! does. After the process ended the budget grows, so that the rest (bounded by the stream's window) comes over and
//! the machine can go, whoever reads. Where others go on writing, it grows by what came before the end alone.

use std::sync::Arc;
use std::time::Duration;

use boxlite_protocol::mux::Stream;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use super::piece;
use super::sink::Sink;

/// Bytes on the way while the process runs; four times a pipe's.
const RUNNING_BUDGET: usize = 256 << 10;
/// Bytes more once it ended: what a guest can have in flight, and an end to what a hostile one may send.
const FINAL_BUDGET: usize = 16 << 20;

/// One running pump.
#[derive(Debug)]
pub(super) struct Output {
    budget: Arc<Semaphore>,
    /// Bytes from the guest.
    came: watch::Receiver<u64>,
    /// Of these, those the sink took, or never will.
    taken: watch::Receiver<u64>,
    reader: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl Output {
    pub(super) fn start(stream: Stream, sink: Sink) -> Self {
        let budget = Arc::new(Semaphore::new(RUNNING_BUDGET));
        let (chunks, queued) = mpsc::unbounded_channel();
        let (comes, came) = watch::channel(0);
        let reader = tokio::spawn(read(stream, chunks, budget.clone(), comes));
        let (takes, taken) = watch::channel(0);
        let writer = tokio::spawn(write(queued, sink, budget.clone(), takes));
        Self { budget, came, taken, reader: Some(reader), writer: Some(writer) }
    }

    /// From here on a reader who does not read cannot hold back the first `bytes`, or anything.
    pub(super) fn stop_holding_back(&self, bytes: Option<u64>) {
        let owed = bytes.map(|bytes| bytes.saturating_sub(*self.came.borrow()));
        let owed = owed.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(FINAL_BUDGET);
        // The last piece may hold more than was asked for.
        self.budget.add_permits(owed.min(FINAL_BUDGET) + piece::LARGEST);
    }

    /// The first `bytes` are on this side, or the guest has closed its end.
    pub(super) async fn drained(&mut self, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            // An error is the reader's end.
            let _ = self.came.wait_for(|came| *came >= bytes).await;
        } else if let Some(reader) = &mut self.reader {
            report(reader.await);
            self.reader = None;
        }
    }

    /// The FIFO has the first `bytes`, or everything, or nobody has made room in it for as long as `patience`.
    pub(super) async fn handed_over(&mut self, bytes: Option<u64>, patience: Duration) {
        while bytes.is_none_or(|bytes| *self.taken.borrow_and_update() < bytes) {
            // An error is the writer's end.
            let Ok(Ok(())) = tokio::time::timeout(patience, self.taken.changed()).await else { return };
        }
    }

    /// The reader of the FIFO can have everything.
    pub(super) async fn finished(&mut self) {
        if let Some(writer) = &mut self.writer {
            report(writer.await);
            self.writer = None;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for pump in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            pump.abort();
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an output pump failed");
    }
}

async fn read(
    mut stream: Stream,
    chunks: mpsc::UnboundedSender<Vec<u8>>,
    budget: Arc<Semaphore>,
    comes: watch::Sender<u64>,
) {
    loop {
        let chunk = match piece::next(&mut stream).await {
            Ok(chunk) if chunk.is_empty() => return,
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::debug!(%error, "output stream broke");
                return;
            }
        };
        let count = chunk.len();
        let length = u32::try_from(count).unwrap_or(u32::MAX);
        match budget.acquire_many(length).await {
            Ok(permit) => permit.forget(),
            Err(_) => return,
        }
        if chunks.send(chunk).is_err() {
            return;
        }
        comes.send_modify(|came| *came += count as u64);
    }
}

async fn write(
    mut queued: mpsc::UnboundedReceiver<Vec<u8>>,
    mut sink: Sink,
    budget: Arc<Semaphore>,
    takes: watch::Sender<u64>,
) {
    let mut broken = false;
    while let Some(chunk) = queued.recv().await {
        let mut left = chunk.as_slice();
        while !broken && !left.is_empty() {
            let written = match sink.write(left).await {
                Ok(0) => Err(std::io::ErrorKind::WriteZero.into()),
                other => other,
            };
            match written {
                Ok(count) => {
                    left = left.get(count..).unwrap_or_default();
                    takes.send_modify(|taken| *taken += count as u64);
                }
                // This must not stop the process: what it writes from here on goes nowhere, as with a closed log.
                Err(error) => {
                    tracing::warn!(%error, "output cannot be written, the rest is dropped");
                    broken = true;
                }
            }
        }
        takes.send_modify(|taken| *taken += left.len() as u64);
        budget.add_permits(chunk.len());
    }
    if !broken && let Err(error) = sink.flush().await {
        tracing::warn!(%error, "output cannot be flushed");
    }
}
