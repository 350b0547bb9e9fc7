// SPDX-License-Identifier: Apache-2.0
//! QEMU's monitor: a small client for the few commands we need.
//!
//! One task owns the socket. It reads the greeting and negotiates on its own, whenever QEMU gets there;
//! nothing on the boot path waits for it. Then it takes one command at a time, and notes events.
//!
//! ```text
//! greeting -> qmp_capabilities -> ready <-> command in flight
//!      \______________\_____________\________________\____________> closed (QEMU ended)
//! ```

use std::{io, os::unix::net::UnixStream as StdUnixStream, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
};

/// Longest message that is accepted. QEMU is not trusted: a guest may have taken it over.
const MESSAGE_LIMIT: usize = 256 << 10;
/// How long QEMU may take over one command. All of ours are a matter of milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QmpError {
    /// QEMU has closed the monitor: it has ended, or is about to.
    Closed,
    /// QEMU is older than we can drive.
    TooOld { found: String, minimum: &'static str },
    /// QEMU refused, talked nonsense or did not answer in time.
    Refused { reason: String },
}

/// What the events of one migration told; QEMU's migration is our saving and restoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Migration {
    Completed,
    Failed,
}

#[derive(Debug)]
struct Request {
    command: &'static str,
    arguments: Option<Value>,
    reply: oneshot::Sender<Result<Value, QmpError>>,
}

/// A handle to the monitor of one QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    requests: mpsc::Sender<Request>,
    noted: watch::Receiver<Noted>,
    running: watch::Receiver<bool>,
}

/// What events told.
#[derive(Debug, Default)]
struct Noted {
    /// The reason of SHUTDOWN, when it was the guest's doing.
    shutdown: Option<String>,
    /// How the migration ended, once it has.
    migration: Option<Migration>,
    closed: bool,
}

impl Qmp {
    /// Serves `socket` in a task of the current runtime, until QEMU closes it. `running`: whether the processors run
    /// from the start; QEMU is asked once it can be.
    pub(crate) fn over(socket: StdUnixStream, running: bool) -> io::Result<Self> {
        let socket = UnixStream::from_std(socket)?;
        let (requests, mut inbox) = mpsc::channel(4);
        let (notes, noted) = watch::channel(Noted::default());
        let (runs, running) = watch::channel(running);
        tokio::spawn(async move {
            let mut driver = Driver { socket, buffer: Vec::new(), notes, runs };
            let end = driver.serve(&mut inbox).await;
            tracing::debug!(?end, "monitor closed");
            driver.notes.send_modify(|noted| noted.closed = true);
            // Whoever asks learns why, as long as anybody may ask.
            while let Some(request) = inbox.recv().await {
                let _ = request.reply.send(Err(end.clone()));
            }
        });
        Ok(Self { requests, noted, running })
    }

    /// Whether the processors run, as QEMU last told. Holds its last value once QEMU has closed the monitor.
    pub(crate) fn running(&self) -> watch::Receiver<bool> {
        self.running.clone()
    }

    /// Runs a command without arguments and returns QEMU's answer.
    pub(crate) async fn execute(&self, command: &'static str) -> Result<Value, QmpError> {
        self.request(command, None).await
    }

    /// Runs a command with arguments and returns QEMU's answer.
    pub(crate) async fn execute_with(
        &self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        self.request(command, Some(arguments)).await
    }

    /// Waits for the end of a migration that was begun; needs the capability `events`.
    pub(crate) async fn migrated(&self) -> Result<(), QmpError> {
        let mut noted = self.noted.clone();
        let ended = noted.wait_for(|noted| noted.migration.is_some() || noted.closed);
        let ended = match tokio::time::timeout(PATIENCE, ended).await {
            Ok(Ok(noted)) => noted.migration,
            Ok(Err(_)) => None,
            Err(_) => return Err(late()),
        };
        match ended {
            Some(Migration::Completed) => Ok(()),
            Some(Migration::Failed) => Err(self.migration_error().await),
            None => Err(QmpError::Closed),
        }
    }

    /// QEMU's words for a migration that failed.
    async fn migration_error(&self) -> QmpError {
        match self.execute("query-migrate").await {
            Ok(answer) => {
                let text = answer["error-desc"].as_str().unwrap_or("it failed without a reason");
                QmpError::Refused { reason: crate::capture::printable(text.as_bytes()) }
            }
            Err(error) => error,
        }
    }

    async fn request(&self, command: &'static str, arguments: Option<Value>) -> Result<Value, QmpError> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.requests.send(Request { command, arguments, reply }).await.map_err(|_| QmpError::Closed)?;
            answer.await.map_err(|_| QmpError::Closed)?
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| late())?
    }

    /// Why the guest shut down, as QEMU told before it closed the monitor. Waits for that close.
    pub(crate) async fn shutdown_reason(&self) -> Option<String> {
        let mut noted = self.noted.clone();
        // An error means the task is gone with its runtime: what was noted stands.
        let _ = noted.wait_for(|noted| noted.closed).await;
        noted.borrow().shutdown.clone()
    }
}

fn late() -> QmpError {
    QmpError::Refused { reason: format!("no answer in {} s", PATIENCE.as_secs()) }
}

/// The task's side.
#[derive(Debug)]
struct Driver {
    socket: UnixStream,
    buffer: Vec<u8>,
    notes: watch::Sender<Noted>,
    runs: watch::Sender<bool>,
}

impl Driver {
    /// Negotiates, then serves requests until either side closes. Returns why it stopped.
    async fn serve(&mut self, inbox: &mut mpsc::Receiver<Request>) -> QmpError {
        if let Err(error) = self.negotiate().await {
            return error;
        }
        loop {
            let message = tokio::select! {
                message = self.message() => message,
                request = inbox.recv() => match request {
                    Some(request) => {
                        let result = self.execute(request.command, request.arguments).await;
                        let closed = result.clone().err().filter(|error| *error == QmpError::Closed);
                        // Nobody waits any more when the caller gave up.
                        let _ = request.reply.send(result);
                        match closed { Some(end) => return end, None => continue }
                    }
                    None => return QmpError::Closed,
                },
            };
            match message {
                Ok(message) => self.note(&message),
                Err(end) => return end,
            }
        }
    }

    async fn negotiate(&mut self) -> Result<(), QmpError> {
        let greeting = self.message().await?;
        version_check(&greeting)?;
        self.execute("qmp_capabilities", None).await?;
        // Events are told from here on; what was before is asked for.
        let status = self.execute("query-status", None).await?;
        if let Some(running) = status["running"].as_bool() {
            self.runs.send_replace(running);
        }
        Ok(())
    }

    async fn execute(&mut self, command: &'static str, arguments: Option<Value>) -> Result<Value, QmpError> {
        let mut message = json!({ "execute": command });
        if let Some(arguments) = arguments {
            message["arguments"] = arguments;
        }
        let text = format!("{message}\n");
        self.socket.write_all(text.as_bytes()).await.map_err(|_| QmpError::Closed)?;
        loop {
            let mut message = self.message().await?;
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                let text = error.get("desc").and_then(Value::as_str).unwrap_or("no description");
                return Err(QmpError::Refused { reason: crate::capture::printable(text.as_bytes()) });
            }
            self.note(&message);
        }
    }

    /// Remembers what an event tells.
    fn note(&self, message: &Value) {
        let Some(event) = message.get("event").and_then(Value::as_str) else { return };
        tracing::debug!(event, "machine event");
        match event {
            "STOP" => drop(self.runs.send_replace(false)),
            "RESUME" => drop(self.runs.send_replace(true)),
            _ => {}
        }
        let data = &message["data"];
        if event == "SHUTDOWN" && data["guest"].as_bool() == Some(true) {
            let reason = data["reason"].as_str().unwrap_or("guest-shutdown").to_owned();
            self.notes.send_modify(|noted| noted.shutdown = Some(reason));
        }
        let migration = match (event, data["status"].as_str()) {
            ("MIGRATION", Some("completed")) => Migration::Completed,
            ("MIGRATION", Some("failed" | "cancelled")) => Migration::Failed,
            _ => return,
        };
        self.notes.send_modify(|noted| noted.migration = Some(migration));
    }

    /// The next message. Safe to drop half-way: what was read stays in the buffer.
    async fn message(&mut self) -> Result<Value, QmpError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map_err(|_| QmpError::Refused { reason: "not a message".to_owned() });
            }
            if self.buffer.len() > MESSAGE_LIMIT {
                return Err(QmpError::Refused { reason: "message too long".to_owned() });
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(QmpError::Closed),
            }
        }
    }
}

fn version_check(greeting: &Value) -> Result<(), QmpError> {
    let version = &greeting["QMP"]["version"]["qemu"];
    let part = |name: &str| version[name].as_u64();
    let (Some(major), Some(minor)) = (part("major"), part("minor")) else {
        return Err(QmpError::Refused { reason: "no version in the greeting".to_owned() });
    };
    let (least_major, least_minor) = super::MINIMUM_VERSION;
    if (major, minor) < (u64::from(least_major), u64::from(least_minor)) {
        return Err(QmpError::TooOld { found: format!("{major}.{minor}"), minimum: "8.2" });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
