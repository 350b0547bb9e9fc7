// SPDX-License-Identifier: Apache-2.0
//! What a machine does before it is saved as a template: leave little in memory, for all of it is copied into every
//! clone. Only pages that are not zero are kept, so pages that are free are made zero here.
//!
//! Costs seconds and touches the whole memory once; a machine that boots for a container does none of it.

use std::fs;

use crate::error::{Fault, Trying};
use crate::sys;

const CACHES: &str = "/proc/sys/vm/drop_caches";
const COMPACT: &str = "/proc/sys/vm/compact_memory";
const RESERVE: &str = "/proc/sys/vm/min_free_kbytes";
/// Beside what the kernel keeps for itself; PID 1 must not run out of memory.
const SPARE: usize = 4 << 20;

/// Whether the kernel was told so.
pub(crate) fn will_be_saved() -> Result<bool, Fault> {
    let what = || "read the kernel's command line".to_owned();
    let line = fs::read_to_string("/proc/cmdline").trying(what)?;
    Ok(line.split_whitespace().any(|word| word == boxlite_protocol::SAVE_ARGUMENT))
}

/// Makes little of what is in memory.
pub(crate) fn tidy() -> Result<(), Fault> {
    fs::write(CACHES, "3").trying(|| "drop caches".to_owned())?;
    fs::write(COMPACT, "1").trying(|| "compact memory".to_owned())?;
    let reserve = fs::read_to_string(RESERVE).trying(|| "read the kernel's reserve".to_owned())?;
    let reserve = reserve.trim().parse::<usize>().unwrap_or(0) << 10;
    // The kernel zeroes what it hands out, and takes it back as it is.
    sys::touch_free(2 * reserve + SPARE).trying(|| "clear free memory".to_owned())
}
