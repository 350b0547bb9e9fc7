// SPDX-License-Identifier: Apache-2.0
//! A `binary://` logger: a program of the host that reads a container's output.
//!
//! The contract is containerd's (pkg/shim logging, `logging.Run`): file descriptor 3 is stdout, 4 stderr, 5 is
//! closed by the logger when it is ready; CONTAINER_ID and CONTAINER_NAMESPACE are set; the URI's query becomes
//! arguments, `key value` each. nerdctl logs detached containers this way.

use std::os::fd::OwnedFd;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::Owner;
use super::sink::Sink;
use crate::error::chain;
use crate::host_cgroup;

/// How long a logger may take to say that it is ready, as in containerd.
const READY: Duration = Duration::from_secs(10);

/// Why there is no logger.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoggerError {
    #[error("log URI names no program by absolute path")]
    NoProgram,
    #[error("log program cannot be started")]
    Start(#[from] std::io::Error),
    #[error("descriptors of the log program collide")]
    Descriptors(#[from] command_fds::FdMappingCollision),
    #[error("log program did not become ready within {} s", READY.as_secs())]
    NotReady,
}

/// Splits a URI into program and arguments. Percent escapes are decoded.
fn parse(uri: &str) -> Result<(String, Vec<String>), LoggerError> {
    let rest = uri.strip_prefix("binary://").unwrap_or(uri);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err(LoggerError::NoProgram);
    }
    let mut arguments = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        arguments.push(unescape(key));
        if !value.is_empty() {
            arguments.push(unescape(value));
        }
    }
    Ok((unescape(path), arguments))
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Starts the logger and waits until it is ready. It ends by itself when both pipes are closed.
pub(super) async fn start(uri: &str, owner: Owner<'_>) -> Result<[Option<Sink>; 2], LoggerError> {
    let (program, arguments) = parse(uri)?;
    let (stdout, stdout_read) = output_pipe()?;
    let (stderr, stderr_read) = output_pipe()?;
    let (ready_read, ready) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut command = std::process::Command::new(program);
    // It outlives the container, whose cgroup must be removable, and is removed with whoever is in it.
    if let Err(error) = host_cgroup::start_outside(&mut command) {
        tracing::warn!(error = chain(&error), "the log program stays in the container's cgroup");
    }
    command
        .args(arguments)
        .env("CONTAINER_ID", owner.container_id)
        .env("CONTAINER_NAMESPACE", owner.namespace)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .fd_mappings(vec![
            FdMapping { parent_fd: stdout_read, child_fd: 3 },
            FdMapping { parent_fd: stderr_read, child_fd: 4 },
            FdMapping { parent_fd: ready, child_fd: 5 },
        ])?;
    let mut child = tokio::process::Command::from(command).spawn()?;
    // Reaped when it ends, whenever that is.
    tokio::spawn(async move { child.wait().await });
    let mut ready = pipe::Receiver::from_owned_fd(ready_read)?;
    tokio::time::timeout(READY, ready.read(&mut [0; 1])).await.map_err(|_| LoggerError::NotReady)??;
    Ok([Some(Sink::Pipe(stdout)), Some(Sink::Pipe(stderr))])
}

fn output_pipe() -> std::io::Result<(pipe::Sender, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((pipe::Sender::from_owned_fd(write)?, read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_becomes_arguments_in_order() {
        let (program, arguments) =
            parse("binary:///usr/bin/nerdctl?_NERDCTL_INTERNAL_LOGGING=/var%2Flib&x").unwrap();
        assert_eq!(program, "/usr/bin/nerdctl");
        assert_eq!(arguments, ["_NERDCTL_INTERNAL_LOGGING", "/var/lib", "x"]);
    }

    #[test]
    fn relative_program_is_refused() {
        assert!(matches!(parse("binary://logger"), Err(LoggerError::NoProgram)));
    }
}
