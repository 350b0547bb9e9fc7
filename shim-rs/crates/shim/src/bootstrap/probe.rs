// SPDX-License-Identifier: Apache-2.0
//! `probe`: which accelerator machines run with on this host, and why, for `boxlite install` and `boxlite doctor`.
//!
//! Finding out and remembering are [`crate::accel`]'s, as at a start. Beyond that a guest is booted under TCG where there is
//! no KVM to try: an installation whose guest comes up with nothing is to say so.
//!
//! Not for people: one JSON document. `probe` asks and remembers, and gives the answer, or `{"boots":false,"why":"..."}`;
//! `probe --look` boots nothing and gives `{"answer":...,"stale":...}`: what is remembered, and why it does not hold. Errors
//! go to stderr as everywhere.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::answers::{say, while_heard};
use crate::accel::REMEMBERED;
use crate::accel::answer::{self, Answer, Host, Remembered};
use crate::accel::ask::{self, Found};
use crate::config::Config;
use crate::error::TaskError;

const USAGE: &str = "usage: probe [--look] [--answer FILE] [--seconds NUMBER] [--config FILE]";

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    look: bool,
    /// Where the answer is remembered.
    answer: PathBuf,
    /// What a guest may take at most.
    patience: Option<Duration>,
    config: Option<PathBuf>,
}

/// Runs `probe` with the arguments after that word.
pub(super) fn run(arguments: &[OsString]) -> Result<(), TaskError> {
    let arguments = parse(arguments)?;
    let config = Config::load(arguments.config.as_deref(), None)?;
    if arguments.look {
        return say(&look(&config, &arguments)?);
    }
    config.check_files()?;
    while_heard(async { say(&probed(&config, &arguments).await?) })
}

fn parse(arguments: &[OsString]) -> Result<Arguments, TaskError> {
    let usage = || TaskError::Invalid { what: USAGE.to_owned() };
    let mut parsed = Arguments { look: false, answer: REMEMBERED.into(), patience: None, config: None };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(usage);
        match word.to_str() {
            Some("--look") => parsed.look = true,
            Some("--answer") => parsed.answer = PathBuf::from(value()?),
            Some("--config") => parsed.config = Some(PathBuf::from(value()?)),
            Some("--seconds") => {
                let number = value()?.to_str().and_then(|number| number.parse().ok());
                let patience = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
                parsed.patience = Some(patience.ok_or_else(usage)?);
            }
            _ => return Err(usage()),
        }
    }
    Ok(parsed)
}

fn look(config: &Config, arguments: &Arguments) -> Result<Value, TaskError> {
    let host = Host::observe(&config.paths.qemu).map_err(TaskError::host("examining the host"))?;
    let remembered =
        answer::read(&arguments.answer, &host).map_err(TaskError::host("reading the remembered answer"))?;
    Ok(match remembered {
        Remembered::Fresh(answer) => json!({ "answer": answer, "stale": null }),
        Remembered::Stale(answer, why) => json!({ "answer": answer, "stale": why }),
        Remembered::None(why) => json!({ "answer": null, "stale": why }),
    })
}

async fn probed(config: &Config, arguments: &Arguments) -> Result<Value, TaskError> {
    let lock = answer::lock(&arguments.answer).map_err(TaskError::host("locking the answer"))?;
    let host = Host::observe(&config.paths.qemu).map_err(TaskError::host("examining the host"))?;
    let verdict = match ask::ask(config, true, arguments.patience).await? {
        Found::Answer(verdict) => verdict,
        Found::Nowhere(why) => return Ok(json!({ "boots": false, "why": why })),
    };
    let answer = Answer::new(verdict, host);
    answer::write(&arguments.answer, &answer, &lock).map_err(TaskError::host("remembering the answer"))?;
    Ok(json!(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, TaskError> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_not_said_is_as_at_a_start() {
        let expected = Arguments { look: false, answer: REMEMBERED.into(), patience: None, config: None };
        assert_eq!(parsed("").unwrap(), expected);
        let expected = Arguments {
            look: true,
            answer: "/a".into(),
            patience: Some(Duration::from_millis(1500)),
            config: Some("/c".into()),
        };
        assert_eq!(parsed("--seconds 1.5 --look --answer /a --config /c").unwrap(), expected);
    }

    #[test]
    fn a_wrong_line_is_refused() {
        for line in ["--accel kvm", "--seconds", "--seconds -1", "--seconds x", "--config", "--answer", "x"] {
            assert!(matches!(parsed(line), Err(TaskError::Invalid { .. })), "{line}");
        }
    }
}
