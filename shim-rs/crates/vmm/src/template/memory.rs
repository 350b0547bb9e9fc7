// SPDX-License-Identifier: Apache-2.0
//! Guest memory in a file: only pages that are not zero, one after the other, with a checksum over everything.
//!
//! ```text
//!  "BXLMEM\0\1" | memory size | number of extents | { offset, length } ... | pages ... | XXH3 of all before
//! ```
//! Numbers are 64 bit, little endian; offsets and lengths are whole pages, extents ascend and do not touch. The file
//! has no holes, so no file system can lose or fill them. The checksum finds damage, whole or partial, in the pass
//! that copies; it is no defence against somebody who may write the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use xxhash_rust::xxh3::Xxh3Default;

mod huge;

/// Size of a page; the unit of what is kept.
const PAGE: usize = 4096;
const PAGE_BYTES: u64 = PAGE as u64;
/// One read or write; stays in the processor's cache between copying and summing.
const CHUNK: usize = 256 << 10;
const MAGIC: [u8; 8] = *b"BXLMEM\x00\x01";
/// Bytes before the extents.
const HEAD: usize = 24;
/// Bytes of one extent's entry.
const ENTRY: usize = 16;
/// Bytes of the checksum.
const SUM: usize = 8;
/// More extents than any memory of ours has (64 GiB with every second page kept).
const MAX_EXTENTS: u64 = 8 << 20;

/// Why packed memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The file is not what [`pack`] wrote: cut off, changed, or something else.
    #[error("the saved memory is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The file is whole and of a machine with more or less memory.
    #[error("the saved memory is of a machine of {found} bytes, not {wanted}")]
    Size {
        /// What the file says.
        found: u64,
        /// What the machine has.
        wanted: u64,
    },
    /// Reading or writing failed: a full disk, no memory.
    #[error("the saved memory cannot be copied")]
    Io(#[from] io::Error),
}

/// One run of kept pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    offset: u64,
    length: u64,
}

/// Memory for a machine: `bytes` of zeros without a name, which take no room until they are written.
///
/// # Errors
/// The kernel has no file descriptor or memory left.
pub fn anonymous(bytes: u64) -> io::Result<File> {
    let file = File::from(memfd_create("boxlite-ram", MemfdFlags::CLOEXEC)?);
    file.set_len(bytes)?;
    Ok(file)
}

/// Writes the pages of `memory` that are not zero to `into`, an empty file; returns how many bytes that are.
///
/// # Errors
/// Reading or writing fails.
pub fn pack(memory: &File, into: &mut File) -> io::Result<u64> {
    let size = memory.metadata()?.len();
    let extents = kept(memory, size)?;
    let mut out = Summed { file: into, sum: Xxh3Default::new() };
    let count = u64::try_from(extents.len()).map_err(io::Error::other)?;
    let mut head = MAGIC.to_vec();
    head.extend(size.to_le_bytes());
    head.extend(count.to_le_bytes());
    for extent in &extents {
        head.extend(extent.offset.to_le_bytes());
        head.extend(extent.length.to_le_bytes());
    }
    out.write(&head)?;
    let mut buffer = vec![0; CHUNK];
    for extent in &extents {
        let mut at = extent.offset;
        while at < extent.offset + extent.length {
            let chunk = chunk_of(&mut buffer, extent.offset + extent.length - at);
            memory.read_exact_at(chunk, at)?;
            out.write(chunk)?;
            at += length_of(chunk);
        }
    }
    let sum = out.sum.digest().to_le_bytes();
    out.file.write_all(&sum)?;
    out.file.sync_all()?;
    Ok(extents.iter().map(|extent| extent.length).sum())
}

/// What a machine's memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Pages of 4 KiB, and none that nothing was kept of.
    Small,
    /// Huge ones where most is kept, as far as the host has them: see [`huge`].
    Huge,
}

/// Fills `memory`, which is all zeros, with what [`pack`] wrote to `from`.
///
/// # Errors
/// Damaged or of another size. What is in `memory` then must not be used.
pub fn unpack(mut from: &File, memory: &File, pages: Pages) -> Result<(), MemoryError> {
    let wanted = memory.metadata()?.len();
    let total = from.seek(SeekFrom::End(0))?;
    from.rewind()?;
    let mut input = SummedReader { file: from, sum: Xxh3Default::new() };
    let extents = header(&mut input, wanted, total)?;
    if pages == Pages::Huge {
        huge::prepare(memory, wanted, &extents);
    }
    let mut buffer = vec![0; CHUNK];
    for extent in &extents {
        let mut at = extent.offset;
        while at < extent.offset + extent.length {
            let chunk = chunk_of(&mut buffer, extent.offset + extent.length - at);
            input.read(chunk)?;
            memory.write_all_at(chunk, at)?;
            at += length_of(chunk);
        }
    }
    let found = input.sum.digest();
    let mut sum = [0; SUM];
    input.read(&mut sum)?;
    if u64::from_le_bytes(sum) == found { Ok(()) } else { Err(damaged("its checksum differs")) }
}

/// Reads and believes nothing of what is before the pages.
fn header(input: &mut SummedReader<'_>, wanted: u64, total: u64) -> Result<Vec<Extent>, MemoryError> {
    let mut head = [0; HEAD];
    input.read(&mut head)?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| head[at + index]));
    if head[..8] != MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    let (size, count) = (number(8), number(16));
    if size != wanted {
        return Err(MemoryError::Size { found: size, wanted });
    }
    if count > MAX_EXTENTS {
        return Err(damaged("it has too many extents"));
    }
    let table = usize::try_from(count).map_err(|_| damaged("it has too many extents"))? * ENTRY;
    let mut bytes = vec![0; table];
    input.read(&mut bytes)?;
    let number = |entry: &[u8], at: usize| u64::from_le_bytes(std::array::from_fn(|index| entry[at + index]));
    let extents: Vec<Extent> = bytes
        .chunks_exact(ENTRY)
        .map(|entry| Extent { offset: number(entry, 0), length: number(entry, 8) })
        .collect();
    let (mut free_from, mut kept) = (0, 0_u64);
    for extent in &extents {
        let whole = extent.offset % PAGE_BYTES == 0 && extent.length % PAGE_BYTES == 0 && extent.length > 0;
        let end = extent.offset.checked_add(extent.length).filter(|end| *end <= size);
        let Some(end) = end.filter(|_| whole && extent.offset >= free_from) else {
            return Err(damaged("its extents make no sense"));
        };
        free_from = end;
        kept += extent.length;
    }
    let expected = length_of(&head) + length_of(&bytes) + kept + length_of(&[0; SUM]);
    if total == expected { Ok(extents) } else { Err(damaged("its length is wrong")) }
}

/// The runs of pages that are not zero.
fn kept(memory: &File, size: u64) -> io::Result<Vec<Extent>> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        let Some(start) = seek_data(memory, at)? else { break };
        let end = rustix::fs::seek(memory, rustix::fs::SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let chunk = chunk_of(&mut buffer, end - at);
            memory.read_exact_at(chunk, at)?;
            for page in chunk.chunks(PAGE) {
                if page.iter().any(|byte| *byte != 0) {
                    push_page(&mut extents, at);
                }
                at += length_of(page);
            }
        }
    }
    Ok(extents)
}

fn push_page(extents: &mut Vec<Extent>, offset: u64) {
    match extents.last_mut() {
        Some(last) if last.offset + last.length == offset => last.length += PAGE_BYTES,
        _ => extents.push(Extent { offset, length: PAGE_BYTES }),
    }
}

/// Where data begins at or after `at`; none when there is no more.
fn seek_data(memory: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(memory, rustix::fs::SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn chunk_of(buffer: &mut [u8], left: u64) -> &mut [u8] {
    let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
    &mut buffer[..length]
}

/// A usize is never wider than a u64 here.
fn length_of(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

fn damaged(what: &'static str) -> MemoryError {
    MemoryError::Damaged { what }
}

struct Summed<'a> {
    file: &'a mut File,
    sum: Xxh3Default,
}

impl Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.file.write_all(bytes)
    }
}

struct SummedReader<'a> {
    file: &'a File,
    sum: Xxh3Default,
}

impl SummedReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it is cut off"),
            _ => MemoryError::Io(error),
        })?;
        self.sum.update(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
