// SPDX-License-Identifier: Apache-2.0
//! Saving a machine and starting others from what was saved.
//!
//! A saved machine is two files: its *memory*, packed by [`memory`], and its *state*, which is QEMU's own stream of
//! processor and device state. Memory stays out of that stream (`x-ignore-shared`), so that it can be copied while
//! QEMU starts. This module knows nothing of where the files lie, how they are named, and whether they fit the host:
//! whoever calls it decides that, and checks the state's digest before handing it over.
//!
//! ```text
//!  Start::BootToSave(memory, state) ─ guest boots, waits ─▶ Machine::save ─▶ memory::pack ─▶ two files
//!  Start::Restore(image) ─▶ Machine::started: { copy of the memory, QEMU's start } ─ state read ─▶ running
//! ```
//! What is restored is the same machine: the same processor, memory size and devices in the same order, by the same
//! QEMU ([`crate::qemu::argv::shape`] names all of that). The guest goes on in the middle of what it did; telling it
//! who it is now is the caller's.

mod copy;
pub mod memory;

use std::fs::File;

pub(crate) use copy::Copying;
pub use memory::MemoryError;

/// Where a machine that is to be saved leaves its memory and its state.
#[derive(Debug)]
pub struct Saving {
    /// Guest memory, as [`memory::anonymous`] makes it. The machine runs in it; keep a duplicate for
    /// [`memory::pack`].
    pub memory: File,
    /// An empty file, open for reading and writing.
    pub state: File,
}

/// A saved machine, open. The files may lose their names meanwhile.
#[derive(Debug)]
pub struct Image {
    /// Packed memory.
    pub memory: File,
    /// QEMU's stream of processor and device state. It is trusted: check where it comes from.
    pub state: File,
}
