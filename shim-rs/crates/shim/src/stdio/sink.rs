// SPDX-License-Identifier: Apache-2.0
//! Where output goes: what containerd's stdout and stderr URIs mean (containerd pkg/shim io, docs/runtime-v2.md "Logging").
//!
//! A plain path or `fifo://` is a FIFO, `file://` a file that is appended to, `binary://` a logger program that reads
//! both outputs from pipes ([`super::logger`]).

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::fs::File;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;

use super::{Owner, logger};
use crate::error::TaskError;

/// One open output.
#[derive(Debug)]
pub(super) enum Sink {
    Pipe(pipe::Sender),
    File(File),
}

impl Sink {
    /// Opens stdout's and stderr's sinks, in this order.
    pub(super) async fn open(
        stdout: Option<&str>,
        stderr: Option<&str>,
        owner: Owner<'_>,
    ) -> Result<[Option<Self>; 2], TaskError> {
        if let Some(uri) = stdout.or(stderr).filter(|uri| uri.starts_with("binary://")) {
            return logger::start(uri, owner).await.map_err(TaskError::stdio("starting the log program"));
        }
        let stdout = match stdout {
            Some(uri) => Some(Self::open_one(uri).await?),
            None => None,
        };
        let stderr = match stderr {
            Some(uri) => Some(Self::open_one(uri).await?),
            None => None,
        };
        Ok([stdout, stderr])
    }

    async fn open_one(uri: &str) -> Result<Self, TaskError> {
        if let Some(path) = uri.strip_prefix("file://") {
            return Self::open_file(Path::new(path)).await.map_err(TaskError::stdio("opening the log file"));
        }
        let path = uri.strip_prefix("fifo://").unwrap_or(uri);
        if path.contains("://") {
            return Err(TaskError::Invalid {
                what: format!("output URI {uri} has a scheme boxlite does not know"),
            });
        }
        // Read and write: a reader that goes away and comes back (containerd's restart) breaks nothing.
        pipe::OpenOptions::new()
            .read_write(true)
            .open_sender(path)
            .map(Self::Pipe)
            .map_err(TaskError::stdio("opening an output FIFO"))
    }

    async fn open_file(path: &Path) -> std::io::Result<Self> {
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        tokio::fs::OpenOptions::new().create(true).append(true).open(path).await.map(Self::File)
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(context, bytes),
            Self::File(file) => Pin::new(file).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_flush(context),
            Self::File(file) => Pin::new(file).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_shutdown(context),
            Self::File(file) => Pin::new(file).poll_shutdown(context),
        }
    }
}
