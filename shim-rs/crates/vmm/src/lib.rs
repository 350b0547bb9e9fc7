// SPDX-License-Identifier: Apache-2.0
//! Boots, pauses and ends one machine.
//!
//! A *machine* is one virtual machine: one QEMU process, its memory and its devices. This crate owns that
//! process and the host ends of its sockets. It knows nothing of containers, OCI or containerd, and makes no
//! mount, namespace, tap or cgroup: whoever calls it prepares those and hands over file descriptors.
//!
//! ```text
//!            launch                      exited resolves
//!   (none) ----------> running <---------------------------.
//!                        |  ^                               |
//!                  pause |  | resume                        |
//!                        v  |          end, guest power-off |
//!                       paused ---------> ended <-----------'
//! ```
//!
//! Order of calls: [`virtiofsd::launch`] (its socket goes into [`MachineConfig::share`]), then
//! [`Hypervisor::launch`], [`Machine::started`], [`Machine::take_channel`], any number of [`Machine::pause`] and
//! [`Machine::resume`], and [`Machine::end`]. [`Machine::exited`] may be awaited at any time, by many. A machine may
//! also start where a saved one stood: see [`template`].
//!
//! Every process here is a direct child, watched through a pidfd: no SIGCHLD handler, and nobody else in this
//! program may reap children with `waitpid(-1)` (the exit would be reported as [`ProcessExit::Unknown`]).
//!
//! [`Hypervisor`] and [`Machine`] are shaped by what the shim needs, not by what QEMU can do.

mod capture;
mod console;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod host_tsc;
mod machine;
mod process;
pub mod qemu;
mod socket;
pub mod template;
pub mod virtiofsd;

pub use error::VmmError;
pub use machine::{Accel, Hypervisor, Machine, MachineConfig, MachineExit, Nic, Share, Start, Transport};
pub use process::{Process, ProcessExit};
pub use qemu::{BoundQemu, Qemu};
