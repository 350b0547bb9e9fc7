// SPDX-License-Identifier: Apache-2.0
//! The guest's agent: PID 1 of a machine, executes launch plans.
//!
//! 1. [`mode`]: as PID 1, [`boot`] makes the guest; as a plain process (tests, fake machine) the host is left alone.
//! 2. The [`channel`] is split into streams: [`streams`] collects stdio, [`service`] will answer calls.
//! 3. Says hello, and waits for the host's first byte. A template is saved here, with [`provisions`], after [`hygiene`].
//! 4. [`configure`], then [`containers`]: [`container`] builds them, [`exec`] joins them, [`settle`] ends them.
//! 5. When the channel ends, so does the agent: the machine with it, or its containers.
//!
//! One thread, always: children are forked, and a fork of one thread may do what it likes before exec.

mod boot;
mod cgroup;
mod channel;
mod configure;
mod container;
mod containers;
mod descriptor;
mod error;
mod events;
mod exec;
mod hygiene;
mod mode;
mod process;
mod processes;
mod provisions;
mod reaper;
mod relay;
mod root;
mod running;
mod serve;
mod service;
mod settle;
mod share;
mod stdio;
mod streams;
mod sys;
mod tree;

use std::process::ExitCode;

use crate::mode::Mode;

fn main() -> ExitCode {
    if std::process::id() == 1 && std::env::args_os().len() <= 1 {
        serve::guest()
    } else {
        match Mode::parse(std::env::args_os().skip(1)) {
            Ok(mode) => serve::process(mode),
            Err(usage) => {
                mode::say(&usage.to_string());
                ExitCode::from(2)
            }
        }
    }
}
