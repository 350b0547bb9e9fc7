// SPDX-License-Identifier: Apache-2.0
//! Messages of a QEMU that its guest has taken over.
#![no_main]

use boxlite_vmm::fuzzing::hear_monitor;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Builder;

fuzz_target!(|data: &[u8]| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(hear_monitor(data)).expect("said");
});
