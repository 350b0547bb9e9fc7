// SPDX-License-Identifier: Apache-2.0
//! The header of a stream, which the guest reads from the host and the host trusts nobody with.
#![no_main]

use boxlite_protocol::stream::StreamName;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

fuzz_target!(init: RUNTIME.get_or_init(runtime), |data: &[u8]| {
    let runtime = RUNTIME.get_or_init(runtime);
    runtime.block_on(async {
        let Ok(name) = StreamName::read(&mut &*data).await else { return };
        let mut written = Vec::new();
        name.write(&mut written).await.expect("what was read can be written");
        assert!(data.starts_with(&written), "{name:?} came of other bytes");
    });
});

static RUNTIME: std::sync::OnceLock<Runtime> = std::sync::OnceLock::new();

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("runtime")
}
