// SPDX-License-Identifier: Apache-2.0
//! The machine's memory as a whole.

use std::{io, ptr};

use super::check_int;

/// Of this architecture.
const PAGE: usize = 4096;
/// Bytes that are taken at a time; whole pages.
const STEP: usize = 1 << 20;

/// Bytes nobody uses, of the memory that is in: `sysinfo` counts what the kernel has not taken in as well.
fn free_memory() -> io::Result<usize> {
    let counters = std::fs::read_to_string("/proc/vmstat")?;
    let pages = counters.lines().find_map(|line| line.strip_prefix("nr_free_pages "));
    let pages = pages.and_then(|pages| pages.trim().parse::<usize>().ok());
    pages.map(|pages| pages * PAGE).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Takes free memory until no more than `reserve` bytes of it are left, every page of it, and gives it back.
pub(crate) fn touch_free(reserve: usize) -> io::Result<()> {
    let size = free_memory()?.saturating_sub(reserve).next_multiple_of(STEP);
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping wherever the kernel wants it.
    let start = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let touched = touch(start, size, reserve);
    // SAFETY: the mapping made above, which is not used after this.
    let returned = check_int(unsafe { libc::munmap(start, size) });
    touched?;
    returned.map(drop)
}

/// Takes the pages of a mapping that nobody else knows, one step after the other.
fn touch(start: *mut libc::c_void, size: usize, reserve: usize) -> io::Result<()> {
    for at in (0..size).step_by(STEP) {
        // Page tables and caches take memory too: what is left is asked for before each step.
        if free_memory()? <= reserve + STEP {
            break;
        }
        // SAFETY: a part of the mapping.
        check_int(unsafe { libc::madvise(start.byte_add(at), STEP, libc::MADV_POPULATE_WRITE) })?;
    }
    Ok(())
}
