// SPDX-License-Identifier: Apache-2.0
//! What Linux offers and no crate wraps, for host and guest alike. No policy: callers decide.
//!
//! - [`bpf`]: instructions of seccomp filters and of programs for cgroups
//! - [`delay`]: how long a process was kept from running
//! - [`mount`]: copies of mounts and their attributes, by descriptor
//! - [`netlink`]: rtnetlink's messages as bytes, and the socket they go through
//! - [`process`]: another process's state and start time, and its pidfd
//! - [`root`]: paths resolved inside a root, whatever links lie in it
//! - [`setting`]: one value of the kernel's
//! - [`text`]: what others wrote, without control characters

pub mod bpf;
pub mod delay;
pub mod mount;
pub mod netlink;
pub mod process;
pub mod root;
pub mod setting;
pub mod text;
