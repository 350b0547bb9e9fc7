// SPDX-License-Identifier: Apache-2.0
//! The two protocols of the `start` action, pure.
//!
//! containerd up to 2.2 passes flags and environment, with the runtime options as an `Any` on stdin, and reads an
//! address or JSON. From 2.3 on it writes a `BootstrapParams` message to stdin, beside the same flags, and reads a
//! `BootstrapResult` (containerd docs/runtime-v2.md, "Bootstrap Protocol"). An `Any` decodes as `BootstrapParams` too
//! (both begin with two strings), so the id and namespace of the flags decide which it is.
//!
//! The answer names the Task API version: containerd 1.7 knows 2 alone and says so by MAX_SHIM_VERSION or by not
//! setting it, 2.x takes 2 or 3. We serve both.

use boxlite_protocol::protobuf::Message;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};

use crate::error::TaskError;

/// Highest Task API version served.
const TASK_API: i32 = 3;
/// What a containerd that does not say speaks.
const TASK_API_UNSAID: i32 = 2;

/// How the answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// containerd 2.3 and later.
    Message,
    /// Before.
    Flags,
}

/// What `start` needs to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) protocol: Protocol,
    pub(super) id: String,
    pub(super) namespace: String,
    /// containerd's gRPC socket.
    pub(super) address: String,
    /// containerd's ttrpc socket, for events.
    pub(super) ttrpc_address: String,
    /// Where the shim's socket should lie, if containerd says.
    pub(super) socket_dir: Option<String>,
    pub(super) debug: bool,
    pub(super) version: i32,
}

/// What containerd said outside of stdin.
#[derive(Debug, Default, Clone)]
pub(super) struct Said {
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) address: String,
    pub(super) debug: bool,
    /// TTRPC_ADDRESS.
    pub(super) ttrpc_address: Option<String>,
    /// MAX_SHIM_VERSION.
    pub(super) max_version: Option<String>,
}

/// Understands a call.
pub(super) fn understand(said: Said, stdin: &[u8]) -> Result<Call, TaskError> {
    let message = BootstrapParams::parse_from_bytes(stdin)
        .ok()
        .filter(|params| params.instance_id == said.id && params.namespace == said.namespace);
    let version = said.max_version.as_deref().and_then(|max| max.parse().ok()).unwrap_or(TASK_API_UNSAID);
    let mut call = Call {
        protocol: if message.is_some() { Protocol::Message } else { Protocol::Flags },
        id: said.id,
        namespace: said.namespace,
        address: said.address,
        ttrpc_address: said.ttrpc_address.unwrap_or_default(),
        socket_dir: None,
        debug: said.debug,
        version: i32::clamp(version, TASK_API_UNSAID, TASK_API),
    };
    if let Some(params) = message {
        call.socket_dir = params.socket_dir.filter(|directory| !directory.is_empty());
        if !params.containerd_grpc_address.is_empty() {
            call.address = params.containerd_grpc_address;
        }
        if !params.containerd_ttrpc_address.is_empty() {
            call.ttrpc_address = params.containerd_ttrpc_address;
        }
        // Levels below zero are debug and trace.
        call.debug |= params.log_level.value() < 0;
    }
    if call.id.is_empty() || call.namespace.is_empty() {
        return Err(TaskError::Invalid {
            what: "start needs -id and -namespace; containerd sets them".to_owned(),
        });
    }
    if call.ttrpc_address.is_empty() {
        return Err(TaskError::Invalid { what: "containerd named no ttrpc address for events".to_owned() });
    }
    Ok(call)
}

/// The answer on stdout.
pub(super) fn answer(call: &Call, address: &str) -> Result<Vec<u8>, TaskError> {
    match call.protocol {
        Protocol::Message => BootstrapResult {
            version: call.version,
            address: address.to_owned(),
            protocol: "ttrpc".to_owned(),
            ..Default::default()
        }
        .write_to_bytes()
        .map_err(TaskError::host("encoding the answer")),
        Protocol::Flags => {
            let json =
                serde_json::json!({ "version": call.version, "address": address, "protocol": "ttrpc" });
            Ok(json.to_string().into_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use boxlite_protocol::protobuf::well_known_types::any::Any;

    use super::*;

    fn said() -> Said {
        Said {
            id: "c1".into(),
            namespace: "moby".into(),
            address: "/run/containerd/containerd.sock".into(),
            ttrpc_address: Some("/run/containerd/containerd.sock.ttrpc".into()),
            ..Said::default()
        }
    }

    #[test]
    fn nothing_on_stdin_is_the_protocol_of_flags() {
        let call = understand(said(), b"").unwrap();
        assert_eq!((call.protocol, call.version), (Protocol::Flags, 2));
    }

    #[test]
    fn runtime_options_on_stdin_are_not_taken_for_a_message() {
        let any = Any {
            type_url: "runtimeoptions.v1.Options".into(),
            value: b"\x12\x02/c".to_vec(),
            ..Any::default()
        };
        let call = understand(said(), &any.write_to_bytes().unwrap()).unwrap();
        assert_eq!(call.protocol, Protocol::Flags);
    }

    #[test]
    fn a_message_wins_over_flags_and_environment() {
        let params = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "moby".into(),
            containerd_ttrpc_address: "/elsewhere.ttrpc".into(),
            socket_dir: Some("/run/s".into()),
            ..Default::default()
        };
        let said = Said { ttrpc_address: None, max_version: Some("3".into()), ..said() };
        let call = understand(said, &params.write_to_bytes().unwrap()).unwrap();
        assert_eq!((call.protocol, call.version), (Protocol::Message, 3));
        assert_eq!(call.ttrpc_address, "/elsewhere.ttrpc");
        assert_eq!(call.socket_dir.as_deref(), Some("/run/s"));
    }

    #[test]
    fn a_later_version_than_ours_gets_ours() {
        let call = understand(Said { max_version: Some("9".into()), ..said() }, b"").unwrap();
        assert_eq!(call.version, 3);
    }

    #[test]
    fn no_address_for_events_is_an_error() {
        assert!(understand(Said { ttrpc_address: None, ..said() }, b"").is_err());
    }

    #[test]
    fn each_protocol_has_its_answer() {
        let mut call = understand(said(), b"").unwrap();
        let json = answer(&call, "unix:///s").unwrap();
        assert_eq!(json, br#"{"address":"unix:///s","protocol":"ttrpc","version":2}"#);
        call.protocol = Protocol::Message;
        let result = BootstrapResult::parse_from_bytes(&answer(&call, "unix:///s").unwrap()).unwrap();
        assert_eq!((result.version, result.address.as_str()), (2, "unix:///s"));
    }
}
