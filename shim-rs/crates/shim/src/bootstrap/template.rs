// SPDX-License-Identifier: Apache-2.0
//! `template build|list|check|rm`: what `boxlite template` calls, since only this program knows what a machine is made of.
//!
//! Not for people: answers are JSON on stdout, one document a line; errors go to stderr as everywhere. `build` writes
//! a line for each phase as it begins, then the template; the others write one array.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;

use super::answers::{say, while_heard};
use crate::accel;
use crate::config::Config;
use crate::error::{TaskError, chain};
use crate::machine;
use crate::template::{self, Class, Entry, FileError, Manifest, Phase, Store, Template, TemplateError};

const USAGE: &str = "usage: template build [--size CPUSxMIB] [--force] | template list | \
                     template check [--start] [NAME...] | template rm NAME...; \
                     each takes --config FILE";

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    verb: String,
    config: Option<PathBuf>,
    size: Option<Class>,
    force: bool,
    start: bool,
    names: Vec<Entry>,
}

/// One template, as `list` and `check` tell of it.
#[derive(Debug, Serialize)]
struct Described {
    name: String,
    vcpus: u32,
    memory_mib: u32,
    /// "fresh", "stale" or "damaged".
    state: &'static str,
    /// Why it is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_bytes: Option<u64>,
}

impl Described {
    fn new(entry: &Entry, state: &'static str) -> Self {
        Self {
            name: entry.name(),
            vcpus: entry.class.vcpus,
            memory_mib: entry.class.memory_mib,
            state,
            why: None,
            created: None,
            used: None,
            memory_bytes: None,
            state_bytes: None,
        }
    }

    fn whole(entry: &Entry, fresh: bool, manifest: &Manifest, used: SystemTime) -> Self {
        Self {
            created: Some(manifest.created),
            used: used.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()),
            memory_bytes: Some(manifest.memory.size),
            state_bytes: Some(manifest.state.size),
            ..Self::new(entry, if fresh { "fresh" } else { "stale" })
        }
    }

    fn damaged(entry: &Entry, why: String) -> Self {
        Self { why: Some(why), ..Self::new(entry, "damaged") }
    }
}

/// Runs `template` with the arguments after that word.
pub(super) fn run(arguments: &[OsString]) -> Result<(), TaskError> {
    let arguments = parse(arguments)?;
    let mut config = Config::load(arguments.config.as_deref(), None)?;
    config.check_files()?;
    while_heard(async {
        accel::settle(&mut config).await;
        act(&config, &arguments).await
    })
}

async fn act(config: &Config, arguments: &Arguments) -> Result<(), TaskError> {
    match arguments.verb.as_str() {
        "build" => build(config, arguments).await,
        "list" => list(config),
        "check" => check(config, arguments).await,
        _ => remove(config, arguments),
    }
}

fn parse(arguments: &[OsString]) -> Result<Arguments, TaskError> {
    let usage = || TaskError::Invalid { what: USAGE.to_owned() };
    let mut words = arguments.iter().map(|word| word.to_str().ok_or_else(usage));
    let verb = words.next().ok_or_else(usage)??.to_owned();
    if !["build", "list", "check", "rm"].contains(&verb.as_str()) {
        return Err(usage());
    }
    let mut parsed = Arguments { verb, ..Arguments::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(usage)?;
        match (word?, parsed.verb.as_str()) {
            ("--config", _) => parsed.config = Some(value()?.into()),
            ("--size", "build") => {
                let size = value()?
                    .parse()
                    .map_err(|error: template::NoClass| TaskError::Invalid { what: error.to_string() })?;
                parsed.size = Some(size);
            }
            ("--force", "build") => parsed.force = true,
            ("--start", "check") => parsed.start = true,
            (name, "check" | "rm") => {
                let entry = Entry::parse(name)
                    .ok_or_else(|| TaskError::Invalid { what: format!("{name:?} is no template's name") })?;
                parsed.names.push(entry);
            }
            _ => return Err(usage()),
        }
    }
    Ok(parsed)
}

async fn build(config: &Config, arguments: &Arguments) -> Result<(), TaskError> {
    let default = Class::of(machine::usual(config));
    let phase = |phase: Phase| {
        let name = match phase {
            Phase::Waiting => "waiting",
            Phase::Booting => "booting",
            Phase::Saving => "saving",
            Phase::Proving => "proving",
        };
        // One that nobody takes ends the build, and not here.
        let _ = say(&json!({ "phase": name }));
    };
    let class = arguments.size.unwrap_or(default);
    let built = template::build(config, class, arguments.force, &phase).await?;
    let described = Described::whole(&built.entry, true, &built.manifest, SystemTime::now());
    say(&json!({ "template": described, "already": built.already }))
}

fn list(config: &Config) -> Result<(), TaskError> {
    let described = |store: &Store| {
        let entries = store.entries().map_err(TaskError::template("reading the directory of templates"))?;
        entries.iter().map(|entry| describe(config, store, entry)).collect::<Result<Vec<_>, _>>()
    };
    let found = open(config)?.as_ref().map_or_else(|| Ok(Vec::new()), described)?;
    say(&json!(found))
}

async fn check(config: &Config, arguments: &Arguments) -> Result<(), TaskError> {
    let mut found = Vec::new();
    if let Some(store) = open(config)? {
        let mut entries =
            store.entries().map_err(TaskError::template("reading the directory of templates"))?;
        absent(&entries, &arguments.names)?;
        entries.retain(|entry| arguments.names.is_empty() || arguments.names.contains(entry));
        for entry in &entries {
            found.push(examine(config, &store, entry, arguments.start).await?);
        }
    } else {
        absent(&[], &arguments.names)?;
    }
    say(&json!(found))
}

fn remove(config: &Config, arguments: &Arguments) -> Result<(), TaskError> {
    if let Some(store) = open(config)? {
        let entries = store.entries().map_err(TaskError::template("reading the directory of templates"))?;
        absent(&entries, &arguments.names)?;
        template::remove(&store, &arguments.names).map_err(TaskError::template("removing a template"))?;
    } else {
        absent(&[], &arguments.names)?;
    }
    let names: Vec<String> = arguments.names.iter().map(Entry::name).collect();
    say(&json!(names))
}

/// None where there is no directory yet.
fn open(config: &Config) -> Result<Option<Store>, TaskError> {
    match Store::open(&config.template.directory) {
        Ok(store) => Ok(Some(store)),
        Err(FileError::Absent { .. }) => Ok(None),
        Err(error) => Err(TaskError::template("opening the directory of templates")(error)),
    }
}

fn absent(there: &[Entry], wanted: &[Entry]) -> Result<(), TaskError> {
    match wanted.iter().find(|name| !there.contains(name)) {
        None => Ok(()),
        Some(name) => Err(TaskError::NotFound { what: "template", id: name.name() }),
    }
}

fn describe(config: &Config, store: &Store, entry: &Entry) -> Result<Described, TaskError> {
    let fresh = template::is_fresh(config, store, entry)?;
    Ok(match store.template(entry) {
        Ok(template) => Described::whole(entry, fresh, &template.manifest, template.used),
        Err(error) => Described::damaged(entry, chain(&error)),
    })
}

/// Everything a list tells, and the memory's content; with `start`, also whether a machine really goes on from it.
async fn examine(config: &Config, store: &Store, entry: &Entry, start: bool) -> Result<Described, TaskError> {
    let described = describe(config, store, entry)?;
    let checked = || -> Result<Template, TemplateError> {
        let template = store.template(entry)?;
        template.check_memory()?;
        Ok(template)
    };
    let template = match checked() {
        Ok(template) => template,
        Err(error) => return Ok(Described::damaged(entry, chain(&error))),
    };
    if start
        && described.state == "fresh"
        && let Err(error) = template::try_out(config, entry.class, template.image).await
    {
        return Ok(Described::damaged(entry, chain(&error)));
    }
    Ok(described)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, TaskError> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn verbs_take_what_is_theirs() {
        let name = format!("1x512-{}", "0".repeat(64));
        let build = parsed("build --size 2x1024 --force --config /c").unwrap();
        assert_eq!((build.size, build.force), ("2x1024".parse().ok(), true));
        assert_eq!(build.config, Some("/c".into()));
        let check = parsed(&format!("check --start {name}")).unwrap();
        assert!(check.start);
        assert_eq!(check.names.iter().map(Entry::name).collect::<Vec<_>>(), std::slice::from_ref(&name));
        assert_eq!(parsed(&format!("rm {name}")).unwrap().names.len(), 1);
    }

    #[test]
    fn anything_else_is_refused() {
        for line in
            ["", "boot", "build --size", "build --size 1", "build x", "list x", "rm --start", "rm ../x"]
        {
            assert!(matches!(parsed(line), Err(TaskError::Invalid { .. })), "{line}");
        }
    }
}
