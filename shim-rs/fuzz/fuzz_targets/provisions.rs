// SPDX-License-Identifier: Apache-2.0
//! What an agent reads before it says hello in a machine that will be saved.
#![no_main]

use boxlite_protocol::provisions::{HEADER, decode, encode, length};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, message)) = data.split_first_chunk::<HEADER>() else { return };
    // As the agent does: the length decides how much is read.
    let Ok(wanted) = length(*header) else { return };
    let Ok(read) = decode(&message[..wanted.min(message.len())]) else { return };
    let written = encode(&read).expect("what was read can be written");
    assert_eq!(decode(&written[HEADER..]).expect("and read"), read);
});
