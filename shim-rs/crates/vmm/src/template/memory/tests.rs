// SPDX-License-Identifier: Apache-2.0
//! What was packed comes back, and nothing else does.

use super::*;

const SIZE: u64 = 4 << 20;

/// Memory with a few pages written: the first, two that touch, one apart, the last.
fn memory() -> File {
    let memory = anonymous(SIZE).expect("memory");
    for (page, byte) in [(0, 1), (7, 2), (8, 3), (300, 4), (SIZE / PAGE_BYTES - 1, 5)] {
        memory.write_all_at(&[byte; PAGE], page * PAGE_BYTES).expect("written");
    }
    // Touched, and zero all the same: not worth keeping.
    memory.write_all_at(&[0; PAGE], 20 * PAGE_BYTES).expect("written");
    memory
}

fn bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().expect("metadata").len()).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn packed() -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("file");
    assert_eq!(pack(&memory(), &mut file).expect("packed"), 5 * PAGE_BYTES);
    bytes(&file)
}

fn unpacked(packed: &[u8]) -> Result<File, MemoryError> {
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(packed).expect("written");
    let memory = anonymous(SIZE).expect("memory");
    unpack(&file, &memory, Pages::Huge).map(|()| memory)
}

#[test]
fn what_was_packed_comes_back() {
    let file = packed();
    let expected = HEAD + 4 * ENTRY + 5 * PAGE + SUM;
    assert_eq!(file.len(), expected, "four runs of five pages");
    assert!(bytes(&unpacked(&file).expect("unpacked")) == bytes(&memory()));
}

#[test]
fn memory_of_huge_pages_is_the_same_memory() {
    let memory = anonymous(SIZE).expect("memory");
    for page in (0..SIZE / PAGE_BYTES).filter(|page| page % 3 != 0) {
        let byte = u8::try_from(page % 251).expect("small") + 1;
        memory.write_all_at(&[byte; PAGE], page * PAGE_BYTES).expect("written");
    }
    let mut file = tempfile::tempfile().expect("file");
    pack(&memory, &mut file).expect("packed");
    for pages in [Pages::Small, Pages::Huge] {
        let copy = anonymous(SIZE).expect("memory");
        unpack(&file, &copy, pages).expect("unpacked");
        assert!(bytes(&copy) == bytes(&memory), "{pages:?}");
    }
}

#[test]
fn empty_memory_is_packed_too() {
    let mut file = tempfile::tempfile().expect("file");
    assert_eq!(pack(&anonymous(SIZE).expect("memory"), &mut file).expect("packed"), 0);
    assert!(bytes(&unpacked(&bytes(&file)).expect("unpacked")).iter().all(|byte| *byte == 0));
}

#[test]
fn every_flipped_bit_is_found() {
    let whole = packed();
    let places =
        (0..HEAD + 4 * ENTRY).chain((HEAD + 4 * ENTRY..whole.len()).step_by(997)).chain([whole.len() - 1]);
    for place in places {
        let mut file = whole.clone();
        file[place] ^= 0x10;
        assert!(unpacked(&file).is_err(), "byte {place}");
    }
}

#[test]
fn a_file_cut_off_or_too_long_is_found() {
    let whole = packed();
    for length in [0, 7, HEAD, HEAD + ENTRY, HEAD + 4 * ENTRY + PAGE, whole.len() - SUM, whole.len() - 1] {
        assert!(unpacked(&whole[..length]).is_err(), "{length} bytes");
    }
    assert!(unpacked(&[whole.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn extents_cannot_point_outside_or_back() {
    let entry = |at: usize| HEAD + at * ENTRY;
    for (place, value) in [
        (entry(3), SIZE),
        (entry(3), u64::MAX - 4095),
        (entry(0), 8 * PAGE_BYTES),
        (entry(1), 7 * PAGE_BYTES + 1),
        (entry(1) + 8, 0),
        (entry(1) + 8, u64::MAX - 4095),
        (16, u64::MAX),
        (16, MAX_EXTENTS),
    ] {
        let mut file = packed();
        file[place..place + 8].copy_from_slice(&value.to_le_bytes());
        assert!(matches!(unpacked(&file), Err(MemoryError::Damaged { .. })), "{value} at {place}");
    }
}

#[test]
fn memory_of_another_size_is_named() {
    let mut file = packed();
    file[8..16].copy_from_slice(&(SIZE * 2).to_le_bytes());
    let error = unpacked(&file).expect_err("another size");
    assert!(matches!(error, MemoryError::Size { found, wanted: SIZE } if found == SIZE * 2));
}

#[test]
fn a_full_disk_is_an_error_of_the_host() {
    let mut full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let error = pack(&memory(), &mut full).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
