// SPDX-License-Identifier: Apache-2.0
//! Between containerd's messages and the task's own types. Pure.

use std::path::PathBuf;

use boxlite_protocol::protobuf::MessageFull;
use boxlite_protocol::protobuf::well_known_types::any::Any;
use containerd_shim_protos::api::{CreateTaskRequest, StateRequest, StateResponse, Status};
use containerd_shim_protos::events::task::{TaskCreate, TaskIO};

use crate::container::{Container, CreateRequest, ProcessState, TaskStatus, exit_timestamp};
use crate::error::TaskError;
use crate::options;
use crate::share;
use crate::stdio::StdioPaths;

/// What Create asks for.
pub(super) fn create_request(request: &CreateTaskRequest) -> Result<CreateRequest, TaskError> {
    let rootfs = request.rootfs.iter().map(|mount| share::Mount {
        fstype: mount.type_.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    });
    Ok(CreateRequest {
        id: request.id.clone(),
        bundle: PathBuf::from(&request.bundle),
        rootfs: rootfs.collect(),
        paths: StdioPaths {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        },
        options: options::decode(request.options.as_ref())?,
    })
}

/// The event that answers Create.
pub(super) fn task_create(request: &CreateTaskRequest, task: &Container) -> TaskCreate {
    TaskCreate {
        container_id: request.id.clone(),
        bundle: request.bundle.clone(),
        rootfs: request.rootfs.clone(),
        io: Some(TaskIO {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
            ..Default::default()
        })
        .into(),
        pid: task.pid(),
        ..Default::default()
    }
}

/// containerd's typeurl names types without a host (typeurl.MarshalAny).
pub(super) fn any<M: MessageFull>(message: &M) -> Result<Any, TaskError> {
    let value = message.write_to_bytes().map_err(TaskError::host("encoding the answer"))?;
    Ok(Any { type_url: M::descriptor().full_name().to_owned(), value, ..Default::default() })
}

/// The answer to State.
pub(super) fn state(request: &StateRequest, task: &Container, known: TaskStatus) -> StateResponse {
    let mut response = StateResponse {
        id: request.id.clone(),
        exec_id: request.exec_id.clone(),
        bundle: task.bundle.display().to_string(),
        pid: known.pid,
        stdin: known.paths.stdin,
        stdout: known.paths.stdout,
        stderr: known.paths.stderr,
        terminal: known.paths.terminal,
        ..Default::default()
    };
    response.set_status(match known.state {
        ProcessState::Created | ProcessState::Starting => Status::CREATED,
        ProcessState::Running if known.paused => Status::PAUSED,
        ProcessState::Running => Status::RUNNING,
        ProcessState::Stopped(_) => Status::STOPPED,
    });
    if let ProcessState::Stopped(exit) = known.state {
        response.exit_status = exit.status;
        response.exited_at = Some(exit_timestamp(exit)).into();
    }
    response
}
