// SPDX-License-Identifier: Apache-2.0
//! `config.toml`, or the text an engine sends in its stead.
#![no_main]

use boxlite_shim::config::{ConfigError, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match parse(text, "here") {
        Ok(_) => {}
        Err(ConfigError::Wrong { line, message, .. }) => {
            assert!((1..=text.split('\n').count()).contains(&line), "line {line}: {message}");
            assert!(!message.contains('\n'), "{message:?} is one line");
        }
        Err(other) => panic!("{other} of a text"),
    }
});
