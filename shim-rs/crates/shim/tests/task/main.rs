// SPDX-License-Identifier: Apache-2.0
//! The contracts of the Task API, each by its name, kept by the whole shim on a fake machine.
//!
//! Needs root, busybox-static and `cargo build -p boxlite-agent`.

// What fails here is to fail the test.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../fake_machine/mod.rs"]
mod fake_machine;

mod double;
mod exits;
mod guest;
mod hooks;
mod input;
mod liars;
mod life;
mod many;
mod memory;
mod news;
mod output;
mod pause;
mod processes;
mod states;
mod terminal;
