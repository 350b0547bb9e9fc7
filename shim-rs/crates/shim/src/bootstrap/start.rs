// SPDX-License-Identifier: Apache-2.0
//! The `start` action: make the socket, spawn the server with it, answer.
//!
//! The socket listens before the server runs, so the answer is true at once and nobody waits for the server to be up.
//! A member of a pod gets the address of its sandbox's shim (containerd groups by the CRI's sandbox id).

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use containerd_shim::{Flags, StartOpts};
use rustix::fs::Mode;

use super::protocol::{Call, Said, answer, understand};
use super::serve;
use crate::error::TaskError;

/// containerd's own bound on what it pipes in.
const MAX_STDIN: u64 = 10 << 20;
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";

pub(super) fn start(flags: &Flags) -> Result<(), TaskError> {
    let call = understand(said(flags), &read_stdin()?)?;
    let group = group(Path::new("config.json"), &call.id);
    let address = socket_address(&call, &group);
    let path = PathBuf::from(address.trim_start_matches("unix://"));
    if group == call.id {
        spawn(&call, listen(&path)?, &path)?;
    } else if UnixStream::connect(&path).is_err() {
        return Err(TaskError::Invalid { what: format!("the shim of sandbox {group} does not run") });
    }
    let mut stdout = std::io::stdout();
    stdout
        .write_all(&answer(&call, &address)?)
        .and_then(|()| stdout.flush())
        .map_err(TaskError::host("answering containerd"))
}

fn said(flags: &Flags) -> Said {
    Said {
        id: flags.id.clone(),
        namespace: flags.namespace.clone(),
        address: flags.address.clone(),
        debug: flags.debug,
        ttrpc_address: std::env::var("TTRPC_ADDRESS").ok(),
        max_version: std::env::var("MAX_SHIM_VERSION").ok(),
    }
}

fn read_stdin() -> Result<Vec<u8>, TaskError> {
    let stdin = std::io::stdin();
    let mut bytes = Vec::new();
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_STDIN).read_to_end(&mut bytes).map_err(TaskError::host("reading stdin"))?;
    }
    Ok(bytes)
}

/// The id of the shim that serves this container: its own, or its pod's sandbox.
fn group(config: &Path, id: &str) -> String {
    // A spec that cannot be read is Create's to refuse, with words.
    let spec: serde_json::Value =
        std::fs::read(config).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    spec["annotations"][SANDBOX_ID].as_str().filter(|sandbox| !sandbox.is_empty()).unwrap_or(id).to_owned()
}

fn socket_address(call: &Call, group: &str) -> String {
    let options = StartOpts {
        address: call.address.clone(),
        namespace: call.namespace.clone(),
        socket_dir: call.socket_dir.clone(),
        ..StartOpts::default()
    };
    options.socket_address(group)
}

/// Removes the socket a shim that was killed left behind. A newer containerd may have named another directory, which
/// only `start` was told: there the socket is containerd's to sweep with the directory.
pub(super) fn remove_socket(flags: &Flags) -> std::io::Result<()> {
    let options = StartOpts {
        address: flags.address.clone(),
        namespace: flags.namespace.clone(),
        ..StartOpts::default()
    };
    let address = options.socket_address(&flags.id);
    let path = Path::new(address.trim_start_matches("unix://"));
    // One that still answers belongs to a shim that lives.
    if UnixStream::connect(path).is_ok() {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A path socket in a directory of root's alone (an abstract one is reachable from every host-network container).
fn listen(path: &Path) -> Result<UnixListener, TaskError> {
    let make = || -> std::io::Result<UnixListener> {
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o711).create(parent)?;
        }
        match bind(path) {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && UnixStream::connect(path).is_err() =>
            {
                // The socket of a shim that was killed.
                std::fs::remove_file(path)?;
                bind(path)
            }
            other => other,
        }
    };
    make().map_err(TaskError::host("making the shim's socket"))
}

/// Whoever may write to the socket may drive the shim: root alone.
fn bind(path: &Path) -> std::io::Result<UnixListener> {
    // The mask is the process', which has no other thread.
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

fn spawn(call: &Call, listener: UnixListener, path: &Path) -> Result<(), TaskError> {
    let executable = std::env::current_exe().map_err(TaskError::host("finding the shim's own program"))?;
    let mut command = Command::new(executable);
    command
        .args(["-namespace", &call.namespace, "-id", &call.id, "-address", &call.address])
        .arg("-socket")
        .arg(path)
        .env("TTRPC_ADDRESS", &call.ttrpc_address)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if call.debug {
        command.arg("-debug");
    }
    command
        .fd_mappings(vec![FdMapping { parent_fd: listener.into(), child_fd: serve::LISTENER_FD }])
        .map_err(TaskError::host("passing the socket on"))?;
    let child = command.spawn().map_err(TaskError::host("starting the server"))?;
    adjust_oom_score(child.id());
    Ok(())
}

/// The shim is the last to go when the host runs out of memory, as runc's. Without CAP_SYS_RESOURCE it stays as it is.
fn adjust_oom_score(pid: u32) {
    if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "-998") {
        tracing::debug!(%error, "oom_score_adj stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_a_pod_belongs_to_its_sandbox() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.json");
        std::fs::write(&config, r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod1"}}"#).unwrap();
        assert_eq!(group(&config, "c1"), "pod1");
        std::fs::write(&config, "{}").unwrap();
        assert_eq!(group(&config, "c1"), "c1");
        assert_eq!(group(Path::new("/nonexistent"), "c1"), "c1");
    }

    #[test]
    fn the_socket_of_a_dead_shim_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s/socket");
        drop(listen(&path).unwrap());
        let _live = listen(&path).unwrap();
        assert!(listen(&path).is_err());
    }
}
