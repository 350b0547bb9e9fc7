// SPDX-License-Identifier: Apache-2.0
//! `-info`: what containerd 2 and CRI want to know of a runtime before there is a container.

use std::io::Write;

use boxlite_protocol::protobuf::Message;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

use super::RUNTIME_NAME;
use crate::error::TaskError;

pub(super) fn info() -> Result<(), TaskError> {
    let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), ..Default::default() };
    let info =
        RuntimeInfo { name: RUNTIME_NAME.to_owned(), version: Some(version).into(), ..Default::default() };
    let bytes = info.write_to_bytes().map_err(TaskError::host("encoding the answer"))?;
    let mut stdout = std::io::stdout();
    stdout.write_all(&bytes).and_then(|()| stdout.flush()).map_err(TaskError::host("answering containerd"))
}
