// SPDX-License-Identifier: Apache-2.0
//! Huge pages for what a restored machine has most of: its kernel, its table of pages.
//!
//! Under KVM each first touch of a page is an exit of the guest and a fault of QEMU's; of a huge page one in 512. Zero
//! pages within one take memory that they did not take before, so only ranges that are kept by half or more are
//! huge. No file of shared memory has huge pages by itself: `shmem_enabled` is `never` on every distribution. Asking
//! for them range by range heeds no setting but `deny`, and takes Linux 6.1; where it is refused the pages stay small,
//! which is slower and nothing else.
//!
//! Owns: which ranges, and asking. Call order: [`prepare`], while the memory is empty: what is written afterwards goes
//! into the huge pages, and is not copied once more.

use std::{collections::BTreeMap, fs::File, io, ops::Range, ptr};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::{Extent, PAGE_BYTES};

/// Size of a huge page on every processor that machines run on.
const PAGE: usize = 2 << 20;
const HUGE: u64 = PAGE as u64;

/// Bytes of a huge page that must be kept for it to be one.
const WORTH: u64 = HUGE / 2;

/// Backs the ranges of empty `memory` that `extents` fill by half with huge pages, as far as the host has any.
pub(super) fn prepare(memory: &File, size: u64, extents: &[Extent]) {
    let ranges = dense(extents, size);
    if ranges.is_empty() {
        return;
    }
    match collapse(memory, size, &ranges) {
        Ok(()) => tracing::debug!(bytes = bytes(&ranges), "huge pages"),
        // No room for a whole one, or a kernel that cannot: no reason not to start.
        Err(error) => tracing::debug!(bytes = bytes(&ranges), %error, "no huge pages"),
    }
}

/// The ranges of huge pages that are worth it, in order. The memory's end is none where it is not that of a huge page.
fn dense(extents: &[Extent], size: u64) -> Vec<Range<u64>> {
    let mut kept: BTreeMap<u64, u64> = BTreeMap::new();
    for extent in extents {
        let (mut at, end) = (extent.offset, extent.offset + extent.length);
        while at < end {
            let next = (at + 1).next_multiple_of(HUGE).min(end);
            *kept.entry(at - at % HUGE).or_default() += next - at;
            at = next;
        }
    }
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (start, bytes) in kept {
        let end = start + HUGE;
        if bytes < WORTH || end > size {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

fn bytes(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

fn collapse(memory: &File, size: u64, ranges: &[Range<u64>]) -> io::Result<()> {
    let view = View::of(memory, size)?;
    ranges.iter().try_for_each(|range| view.collapse(range))
}

/// A mapping of a whole memory, at an address that huge pages can have. Nothing is read or written by it.
struct View {
    /// What was reserved, from which the mapping was cut.
    reserved: *mut std::ffi::c_void,
    length: usize,
    /// Where the first byte of memory is.
    start: *mut std::ffi::c_void,
}

#[expect(unsafe_code, reason = "mappings have no safe form; nobody looks into this one")]
impl View {
    fn of(memory: &File, size: u64) -> io::Result<Self> {
        let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let size = usize::try_from(size).map_err(too_large)?;
        let length = size.checked_add(PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a new mapping at an address of the kernel's choice; no memory of anybody's is replaced.
        let reserved = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                length,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let start = reserved.wrapping_byte_add(reserved.align_offset(PAGE));
        let view = Self { reserved, length, start };
        // SAFETY: the first multiple of a huge page in the reservation, which is one longer than `size`: it is replaced in part,
        // and nobody else knows of it.
        unsafe {
            mmap(
                start,
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::FIXED,
                memory,
                0,
            )?
        };
        Ok(view)
    }

    /// Linux 6.1 asks that a huge page to be has a page, and that this page is mapped here.
    fn collapse(&self, range: &Range<u64>) -> io::Result<()> {
        for at in range.clone().step_by(PAGE) {
            self.advise(at, PAGE_BYTES, libc::MADV_POPULATE_WRITE)?;
        }
        self.advise(range.start, range.end - range.start, libc::MADV_COLLAPSE)
    }

    /// Within the memory: as far as a header's extents are.
    fn advise(&self, at: u64, bytes: u64, advice: libc::c_int) -> io::Result<()> {
        let place = |at: u64| usize::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
        let (start, length) = (self.start.wrapping_byte_add(place(at)?), place(bytes)?);
        // SAFETY: the range is within the mapping, whose contents stay: neither advice drops any.
        let result = unsafe { libc::madvise(start, length, advice) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[expect(unsafe_code, reason = "mappings have no safe form")]
impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: what was reserved, with the mapping in it; no pointer into it is left.
        let unmapped = unsafe { munmap(self.reserved, self.length) };
        debug_assert!(unmapped.is_ok(), "the mapping was made here");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::template::memory::anonymous;

    const SIZE: u64 = 8 * HUGE;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    /// The ranges in numbers of huge pages: where they begin and end.
    fn chosen(extents: &[Extent], size: u64) -> Vec<(u64, u64)> {
        dense(extents, size).iter().map(|range| (range.start / HUGE, range.end / HUGE)).collect()
    }

    #[test]
    fn what_is_kept_by_half_is_huge() {
        let (page, half) = (PAGE_BYTES, HUGE / 2);
        assert!(chosen(&[], SIZE).is_empty());
        assert!(chosen(&[extent(0, half - page), extent(HUGE, half - page)], SIZE).is_empty());
        assert!(chosen(&[extent(half + page, half + page)], SIZE).is_empty(), "as long as half, and in two");
        assert_eq!(chosen(&[extent(0, half)], SIZE), [(0, 1)]);
        assert_eq!(chosen(&[extent(0, half - page), extent(half, page)], SIZE), [(0, 1)], "both count");
        assert_eq!(chosen(&[extent(page, 3 * HUGE - page)], SIZE), [(0, 3)], "one after the other");
        assert_eq!(chosen(&[extent(0, HUGE), extent(3 * HUGE, 2 * HUGE)], SIZE), [(0, 1), (3, 5)]);
        assert_eq!(chosen(&[extent(0, 2 * HUGE - page)], 2 * HUGE - page), [(0, 1)], "not past the end");
    }

    /// KiB of this file that are mapped by huge pages, as the kernel says.
    fn mapped_huge(view: &View) -> u64 {
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
        let start = format!("{:x}-", view.start.addr());
        let lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let found = lines.filter_map(|line| line.strip_prefix("ShmemPmdMapped:")).next();
        let number = found.and_then(|rest| rest.split_whitespace().next());
        number.expect("a count").parse().expect("a number")
    }

    #[test]
    fn a_range_is_in_huge_pages_and_the_rest_takes_no_room() {
        let memory = anonymous(SIZE).expect("memory");
        let view = View::of(&memory, SIZE).expect("mapped");
        memory.write_all_at(&[7], 2 * HUGE + 5).expect("written");
        if let Err(error) = view.collapse(&(2 * HUGE..3 * HUGE)) {
            eprintln!("skipped: this host has no huge pages for memory that is shared: {error}");
            return;
        }
        assert_eq!(mapped_huge(&view), HUGE >> 10);
        let mut byte = [0];
        memory.read_exact_at(&mut byte, 2 * HUGE + 5).expect("read");
        assert_eq!(byte, [7]);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(memory.metadata().expect("metadata").blocks() * 512, HUGE);
    }

    #[test]
    fn what_is_prepared_is_still_empty() {
        let memory = anonymous(SIZE).expect("memory");
        prepare(&memory, SIZE, &[extent(HUGE, 2 * HUGE), extent(6 * HUGE, PAGE_BYTES)]);
        let mut bytes = vec![1; usize::try_from(SIZE).expect("small")];
        memory.read_exact_at(&mut bytes, 0).expect("read");
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
