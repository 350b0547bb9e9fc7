// SPDX-License-Identifier: Apache-2.0
//! Bounded memory of what a child or a guest writes.
//!
//! Two keep-sakes, since what matters sits at different ends: a [`Head`] for a program's stderr (the first
//! complaint is the cause, and the panic of a thread wherever it comes), a [`Tail`] for a guest console (the last
//! lines are the cause). Both drop what does not fit, so a writer can neither stall nor fill memory.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(crate) use boxlite_linux::text::printable;
use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch};

/// Bytes of a program's stderr that are kept.
const STDERR_LIMIT: usize = 4096;
/// Bytes that are kept of a panic, from the beginning of its line.
const PANIC_LIMIT: usize = 1024;
/// Bytes of a line that are kept in case it turns out to be a panic's.
const LINE_LIMIT: usize = 256;
/// What the line of a panicking thread holds (`std::panic`'s own hook).
const PANIC: &[u8] = b"panicked at ";

/// The first bytes a child wrote to its stderr, and the first panic among all it wrote.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    kept: Arc<Mutex<Kept>>,
    /// Set when the line of a panic is there.
    panicked: watch::Receiver<bool>,
    closed: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct Kept {
    first: Vec<u8>,
    panic: Panic,
}

impl Head {
    /// Reads `pipe` to its end in a task of the current runtime. Later bytes are looked at and forgotten.
    pub(crate) fn of(mut pipe: pipe::Receiver) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (done, closed) = watch::channel(false);
        let (alarm, panicked) = watch::channel(false);
        let sink = Arc::clone(&kept);
        tokio::spawn(async move {
            let mut chunk = [0; 1024];
            while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
                if lock(&sink).take(&chunk[..count]) {
                    alarm.send_replace(true);
                }
            }
            // A line that will not be ended any more is as long as it gets.
            alarm.send_replace(lock(&sink).panic.text.is_some());
            done.send_replace(true);
        });
        Self { kept, panicked, closed }
    }

    /// What was kept, as printable text without the final line break. A panic that is not among the first bytes
    /// follows them.
    pub(crate) fn text(&self) -> String {
        let kept = lock(&self.kept);
        let first = printable(&kept.first).trim_end().to_owned();
        match kept.panic.text.as_deref().map(printable) {
            Some(panic) if !first.contains(panic.trim_end()) => {
                format!("{first}\n[...]\n{}", panic.trim_end())
            }
            _ => first,
        }
    }

    /// Waits until a thread has said that it panicked; for ever if none does.
    pub(crate) async fn panicked(&self) {
        if self.panicked.clone().wait_for(|panicked| *panicked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until every writer has closed its end.
    pub(crate) async fn complete(&self) {
        // An error means the reading task is gone with its runtime: nothing more will come.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

impl Kept {
    /// Takes the next bytes; true once the line of a panic is there.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let room = STDERR_LIMIT - self.first.len();
        self.first.extend(bytes.iter().take(room));
        self.panic.take(bytes)
    }
}

/// Looks for the first panic in a stream that comes in pieces.
#[derive(Debug, Default)]
struct Panic {
    /// The end of the line that is not ended yet.
    line: Vec<u8>,
    /// The panic, from the beginning of its line.
    text: Option<Vec<u8>>,
}

impl Panic {
    /// Takes the next bytes; true once the panic's line is there, or as much of it as is kept.
    fn take(&mut self, bytes: &[u8]) -> bool {
        match &mut self.text {
            Some(text) => text.extend(bytes.iter().take(PANIC_LIMIT - text.len())),
            None => {
                self.line.extend(bytes);
                self.look();
            }
        }
        self.text.as_ref().is_some_and(|text| text.len() == PANIC_LIMIT || text.contains(&b'\n'))
    }

    fn look(&mut self) {
        let ends_before = |at: usize| self.line[..at].iter().rposition(|byte| *byte == b'\n');
        let begin = |at: usize| ends_before(at).map_or(0, |end| end + 1);
        if let Some(at) = self.line.windows(PANIC.len()).position(|window| window == PANIC) {
            let begin = begin(at).max(at.saturating_sub(LINE_LIMIT));
            self.text = Some(self.line[begin..].iter().take(PANIC_LIMIT).copied().collect());
            self.line = Vec::new();
        } else {
            let begin = begin(self.line.len()).max(self.line.len().saturating_sub(LINE_LIMIT));
            self.line.drain(..begin);
        }
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

    const SAID: &str = "thread 'worker' panicked at src/x.rs:1:2:\nindex out of bounds\n";

    #[test]
    fn a_panic_is_found_wherever_its_stream_is_cut() {
        let stream = format!("[WARN] careful\n{SAID}");
        for size in 1..=stream.len() {
            let mut panic = Panic::default();
            let mut seen = false;
            for piece in stream.as_bytes().chunks(size) {
                seen = panic.take(piece);
            }
            assert!(seen, "in pieces of {size}");
            assert_eq!(panic.text.as_deref(), Some(SAID.as_bytes()), "in pieces of {size}");
        }
    }

    #[test]
    fn a_panic_is_told_when_its_line_is_whole() {
        let mut panic = Panic::default();
        assert!(!panic.take(b"thread 'worker' panicked at src"));
        assert!(panic.take(b"/x.rs:1:2:\n"));
    }

    #[test]
    fn a_stream_without_line_breaks_is_looked_at_in_bounded_memory() {
        let mut panic = Panic::default();
        for _ in 0..1000 {
            assert!(!panic.take(&[b'x'; 1024]));
            assert!(panic.line.len() <= LINE_LIMIT);
        }
        panic.take(PANIC);
        assert!(panic.take(&[b'y'; 2 * PANIC_LIMIT]));
        let text = panic.text.unwrap_or_default();
        assert_eq!(text.len(), PANIC_LIMIT);
        assert!(text.windows(PANIC.len()).any(|window| window == PANIC));
    }

    #[tokio::test]
    async fn a_panic_after_all_that_is_kept_is_in_the_text() {
        let (ours, theirs) = pipe().expect("pipe");
        let head = Head::of(ours);
        let mut file = std::fs::File::from(theirs);
        let warnings = "[WARN] careful\n".repeat(1000);
        std::io::Write::write_all(&mut file, warnings.as_bytes()).expect("written");
        std::io::Write::write_all(&mut file, SAID.as_bytes()).expect("written");
        let panicked = tokio::time::timeout(std::time::Duration::from_secs(10), head.panicked());
        panicked.await.expect("the panic is noticed");
        let text = head.text();
        assert!(text.starts_with("[WARN] careful\n"), "{text}");
        assert!(text.contains("thread 'worker' panicked at src/x.rs:1:2:"), "{text}");
        assert!(text.len() < STDERR_LIMIT + PANIC_LIMIT + 10);
    }

    #[tokio::test]
    async fn a_panic_among_the_first_bytes_is_told_once() {
        let (ours, theirs) = pipe().expect("pipe");
        let head = Head::of(ours);
        std::io::Write::write_all(&mut std::fs::File::from(theirs), SAID.as_bytes()).expect("written");
        head.complete().await;
        head.panicked().await;
        assert_eq!(head.text(), SAID.trim_end());
    }
}
