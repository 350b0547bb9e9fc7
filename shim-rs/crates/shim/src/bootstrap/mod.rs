// SPDX-License-Identifier: Apache-2.0
//! How containerd calls the binary: the actions `start`, `delete` and `-info`, and the server that `start` leaves behind.
//!
//! Everything about both bootstrap protocols is in [`protocol`], pure. [`start`] makes the server, [`serve`] is it,
//! [`delete`] cleans up after one that was killed, [`info`] describes the runtime. [`template`] is for `boxlite template`,
//! [`ps`] for `boxlite ps`, [`probe`] for `boxlite install` and `doctor`. A shim that starts this program as a container's
//! double says so in the environment ([`double::process`]).
//!
//! ```text
//!  containerd ── start ──▶ socket made here, server spawned with it as fd 3 ──▶ address on stdout, at once
//!             ── ttrpc ──▶ serve: Task v2 and v3, and processes, on that socket until Shutdown
//!             ── delete ─▶ (the server is dead) undo list from the record
//! ```

mod answers;
mod delete;
mod info;
mod log;
mod probe;
mod protocol;
mod ps;
mod serve;
mod start;
mod template;

use std::process::ExitCode;

use containerd_shim::{Flags, parse};

pub use self::serve::services;
use crate::double;
use crate::error::{TaskError, chain};

/// What the shim is called in containerd's configuration.
pub const RUNTIME_NAME: &str = "io.containerd.boxlite.v1";

/// Runs the action in the command line. Errors go to stderr, which containerd quotes.
#[must_use]
pub fn run() -> ExitCode {
    if let Some(ended) = double::process::requested() {
        return ended;
    }
    // Whatever this call turns out to be, a machine that it starts needs the time between now and then.
    boxlite_vmm::host_tsc::begin();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match arguments.split_first() {
        // Ours, not containerd's, and its arguments are not flags of a shim.
        Some((first, rest)) if first == "template" => template::run(rest),
        Some((first, rest)) if first == "ps" => ps::run(rest),
        Some((first, rest)) if first == "probe" => probe::run(rest),
        _ => match parse(&arguments) {
            Ok(flags) => dispatch(&flags),
            Err(error) => Err(TaskError::Invalid { what: error.to_string() }),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containerd-shim-boxlite-v1: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(flags: &Flags) -> Result<(), TaskError> {
    if flags.version {
        println!("containerd-shim-boxlite-v1 {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    if flags.info {
        return info::info();
    }
    match flags.action.as_str() {
        "start" => start::start(flags),
        "delete" => delete::delete(flags),
        "" => serve::serve(flags),
        other => Err(TaskError::Invalid {
            what: format!("unknown action {other}; containerd calls start and delete"),
        }),
    }
}
