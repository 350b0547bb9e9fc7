// SPDX-License-Identifier: Apache-2.0
//! The agent as a plain process, driven over its channel as the shim drives it.
//!
//! Needs root and busybox-static; a test run by somebody else says that it was skipped.

// What fails here is to fail the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod host;
mod isolation;
mod lifecycle;
mod mounts;
mod plans;
mod programs;
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
            $body
            assert_eq!($guest.end().await, Some(0));
        }
    };
}
