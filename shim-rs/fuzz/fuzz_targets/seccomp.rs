// SPDX-License-Identifier: Apache-2.0
//! `linux.seccomp`, compiled to a program for the guest's kernel.
#![no_main]

use boxlite_fuzz::{around, compile, holds, is_sound, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde_json::json;

fuzz_mutator!(|data: &mut [u8], size: usize, limit: usize, seed: u32| { mutate(data, size, limit, seed) });

fuzz_target!(init: is_sound("seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" })), |data: &[u8]| {
    let Ok(profile) = serde_json::from_slice(data) else { return };
    if let Ok(task) = compile(&around("seccomp", profile)) {
        holds(&task);
    }
});
