// SPDX-License-Identifier: Apache-2.0
//! `config.json`, of which image and user wrote parts: planned or refused.
#![no_main]

use boxlite_fuzz::{compile, holds, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_mutator!(|data: &mut [u8], size: usize, limit: usize, seed: u32| { mutate(data, size, limit, seed) });

fuzz_target!(|data: &[u8]| {
    match compile(data) {
        Ok(task) => holds(&task),
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
});
