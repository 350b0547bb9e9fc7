// SPDX-License-Identifier: Apache-2.0
//! The guest's serial console: the end in memory, the beginning in a file, both bounded.
//!
//! The guest decides what arrives here and how much. The file takes the first [`FILE_LIMIT`] bytes (a boot
//! that went wrong shows there), memory the last [`TAIL_LIMIT`] (a crash shows there); the rest is read and
//! dropped, so the guest never blocks on us. Control characters are stripped before anything is kept: an
//! administrator may print the file.

use std::{
    fs::File,
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Mutex},
};

use rustix::fs::{Mode, OFlags};
use tokio::{io::AsyncReadExt, sync::watch};

use crate::{
    capture::{Tail, lock},
    error::VmmError,
};

/// Bytes of console output kept in memory.
const TAIL_LIMIT: usize = 64 << 10;
/// Bytes of console output kept in the file.
const FILE_LIMIT: usize = 1 << 20;

/// What a machine's console said.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    tail: Arc<Mutex<Tail>>,
    closed: watch::Receiver<bool>,
}

impl Console {
    /// Reads `from` to its end in a task of the current runtime, and writes `log`, which is created or emptied.
    ///
    /// A symbolic link at `log` is refused, mode is 0600.
    pub(crate) fn open(from: UnixStream, log: &Path) -> Result<Self, VmmError> {
        let host = |action| move |source| VmmError::Host { action, source };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(log, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| host("open the console log")(errno.into()))?;
        let from = tokio::net::UnixStream::from_std(from).map_err(host("watch the console"))?;
        let tail = Arc::new(Mutex::new(Tail::new(TAIL_LIMIT)));
        let (done, closed) = watch::channel(false);
        tokio::spawn(collect(from, File::from(file), Arc::clone(&tail), done));
        Ok(Self { tail, closed })
    }

    /// The last `limit` bytes as printable text.
    pub(crate) fn text(&self, limit: usize) -> String {
        lock(&self.tail).text(limit)
    }

    /// Waits until the machine has closed its end.
    pub(crate) async fn complete(&self) {
        // An error means the reading task is gone with its runtime: nothing more will come.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

async fn collect(
    mut from: tokio::net::UnixStream,
    mut file: File,
    tail: Arc<Mutex<Tail>>,
    done: watch::Sender<bool>,
) {
    let mut room = FILE_LIMIT;
    let mut chunk = vec![0; 8192];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let mut bytes = chunk[..count].to_vec();
        bytes.retain(|byte| !byte.is_ascii_control() || matches!(byte, b'\n' | b'\t'));
        lock(&tail).push(&bytes);
        let fits = bytes.len().min(room);
        // Written in place: it is little, and the run directory is in memory.
        match file.write_all(&bytes[..fits]) {
            Ok(()) => room -= fits,
            Err(error) => {
                tracing::warn!(%error, "console log ends here");
                room = 0;
            }
        }
    }
    done.send_replace(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_bounded_and_the_end_stays_in_memory() {
        let scratch = tempfile::tempdir().expect("scratch");
        let log = scratch.path().join("console.log");
        let (ours, theirs) = UnixStream::pair().expect("pair");
        ours.set_nonblocking(true).expect("nonblocking");
        let console = Console::open(ours, &log).expect("open");
        let writer = std::thread::spawn(move || {
            let mut theirs = theirs;
            theirs.write_all(b"first\x1b[0m\r\n")?;
            for _ in 0..300 {
                theirs.write_all(&[b'.'; 8191])?;
                theirs.write_all(b"\n")?;
            }
            theirs.write_all(b"last words\n")
        });
        console.complete().await;
        writer.join().expect("joined").expect("the writer was never refused");
        let kept = std::fs::read(&log).expect("log");
        assert_eq!(kept.len(), FILE_LIMIT);
        assert!(kept.starts_with(b"first[0m\n"));
        assert!(console.text(2048).ends_with("last words\n"));
    }

    #[tokio::test]
    async fn a_link_in_place_of_the_log_is_refused() {
        let scratch = tempfile::tempdir().expect("scratch");
        let log = scratch.path().join("console.log");
        std::os::unix::fs::symlink("/dev/null", &log).expect("link");
        let (ours, _theirs) = UnixStream::pair().expect("pair");
        ours.set_nonblocking(true).expect("nonblocking");
        let refused = Console::open(ours, &log).expect_err("refused");
        assert!(matches!(refused, VmmError::Host { action: "open the console log", .. }));
    }
}
