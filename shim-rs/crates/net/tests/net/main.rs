// SPDX-License-Identifier: Apache-2.0
//! Real namespaces, veths and taps. Needs root and iproute2 (to play the engine).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod pair;
mod redirect;
mod trunk;
