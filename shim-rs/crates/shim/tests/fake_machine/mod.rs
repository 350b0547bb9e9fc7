// SPDX-License-Identifier: Apache-2.0
//! The whole shim without a VM and without an engine.
//!
//! ```text
//!  a test ── ttrpc ──▶ Service ─▶ Task ─▶ FakeHost: the share, and the agent as a plain process in it
//!     ▲ FIFOs, events                       in mount, network and pid namespaces of its own
//! ```
//! [`machine`] is the machine, [`liar`] an agent that does not keep its side, [`bundle`] what an engine would write,
//! [`containerd`] its end of the Task API and [`process`] one process as a client sees it. No expectations here.
//!
//! Needs root, busybox-static and a built agent, and fails with words where one is missing.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

pub mod bundle;
pub mod containerd;
pub mod events;
pub mod fifo;
pub mod liar;
pub mod machine;
pub mod process;

use std::future::Future;
use std::time::Duration;

/// Nothing a test waits for takes longer, on the slowest host.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must come; `what` is said when it does not.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {} s", PATIENCE.as_secs()),
    }
}

/// The tests make namespaces and mounts.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "the shim makes namespaces and mounts: run its tests as root"
    );
}
