// SPDX-License-Identifier: Apache-2.0
//! What Linux offers and no crate wraps, for host and guest alike. No policy: callers decide.
//!
//! - [`root`]: paths resolved inside a root, whatever links lie in it
//! - [`mount`]: attributes of mounts, by descriptor

pub mod mount;
pub mod root;
