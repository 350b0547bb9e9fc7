// SPDX-License-Identifier: Apache-2.0
//! `ps DIRECTORY`: what `boxlite ps` calls with a task's run directory, to ask its shim what runs in the guest.
//!
//! Not for people: one JSON array on stdout, of `pid`, `parent`, `uid` and `command`; errors go to stderr as everywhere.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use boxlite_protocol::agent::processes_response::Entry;
use boxlite_protocol::agent::{ContainerRef, ProcessesResponse};
use boxlite_protocol::agent_ttrpc::AgentClient;
use boxlite_protocol::ttrpc;
use boxlite_protocol::ttrpc::asynchronous::Client;
use boxlite_protocol::ttrpc::context::with_duration;
use serde::Serialize;

use crate::error::TaskError;
use crate::guest::clean;
use crate::sandbox::record;

/// Longer than the shim gives the guest.
const PATIENCE: Duration = Duration::from_secs(15);

/// One process, in the container's numbers.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Process {
    pid: u32,
    /// 0: it came from outside of the container.
    parent: u32,
    uid: u32,
    command: String,
}

/// Runs `ps` with the arguments after that word.
pub(super) fn run(arguments: &[OsString]) -> Result<(), TaskError> {
    let [directory] = arguments else {
        return Err(TaskError::Invalid { what: "usage: ps DIRECTORY".to_owned() });
    };
    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TaskError::host("starting the runtime"))?
        .block_on(ask(Path::new(directory)))?;
    let text = serde_json::to_string(&told(&answer.processes)).map_err(TaskError::host("answering"))?;
    writeln!(std::io::stdout(), "{text}").map_err(TaskError::host("answering"))
}

async fn ask(directory: &Path) -> Result<ProcessesResponse, TaskError> {
    let Some(id) = directory.file_name().and_then(|name| name.to_str()) else {
        return Err(TaskError::Invalid { what: format!("{} is no task's directory", directory.display()) });
    };
    let socket = record::socket(directory).map_err(TaskError::host("finding the shim"))?;
    let client = Client::connect(&format!("unix://{}", socket.display()))
        .await
        .map_err(TaskError::host("calling the shim"))?;
    let request = ContainerRef { container_id: id.to_owned(), ..Default::default() };
    match AgentClient::new(client).processes(with_duration(PATIENCE), &request).await {
        // The shim's own words, which it has put together.
        Err(ttrpc::Error::RpcStatus(status)) => {
            Err(TaskError::Guest { code: status.code(), message: clean(status.message()) })
        }
        other => other.map_err(TaskError::host("asking the shim")),
    }
}

/// The guest's word in the container's numbers, its texts fit for a terminal.
fn told(entries: &[Entry]) -> Vec<Process> {
    let inside: HashMap<u32, u32> = entries.iter().map(|entry| (entry.pid, entry.container_pid)).collect();
    let mut processes: Vec<Process> = entries
        .iter()
        .map(|entry| Process {
            pid: entry.container_pid,
            parent: inside.get(&entry.parent).copied().unwrap_or(0),
            uid: entry.uid,
            command: clean(&entry.command),
        })
        .collect();
    processes.sort_by_key(|process| process.pid);
    processes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: u32, parent: u32, container_pid: u32, command: &str) -> Entry {
        Entry { pid, parent, container_pid, command: command.to_owned(), ..Default::default() }
    }

    #[test]
    fn parents_are_told_in_the_containers_numbers() {
        let entries = [entry(52, 50, 8, "exec"), entry(51, 40, 7, "sleep"), entry(40, 1, 1, "sh")];
        let told = told(&entries);
        let numbers: Vec<_> = told.iter().map(|process| (process.pid, process.parent)).collect();
        assert_eq!(numbers, [(1, 0), (7, 1), (8, 0)]);
    }

    #[test]
    fn a_name_cannot_drive_a_terminal() {
        assert_eq!(told(&[entry(2, 1, 1, "\u{1b}[2J")])[0].command, " [2J");
    }

    #[test]
    fn one_directory_is_to_be_named() {
        for arguments in [vec![], vec!["a".into(), "b".into()], vec!["/".into()], vec!["/nonexistent".into()]]
        {
            run(&arguments).unwrap_err();
        }
    }
}
