// SPDX-License-Identifier: Apache-2.0
//! How much of the machine's memory the guest takes. It boots in the first part and takes in the rest when it is
//! needed, up to this (guest-kernel-config/patches). The host holds the same bound: what lies beyond does not exist.

use std::fs;
use std::io::ErrorKind;

use crate::error::{Fault, Trying};

const LIMIT: &str = "/sys/module/grow/parameters/limit";

/// Lets the kernel take memory up to `bytes` from the machine's first; 0: as it is.
pub(crate) fn allow(bytes: u64) -> Result<(), Fault> {
    if bytes == 0 {
        return Ok(());
    }
    match fs::write(LIMIT, bytes.to_string()) {
        // A kernel of somebody else's, which has all of its memory since it booted; or no machine at all.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        written => written.trying(|| format!("write {LIMIT}")),
    }
}
