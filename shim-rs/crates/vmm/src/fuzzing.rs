// SPDX-License-Identifier: Apache-2.0
//! Doors for `shim-rs/fuzz` to what reads the words of a VMM that a guest may have taken over. In no build for use.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use crate::qemu::qmp::Qmp;

/// Has the monitor's client hear `said` and then the end, while it asks for all it ever asks.
///
/// # Errors
/// There is no socket to be had, or `said` does not fit into one.
pub async fn hear_monitor(said: &[u8]) -> std::io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    theirs.write_all(said)?;
    theirs.shutdown(Shutdown::Write)?;
    let qmp = Qmp::over(ours, true)?;
    // Whatever they come to; that they come to an end is the caller's to see.
    let _ = tokio::join!(qmp.execute("query-status"), qmp.migrated(), qmp.shutdown_reason());
    Ok(())
}
