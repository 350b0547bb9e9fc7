// SPDX-License-Identifier: Apache-2.0
//! The `delete` action: containerd calls it in the bundle after a shim died, and waits 5 s.
//!
//! Runs the undo list of the record; needs neither guest nor server. Whatever fails is said on stderr, and the answer
//! is given all the same: containerd forgets the task in any case, and the next start sweeps again.

use std::io::Write;
use std::path::Path;

use boxlite_protocol::protobuf::Message;
use containerd_shim::Flags;
use containerd_shim_protos::api::DeleteResponse;

use crate::container::{Exit, exit_timestamp};
use crate::error::TaskError;
use crate::sandbox::record::{Record, pointed_to};

/// What a process says that was killed with its machine.
const KILLED: u32 = 137;

pub(super) fn delete(flags: &Flags) -> Result<(), TaskError> {
    // containerd calls in the bundle, and newer ones name it too.
    let bundle = if flags.bundle.is_empty() { "." } else { flags.bundle.as_str() };
    let mut response = DeleteResponse {
        exit_status: KILLED,
        exited_at: Some(exit_timestamp(Exit::now(KILLED))).into(),
        ..Default::default()
    };
    let loaded = match pointed_to(Path::new(bundle)) {
        Some(directory) => Record::load(&directory),
        None => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
    };
    match loaded {
        Ok(record) => {
            response.pid = record.task_pid.unwrap_or(0);
            for failure in record.undo_all() {
                eprintln!("left behind: {failure}");
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => eprintln!("record of {}: {error}", flags.id),
    }
    if let Err(error) = super::start::remove_socket(flags) {
        eprintln!("socket of {}: {error}", flags.id);
    }
    let bytes = response.write_to_bytes().map_err(TaskError::host("encoding the answer"))?;
    let mut stdout = std::io::stdout();
    stdout.write_all(&bytes).and_then(|()| stdout.flush()).map_err(TaskError::host("answering containerd"))
}
