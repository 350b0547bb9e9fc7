// SPDX-License-Identifier: Apache-2.0
//! The workspace's own commands: `cargo run -p xtask -- agent | check | prepush`.
//!
//! `agent` builds the static guest agent; `check` is formatting and lints; `prepush` is `check` and all tests.

use std::process::{Command, ExitCode};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let done = match verb.as_str() {
        "agent" => agent(),
        "check" => check(),
        "prepush" => check() && cargo(&["test", "--workspace", "--locked"], &[]),
        _ => {
            eprintln!("usage: cargo run -p xtask -- agent | check | prepush");
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Static with glibc: the target is named so that build scripts and procedural macros stay dynamic.
fn agent() -> bool {
    let arguments = ["build", "--locked", "-p", "boxlite-agent", "--profile", "agent", "--target", TARGET];
    cargo(&arguments, &[("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")])
}

fn check() -> bool {
    cargo(&["fmt", "--all", "--check"], &[])
        && cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    match Command::new(cargo).args(arguments).envs(environment.iter().copied()).current_dir(root).status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cargo could not be started: {error}");
            false
        }
    }
}
