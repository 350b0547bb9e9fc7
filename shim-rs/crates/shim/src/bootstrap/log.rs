// SPDX-License-Identifier: Apache-2.0
//! Logging to containerd, which reads the FIFO `log` in the bundle and writes it into its own log.
//!
//! The FIFO is opened for reading too and without blocking: containerd may be away or slow, and neither may hold a
//! container. A line that does not fit is dropped.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

struct Fifo(File);

impl Write for Fifo {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(bytes.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Installs the subscriber and a panic hook that logs before the process aborts. containerd's `-debug` goes before
/// the configuration's level.
pub(super) fn init(debug: bool, level: Option<&str>) {
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0))
        .open("log");
    let Ok(file) = open else { return };
    let level = if debug { "debug" } else { level.unwrap_or("info") };
    let filter = EnvFilter::new(format!("{level},ttrpc=off,yamux=off"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(false)
        .with_writer(Mutex::new(Fifo(file)));
    if subscriber.try_init().is_err() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "the shim panicked")));
}
