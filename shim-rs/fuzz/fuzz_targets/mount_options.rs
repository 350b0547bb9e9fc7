// SPDX-License-Identifier: Apache-2.0
//! The words of a mount: a line for its type, its source and its destination, then one for each option.
#![no_main]

use boxlite_fuzz::{around, compile, holds, is_sound};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(init: is_sound("mounts", json!([])), |text: &str| {
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (kind, source, destination) = (next(), next(), next());
    let options: Vec<&str> = lines.collect();
    let mount = json!({ "type": kind, "source": source, "destination": destination, "options": options });
    if let Ok(task) = compile(&around("mounts", json!([mount]))) {
        holds(&task);
        assert!(task.launch.mounts.len() <= 1 + task.share.len());
    }
});
