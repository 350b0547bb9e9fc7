// SPDX-License-Identifier: Apache-2.0
//! The machine's memory as a whole.

use std::{io, ptr};

use super::check_int;

/// Bytes that are taken at a time; whole pages.
const STEP: usize = 1 << 20;

/// Bytes nobody uses.
fn free_memory() -> usize {
    let info = rustix::system::sysinfo();
    let free = info.freeram.saturating_mul(u64::from(info.mem_unit));
    usize::try_from(free).unwrap_or(usize::MAX)
}

/// Takes free memory until no more than `reserve` bytes of it are left, every page of it, and gives it back.
pub(crate) fn touch_free(reserve: usize) -> io::Result<()> {
    let size = free_memory().saturating_sub(reserve).next_multiple_of(STEP);
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping wherever the kernel wants it.
    let start = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut touched = Ok(0);
    let mut done = 0;
    // Page tables and caches take memory too: what is left is asked for before each step.
    while touched.is_ok() && done < size && free_memory() > reserve + STEP {
        // SAFETY: a part of the mapping made above, which nobody else knows.
        touched = check_int(unsafe { libc::madvise(start.byte_add(done), STEP, libc::MADV_POPULATE_WRITE) });
        done += STEP;
    }
    // SAFETY: the mapping made above, which is not used after this.
    let returned = check_int(unsafe { libc::munmap(start, size) });
    touched.and(returned).map(drop)
}
