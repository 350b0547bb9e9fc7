// SPDX-License-Identifier: Apache-2.0
//! Stream to FIFO, in two halves with a budget of bytes between them.
//!
//! While the process runs, a reader who does not read fills the budget and then holds the guest's writer, as a pipe
//! does. After the process ended the budget grows, so that the rest (bounded by the stream's window) comes over and
//! the machine can go, whoever reads.

use std::sync::Arc;
use std::time::Duration;

use boxlite_protocol::mux::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use super::sink::Sink;

/// Bytes on the way while the process runs; four times a pipe's.
const RUNNING_BUDGET: usize = 256 << 10;
/// Bytes more once it ended: what a guest can have in flight, and an end to what a hostile one may send.
const FINAL_BUDGET: usize = 16 << 20;
/// The largest piece moved at once.
const CHUNK: usize = 64 << 10;

/// One running pump.
#[derive(Debug)]
pub(super) struct Output {
    budget: Arc<Semaphore>,
    /// Changes whenever the sink took something.
    taken: watch::Receiver<()>,
    reader: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl Output {
    pub(super) fn start(stream: Stream, sink: Sink) -> Self {
        let budget = Arc::new(Semaphore::new(RUNNING_BUDGET));
        let (chunks, queued) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(stream, chunks, budget.clone()));
        let (takes, taken) = watch::channel(());
        let writer = tokio::spawn(write(queued, sink, budget.clone(), takes));
        Self { budget, taken, reader: Some(reader), writer: Some(writer) }
    }

    pub(super) fn stop_holding_back(&self) {
        self.budget.add_permits(FINAL_BUDGET);
    }

    /// The guest has closed its end.
    pub(super) async fn drained(&mut self) {
        if let Some(reader) = &mut self.reader {
            report(reader.await);
            self.reader = None;
        }
    }

    /// The FIFO has everything, or nobody has made room in it for as long as `patience`.
    pub(super) async fn handed_over(&mut self, patience: Duration) {
        // An error is the writer's end.
        while let Ok(Ok(())) = tokio::time::timeout(patience, self.taken.changed()).await {}
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

async fn read(mut stream: Stream, chunks: mpsc::UnboundedSender<Vec<u8>>, budget: Arc<Semaphore>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match stream.read(&mut buffer).await {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "output stream broke");
                return;
            }
        };
        // As large as what is in it: a guest that writes byte by byte is not to fill the host with empty room.
        let chunk = buffer[..count].to_vec();
        let length = u32::try_from(count).unwrap_or(u32::MAX);
        match budget.acquire_many(length).await {
            Ok(permit) => permit.forget(),
            Err(_) => return,
        }
        if chunks.send(chunk).is_err() {
            return;
        }
    }
}

async fn write(
    mut queued: mpsc::UnboundedReceiver<Vec<u8>>,
    mut sink: Sink,
    budget: Arc<Semaphore>,
    takes: watch::Sender<()>,
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
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                // This must not stop the process: what it writes from here on goes nowhere, as with a closed log.
                Err(error) => {
                    tracing::warn!(%error, "output cannot be written, the rest is dropped");
                    broken = true;
                }
            }
            takes.send_replace(());
        }
        budget.add_permits(chunk.len());
    }
    if !broken && let Err(error) = sink.flush().await {
        tracing::warn!(%error, "output cannot be flushed");
    }
}
