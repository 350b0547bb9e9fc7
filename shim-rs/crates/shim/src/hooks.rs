// SPDX-License-Identifier: Apache-2.0
//! Runs the hooks an OCI spec asks for on the host: prestart, createRuntime, poststart and poststop.
//!
//! Engines build a container's network in them, so they run once the machine's network namespace has a process in it.
//! Which hooks run when is the caller's business, as is the state they are told. Hooks inside the container
//! (createContainer, startContainer) are not run here.
//!
//! A hook is a program the engine chose: it is trusted, but not to end, to read its input or to close its output. So its
//! standard input and error are files in memory, not pipes: nothing here waits for the other end.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use boxlite_linux::text::one_line;
use oci_spec::runtime::Hook;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How much of a failed hook's standard error is quoted, in bytes. The end of it: that is where the reason is.
const QUOTED: u64 = 2048;

/// The version of OCI's runtime specification the state is written to.
const OCI_VERSION: &str = "1.2.0";

/// What a hook is told on standard input: the state of OCI's runtime specification.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    oci_version: &'static str,
    id: &'a str,
    status: &'a str,
    pid: u32,
    bundle: &'a Path,
    annotations: &'a HashMap<String, String>,
}

impl<'a> State<'a> {
    /// `status` is `creating`, `created`, `running` or `stopped`; `pid` a process in the container's namespaces (the
    /// VMM), 0 for a stopped container. Hooks run in the directory `bundle`.
    #[must_use]
    pub fn new(
        id: &'a str,
        status: &'a str,
        pid: u32,
        bundle: &'a Path,
        annotations: &'a HashMap<String, String>,
    ) -> Self {
        Self { oci_version: OCI_VERSION, id, status, pid, bundle, annotations }
    }
}

/// Why a hook did not do its work.
#[derive(Debug, Error)]
pub enum HookError {
    /// The spec describes no hook that could be run.
    #[error("hook {} {why}", path.display())]
    Malformed {
        /// The hook's program.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The program could not be started.
    #[error("could not start hook {}", path.display())]
    Start {
        /// The hook's program.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// The program ended badly.
    #[error("hook {} {end}: {stderr}", path.display())]
    Failed {
        /// The hook's program.
        path: PathBuf,
        /// "exited with 1", "was killed by signal 9".
        end: String,
        /// The end of what it wrote to standard error, made printable.
        stderr: String,
    },
    /// The program took too long and was killed.
    #[error("hook {} did not end within {} s and was killed: {stderr}", path.display(), limit.as_secs())]
    TimedOut {
        /// The hook's program.
        path: PathBuf,
        /// The time the spec gives it.
        limit: Duration,
        /// The end of what it wrote to standard error, made printable.
        stderr: String,
    },
}

/// Runs hooks in order and ends with the first that fails: prestart, createRuntime.
pub async fn run(hooks: &[Hook], state: &State<'_>) -> Result<(), HookError> {
    for hook in hooks {
        run_one(hook, state).await?;
    }
    Ok(())
}

/// Runs hooks in order, each whatever became of those before it, and returns the failures: poststart, poststop.
pub async fn run_each(hooks: &[Hook], state: &State<'_>) -> Vec<HookError> {
    let mut failures = Vec::new();
    for hook in hooks {
        failures.extend(run_one(hook, state).await.err());
    }
    failures
}

async fn run_one(hook: &Hook, state: &State<'_>) -> Result<(), HookError> {
    let path = hook.path().clone();
    let limit = limit(hook)?;
    let (mut child, mut stderr) = start(hook, state)?;
    let ended = match limit {
        None => child.wait().await,
        Some(limit) => match timeout(limit, child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                kill(&mut child, &path).await?;
                return Err(HookError::TimedOut { path, limit, stderr: quote(&mut stderr) });
            }
        },
    };
    let status = ended.map_err(|source| HookError::Start { path: path.clone(), source })?;
    if status.success() {
        return Ok(());
    }
    Err(HookError::Failed { path, end: describe(status), stderr: quote(&mut stderr) })
}

/// The time a well-formed hook has; none: as long as it takes.
fn limit(hook: &Hook) -> Result<Option<Duration>, HookError> {
    let malformed = |why| HookError::Malformed { path: hook.path().clone(), why };
    if !hook.path().is_absolute() {
        return Err(malformed("has no absolute path"));
    }
    if hook.env().iter().flatten().any(|pair| !pair.contains('=')) {
        return Err(malformed("has an environment entry without `=`"));
    }
    match hook.timeout().map(u64::try_from) {
        None => Ok(None),
        Some(Ok(seconds)) if seconds > 0 => Ok(Some(Duration::from_secs(seconds))),
        Some(_) => Err(malformed("has a timeout that is not above zero")),
    }
}

/// The running hook, and the file its standard error goes to.
fn start(hook: &Hook, state: &State<'_>) -> Result<(Child, File), HookError> {
    let failed = |source| HookError::Start { path: hook.path().clone(), source };
    let mut stdin = memory_file("boxlite-hook-state").map_err(failed)?;
    serde_json::to_writer(&mut stdin, state).map_err(|error| failed(error.into()))?;
    stdin.flush().and_then(|()| stdin.rewind()).map_err(failed)?;
    let stderr = memory_file("boxlite-hook-error").map_err(failed)?;

    let mut command = Command::new(hook.path());
    if let Some((name, arguments)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(arguments);
    }
    command.env_clear();
    command.envs(hook.env().iter().flatten().filter_map(|pair| pair.split_once('=')));
    command
        .current_dir(state.bundle)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::from(stderr.try_clone().map_err(failed)?))
        // A group of its own, so that a timeout ends what the hook started too.
        .process_group(0)
        .kill_on_drop(true);
    Ok((command.spawn().map_err(failed)?, stderr))
}

/// Kills the hook and what it started, and reaps it.
async fn kill(child: &mut Child, path: &Path) -> Result<(), HookError> {
    let failed = |source| HookError::Start { path: path.to_owned(), source };
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process_group(pid, Signal::KILL).map_err(|errno| failed(errno.into()))?;
    }
    child.wait().await.map(drop).map_err(failed)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended without a status".into(),
    }
}

fn memory_file(name: &str) -> std::io::Result<File> {
    Ok(memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

/// The end of `file` as one printable line.
fn quote(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let end = file.seek(SeekFrom::End(0)).unwrap_or(0);
    let read = file
        .seek(SeekFrom::Start(end.saturating_sub(QUOTED)))
        .and_then(|_| file.take(QUOTED).read_to_end(&mut bytes));
    if let Err(error) = read {
        return format!("(its standard error cannot be read: {error})");
    }
    let text = one_line(&String::from_utf8_lossy(&bytes), usize::MAX);
    let words: Vec<_> = text.split_whitespace().collect();
    if words.is_empty() { "(it said nothing on standard error)".into() } else { words.join(" ") }
}

#[cfg(test)]
mod tests;
