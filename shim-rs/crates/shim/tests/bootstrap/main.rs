// SPDX-License-Identifier: Apache-2.0
//! The program `containerd-shim-boxlite-v1` as containerd calls it, without a containerd.
//!
//! Needs root: the socket's directory is root's.

// What fails here is to fail the test.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod actions;
mod call;
mod probe;
mod start;
mod template;
