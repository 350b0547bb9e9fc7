// SPDX-License-Identifier: Apache-2.0
//! Nothing stays behind: not after a life, not after a Create that failed at any of its steps, not after a shim that was
//! killed.
//!
//! These tests count what this process holds and move it between cgroups, so they run one after the other.
//! Needs root, busybox-static and `cargo build -p boxlite-agent`.

// What fails here is to fail the test.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../fake_machine/mod.rs"]
mod fake_machine;

mod census;
mod create;
mod killed_shim;
mod life;
