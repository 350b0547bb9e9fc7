// SPDX-License-Identifier: Apache-2.0
//! The agent driven over its channel as the shim drives it: as a plain process, and in machines.
//!
//! Needs root and busybox-static; a test run by somebody else says that it was skipped. What boots a machine is
//! ignored by default: `cargo run -p xtask -- agent && cargo test -p boxlite-agent -- --ignored`, with QEMU,
//! virtiofsd and the guest kernel installed.

// What fails here is to fail the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod child;
mod given;
mod host;
mod isolation;
mod lifecycle;
mod machine;
mod mounts;
mod plans;
mod programs;
mod qemu;
mod relays;
mod streams;
mod terminal;

/// A test with an agent of its own, which must have ended well afterwards.
#[macro_export]
macro_rules! agent_test {
    ($name:ident, $guest:ident, $body:block) => {
        #[tokio::test]
        async fn $name() {
            if !$crate::host::is_root() {
                return;
            }
            let $guest = $crate::host::Guest::start().await;
            $crate::child::in_time(async { $body }).await;
            assert_eq!($guest.end().await, Some(0));
        }
    };
}

/// A test with an agent that is PID 1 of a machine.
#[macro_export]
macro_rules! machine_test {
    ($name:ident, $guest:ident, $body:block) => {
        #[tokio::test]
        #[ignore = "boots a machine"]
        async fn $name() {
            let $guest = $crate::host::Guest::boot(&[]).await;
            $crate::child::in_time(async {
                $crate::machine::configure(&$guest).await;
                $body
            })
            .await;
            assert_eq!($guest.end().await, Some(0));
        }
    };
}
