// SPDX-License-Identifier: Apache-2.0
//! How the commands that `boxlite` calls answer: JSON on stdout, one document a line. When nobody reads the answers any
//! more, the work ends: whoever asked for it was killed.

use std::io::Write;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::TaskError;

/// Does `work` on the calling thread, or gives it up when nobody hears of it any more.
pub(super) fn while_heard(work: impl Future<Output = Result<(), TaskError>>) -> Result<(), TaskError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TaskError::host("starting the runtime"))?
        .block_on(async {
            tokio::select! {
                biased;
                done = work => done,
                error = unheard() => Err(TaskError::host("answering")(error)),
            }
        })
}

/// Writes one document.
pub(super) fn say(document: &serde_json::Value) -> Result<(), TaskError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{document}").and_then(|()| stdout.flush()).map_err(TaskError::host("answering"))
}

/// Resolves when the pipe that the answers go by is closed at its other end. Never for a file.
async fn unheard() -> std::io::Error {
    let (told, closed) = tokio::sync::oneshot::channel();
    let watch = move || {
        let stdout = std::io::stdout();
        // Without an event to wait for, poll(2) tells of an error alone.
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(&stdout, PollFlags::empty())], None) {}
        // Nobody listens when the work was done first.
        let _ = told.send(());
    };
    if let Err(error) = std::thread::Builder::new().name("unheard".to_owned()).spawn(watch) {
        return error;
    }
    // The thread always tells before it ends.
    let _ = closed.await;
    std::io::ErrorKind::BrokenPipe.into()
}
