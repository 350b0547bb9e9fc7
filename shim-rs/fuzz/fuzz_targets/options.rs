// SPDX-License-Identifier: Apache-2.0
//! The options an engine sends with Create.
#![no_main]

use boxlite_protocol::protobuf::Message;
use boxlite_protocol::protobuf::well_known_types::any::Any;
use boxlite_shim::options::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let ours = Any { type_url: "runtimeoptions.v1.Options".into(), value: data.to_vec(), ..Any::default() };
    if let Ok(options) = decode(Some(&ours)) {
        assert!(options.config_body.is_none_or(|body| !body.is_empty() && body.len() <= data.len()));
    }
    if let Ok(any) = Any::parse_from_bytes(data) {
        let _ = decode(Some(&any));
    }
});
