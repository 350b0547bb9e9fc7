// SPDX-License-Identifier: Apache-2.0
//! containerd's ends of the stdio FIFOs.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::soon;

/// The FIFOs of one process.
#[derive(Debug, Default)]
pub struct Fifos {
    pub stdin: Option<PathBuf>,
    pub stdout: Option<PathBuf>,
    pub stderr: Option<PathBuf>,
}

impl Fifos {
    /// Fresh ones; those of an earlier process of that name are gone.
    pub fn make(directory: &Path, name: &str, stdin: bool, terminal: bool) -> Self {
        let make = |kind| {
            let path = directory.join(format!("{name}-{kind}"));
            if path.exists() {
                std::fs::remove_file(&path).unwrap();
            }
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap();
            path
        };
        Self {
            stdin: stdin.then(|| make("stdin")),
            stdout: Some(make("stdout")),
            stderr: (!terminal).then(|| make("stderr")),
        }
    }
}

/// As the Task API names it.
pub fn name(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// Somebody who reads an output until it is closed.
#[derive(Debug)]
pub struct Reader(oneshot::Receiver<std::io::Result<Vec<u8>>>);

impl Reader {
    /// Opened at once, as containerd does, so that nothing is lost however short the writer's visit is.
    pub fn start(path: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        let (done, all) = oneshot::channel();
        std::thread::spawn(move || {
            // A test that does not look is one that is over.
            let _ = done.send(read_to_end(fifo));
        });
        Self(all)
    }

    /// All there was.
    pub async fn all(self) -> Vec<u8> {
        soon("the end of an output", self.0).await.unwrap().unwrap()
    }

    pub async fn text(self) -> String {
        String::from_utf8(self.all().await).unwrap()
    }
}

/// Somebody who reads an output as it comes and never sees its end.
#[derive(Debug)]
pub struct Listener {
    fifo: pipe::Receiver,
    heard: Vec<u8>,
}

impl Listener {
    pub fn open(path: &Path) -> Self {
        let fifo = pipe::OpenOptions::new().read_write(true).open_receiver(path).unwrap();
        Self { fifo, heard: Vec::new() }
    }

    /// Reads until `text` was seen; what came up to its end.
    pub async fn until(&mut self, text: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let found = self.heard.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(start) = found {
                let seen: Vec<u8> = self.heard.drain(..start + text.len()).collect();
                return String::from_utf8(seen).unwrap();
            }
            let what = format!("{text:?} after {:?}", String::from_utf8_lossy(&self.heard));
            let count = soon(&what, self.fifo.read(&mut buffer)).await.unwrap();
            self.heard.extend_from_slice(&buffer[..count]);
        }
    }
}

/// Waits for the first writer to come, then for the last to go.
fn read_to_end(fifo: OwnedFd) -> std::io::Result<Vec<u8>> {
    poll(&mut [PollFd::new(&fifo, PollFlags::IN)], None)?;
    rustix::fs::fcntl_setfl(&fifo, OFlags::empty())?;
    let mut bytes = Vec::new();
    File::from(fifo).read_to_end(&mut bytes)?;
    Ok(bytes)
}
