// SPDX-License-Identifier: Apache-2.0
//! The first bytes from a guest.
#![no_main]

use boxlite_protocol::hello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: [u8; hello::LENGTH]| {
    assert_eq!(hello::check(bytes).is_ok(), bytes == hello::encode());
});
