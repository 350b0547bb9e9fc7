// SPDX-License-Identifier: Apache-2.0
//! The guest's answer to Stats: its cgroup files, as it likes to have them.
#![no_main]

use boxlite_protocol::agent::StatsResponse;
use boxlite_protocol::plan::CgroupFile;
use boxlite_protocol::protobuf::Message;
use boxlite_shim::container::metrics_of;
use libfuzzer_sys::fuzz_target;

/// Every file that is read.
const FILES: [&str; 10] = [
    "pids.current",
    "pids.max",
    "cpu.stat",
    "memory.stat",
    "memory.events",
    "memory.current",
    "memory.max",
    "memory.swap.current",
    "memory.peak",
    "io.stat",
];

fuzz_target!(|data: &[u8]| {
    if let Ok(answer) = StatsResponse::parse_from_bytes(data) {
        metrics_of(&answer.files).write_to_bytes().expect("metrics can be sent");
    }
    // The same bytes as the text of each file, which a mutation seldom comes to otherwise.
    let Ok(value) = std::str::from_utf8(data) else { return };
    let file = |name: &str| CgroupFile { name: name.into(), value: value.into(), ..CgroupFile::default() };
    metrics_of(&FILES.map(file)).write_to_bytes().expect("metrics can be sent");
});
