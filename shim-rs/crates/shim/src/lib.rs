// SPDX-License-Identifier: Apache-2.0
//! The shim.
pub mod plan;
