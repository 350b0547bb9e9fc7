// SPDX-License-Identifier: Apache-2.0
//! What a template says of itself.
#![no_main]

use boxlite_fuzz::mutate;
use boxlite_shim::template::{Entry, Manifest};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_mutator!(|data: &mut [u8], size: usize, limit: usize, seed: u32| { mutate(data, size, limit, seed) });

fuzz_target!(|data: &[u8]| {
    if let Some(entry) = std::str::from_utf8(data).ok().and_then(Entry::parse) {
        assert_eq!(entry.name().as_bytes(), data, "a template's name is its directory's");
    }
    let Ok(manifest) = serde_json::from_slice::<Manifest>(data) else { return };
    let written = serde_json::to_vec(&manifest).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<Manifest>(&written).expect("and read"), manifest);
});
