// SPDX-License-Identifier: Apache-2.0
//! `probe`: whether a guest comes up under an accelerator, for `boxlite install`, which chooses one.
//!
//! A machine is booted as a container's is, by the same command line and with every device, until its agent has taken
//! the first call: a `/dev/kvm` that opens proves nothing. Which accelerator is tried, and for how long, is the caller's.
//!
//! Not for people: one JSON document, `{"up":true}` or `{"up":false,"why":"..."}`; errors go to stderr as everywhere.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use boxlite_vmm::{Machine, Start};
use serde_json::json;

use super::answers::{say, while_heard};
use crate::config::{AccelChoice, Config};
use crate::error::{TaskError, chain};
use crate::guest::{self, Greeting, Guest};
use crate::plan::MachineSize;
use crate::trial::{Scratch, Trial};

const USAGE: &str = "usage: probe --accel kvm|tcg --seconds NUMBER [--config FILE]";
/// A machine whose channel has ended, ends.
const ENDING: Duration = Duration::from_secs(1);

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    accel: AccelChoice,
    patience: Duration,
    config: Option<PathBuf>,
}

/// Runs `probe` with the arguments after that word.
pub(super) fn run(arguments: &[OsString]) -> Result<(), TaskError> {
    let arguments = parse(arguments)?;
    let mut config = Config::load(arguments.config.as_deref(), None)?;
    config.machine.accel = arguments.accel;
    config.check_files()?;
    while_heard(async {
        let answer = match boot(&config, arguments.patience).await {
            Ok(()) => json!({ "up": true }),
            Err(why) => json!({ "up": false, "why": why }),
        };
        say(&answer)
    })
}

fn parse(arguments: &[OsString]) -> Result<Arguments, TaskError> {
    let usage = || TaskError::Invalid { what: USAGE.to_owned() };
    let (mut accel, mut patience, mut config) = (None, None, None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(usage)?;
        match (word.to_str(), value.to_str()) {
            (Some("--accel"), Some("kvm")) => accel = Some(AccelChoice::Kvm),
            (Some("--accel"), Some("tcg")) => accel = Some(AccelChoice::Tcg),
            (Some("--seconds"), Some(number)) => {
                patience = number.parse().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
            }
            (Some("--config"), _) => config = Some(PathBuf::from(value)),
            _ => return Err(usage()),
        }
    }
    let (Some(accel), Some(patience)) = (accel, patience) else { return Err(usage()) };
    Ok(Arguments { accel, patience, config })
}

/// Boots once; the error is the reason for people.
async fn boot(config: &Config, patience: Duration) -> Result<(), String> {
    let scratch = Scratch::create(&config.paths.run).map_err(|error| error.to_string())?;
    let size = MachineSize { vcpus: config.machine.vcpus, memory_mib: config.machine.memory_mib };
    let trial = Trial::launch(config, "boxlite-probe", size, scratch.path(), (Start::Boot, ""))
        .map_err(|error| chain(&error))?;
    let machine = &*trial.machine;
    let answered = tokio::time::timeout(patience, first_call(machine)).await;
    let refused = match answered {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(match tokio::time::timeout(ENDING, machine.exited()).await {
            Ok(exit) => format!("QEMU ended: {}", telling(&format!("{}\n{}", exit.console, exit.stderr))),
            Err(_) => chain(&error),
        }),
        Err(_) => Err(late(patience, &machine.console_tail())),
    };
    machine.end().await;
    refused
}

async fn first_call(machine: &dyn Machine) -> Result<(), TaskError> {
    let channel = machine.take_channel().ok_or_else(|| TaskError::MachineGone {
        why: "its channel was taken".to_owned(),
        console: machine.console_tail(),
    })?;
    // It opens no streams: there is nothing in it that would.
    let (guest, _) = Guest::connect(channel, Greeting::Expected).await?;
    guest.configure(&guest::first_call()?).await
}

fn late(patience: Duration, console: &str) -> String {
    let said = match console.trim() {
        "" => "; it said nothing".to_owned(),
        console => format!("; its console: {}", telling(console)),
    };
    format!("a guest did not come up in {} s{said}", patience.as_secs_f64())
}

/// The line that says most about an end: the agent's, the kernel's last, QEMU's; else the last of all.
fn telling(text: &str) -> &str {
    let found = ["boxlite-agent:", "panic", "qemu"].into_iter();
    let found = found.filter_map(|word| text.lines().find(|line| line.contains(word))).next();
    let last = || text.lines().rfind(|line| !line.trim().is_empty());
    found.or_else(last).unwrap_or("without a word").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, TaskError> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn an_accelerator_and_a_time_are_asked_for() {
        let expected = Arguments {
            accel: AccelChoice::Kvm,
            patience: Duration::from_millis(1500),
            config: Some("/c".into()),
        };
        assert_eq!(parsed("--seconds 1.5 --accel kvm --config /c").unwrap(), expected);
        for line in [
            "",
            "--accel kvm",
            "--seconds 1",
            "--accel auto --seconds 1",
            "--accel kvm --seconds",
            "--accel kvm --seconds -1",
            "--accel kvm --seconds x",
            "--accel kvm --seconds 1 --force yes",
        ] {
            assert!(matches!(parsed(line), Err(TaskError::Invalid { .. })), "{line}");
        }
    }

    #[test]
    fn the_line_that_says_most_is_quoted() {
        let console = "[0.1] Linux\n[0.2] Kernel panic - not syncing\n[0.3] ---[ end ]---\n";
        assert_eq!(telling(console), "[0.2] Kernel panic - not syncing");
        assert_eq!(telling("one\ntwo\n\n"), "two");
        assert_eq!(telling("qemu-system-x86_64: no\nboxlite-agent: no\n"), "boxlite-agent: no");
        assert_eq!(telling(""), "without a word");
        assert_eq!(late(Duration::from_millis(200), ""), "a guest did not come up in 0.2 s; it said nothing");
    }
}
