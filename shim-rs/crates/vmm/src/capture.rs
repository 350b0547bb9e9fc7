// SPDX-License-Identifier: Apache-2.0
//! Bounded memory of what a child or a guest writes.
//!
//! Two keep-sakes, since what matters sits at different ends: a [`Head`] for a program's stderr (the first
//! complaint is the cause), a [`Tail`] for a guest console (the last lines are the cause). Both drop what
//! does not fit, so a writer can neither stall nor fill memory.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch};

/// Bytes of a program's stderr that are kept.
const STDERR_LIMIT: usize = 4096;

/// The first bytes a child wrote to its stderr.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    kept: Arc<Mutex<Vec<u8>>>,
    /// Changes when there is more.
    grown: watch::Receiver<()>,
    closed: watch::Receiver<bool>,
}

impl Head {
    /// Reads `pipe` to its end in a task of the current runtime. Later bytes are read and forgotten.
    pub(crate) fn of(mut pipe: pipe::Receiver) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (done, closed) = watch::channel(false);
        let (more, grown) = watch::channel(());
        let sink = Arc::clone(&kept);
        tokio::spawn(async move {
            let mut chunk = [0; 1024];
            while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
                let mut sink = lock(&sink);
                let room = STDERR_LIMIT - sink.len();
                sink.extend(chunk.iter().take(count.min(room)));
                drop(sink);
                more.send_replace(());
            }
            done.send_replace(true);
        });
        Self { kept, grown, closed }
    }

    /// What was kept, as printable text without the final line break.
    pub(crate) fn text(&self) -> String {
        printable(&lock(&self.kept)).trim_end().to_owned()
    }

    /// Waits until `word` is in what was kept; for ever if it never comes.
    pub(crate) async fn contains(&self, word: &str) {
        let mut grown = self.grown.clone();
        while !self.text().contains(word) {
            if grown.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until every writer has closed its end.
    pub(crate) async fn complete(&self) {
        // An error means the reading task is gone with its runtime: nothing more will come.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

/// The last `limit` bytes of a stream.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: VecDeque<u8>,
    limit: usize,
}

impl Tail {
    pub(crate) fn new(limit: usize) -> Self {
        Self { kept: VecDeque::new(), limit }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.limit)..];
        let excess = (self.kept.len() + bytes.len()).saturating_sub(self.limit);
        self.kept.drain(..excess);
        self.kept.extend(bytes);
    }

    /// The last `limit` bytes as printable text, starting at a line's beginning where there is one.
    pub(crate) fn text(&self, limit: usize) -> String {
        let skip = self.kept.len().saturating_sub(limit);
        let bytes: Vec<u8> = self.kept.iter().skip(skip).copied().collect();
        let start = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) if skip > 0 => at + 1,
            _ => 0,
        };
        printable(&bytes[start..])
    }
}

/// Text safe for a log or a terminal: control characters but line breaks and tabs are gone.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let keep = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    String::from_utf8_lossy(bytes).chars().filter(keep).collect()
}

/// Takes a lock whose data stays sound when a holder panics, as all here do.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pipe for a child's output: our end for a [`Head`], the other for the child.
pub(crate) fn pipe() -> io::Result<(pipe::Receiver, std::os::fd::OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((pipe::Receiver::from_owned_fd(ours)?, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_last_bytes() {
        let mut tail = Tail::new(4);
        tail.push(b"ab");
        tail.push(b"cde");
        assert_eq!(tail.text(4), "bcde");
        tail.push(b"0123456789");
        assert_eq!(tail.text(4), "6789");
    }

    #[test]
    fn a_shortened_tail_starts_at_a_line() {
        let mut tail = Tail::new(64);
        tail.push(b"first line\nsecond\nthird");
        assert_eq!(tail.text(10), "third");
        assert_eq!(tail.text(64), "first line\nsecond\nthird");
    }

    #[test]
    fn control_characters_are_stripped() {
        assert_eq!(printable(b"a\x1b[31mred\x07\r\n\tb\xc2\x9bc"), "a[31mred\n\tbc");
    }

    #[tokio::test]
    async fn a_head_keeps_the_first_bytes_and_reads_on() {
        let (ours, theirs) = pipe().expect("pipe");
        let head = Head::of(ours);
        let writer = std::thread::spawn(move || {
            let mut file = std::fs::File::from(theirs);
            std::io::Write::write_all(&mut file, b"the cause\n")?;
            std::io::Write::write_all(&mut file, &vec![b'x'; 1 << 20])
        });
        head.complete().await;
        writer.join().expect("joined").expect("every byte was taken");
        let text = head.text();
        assert!(text.starts_with("the cause\n"));
        assert_eq!(text.len(), STDERR_LIMIT);
    }
}
