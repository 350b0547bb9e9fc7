// SPDX-License-Identifier: Apache-2.0
//! The actions that leave nothing behind. `delete` of what was made is in `leftovers`.

use boxlite_protocol::protobuf::Message;
use containerd_shim_protos::types::introspection::RuntimeInfo;

use crate::call::Call;

#[test]
fn info_names_the_runtime_and_its_version() {
    let output = Call::new().run(&["-info"]);
    assert!(output.status.success());
    let info = RuntimeInfo::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.boxlite.v1");
    assert_eq!(info.version.version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_version_is_printed() {
    let output = Call::new().run(&["-v"]);
    let expected = format!("containerd-shim-boxlite-v1 {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn an_action_that_is_none_is_refused() {
    let said = Call::new().fails(&["stop"]);
    assert!(said.contains("unknown action stop"), "{said}");
}

#[test]
fn somebody_who_types_the_name_alone_is_told_who_calls_it() {
    let said = Call::new().fails(&[]);
    assert!(said.contains("this program is started by containerd"), "{said}");
}
