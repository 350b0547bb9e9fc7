// SPDX-License-Identifier: Apache-2.0
//! The host's settings, as far as a container under runc sees or feels them: a guest is given the same.
//!
//! Owns the declared list ([`list`]), how it is read, what a guest is given of it, and which of that a machine from a
//! template has already. Does not own the writing, which is the agent's, nor `--sysctl`, which comes after and wins.
//!
//! Order: [`kernel`] where the shim is, once; [`network`] on a thread in the container's network namespace;
//! [`for_guest`] decides; [`beyond`] leaves out what a template's guest was given when it was made. A template depends
//! on none of it: a setting that has changed since is sent to each machine.

mod list;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use boxlite_protocol::plan::{Rlimit, Sysctl};
use serde::{Deserialize, Serialize};

use crate::host_facts;

const SYSCTLS: &str = "/proc/sys";
/// A value that is longer is cut, and refused by the guest.
const MOST: u64 = 4096;
/// RLIMIT_NOFILE of sys/resource.h.
const NOFILE: u32 = 7;
/// PID_MAX_LIMIT of the kernel's linux/threads.h.
const PID_MAX_LIMIT: &str = "4194304";
/// From this kernel on a pid namespace has a `pid_max` of its own, which begins at the most there is.
const OWN_PID_MAX: (u32, u32) = (6, 14);
const IP_FORWARD: &str = "net/ipv4/ip_forward";
/// Written by the kernel when [`IP_FORWARD`] changes.
const FORWARDED: &str = "net/ipv4/conf/";

/// One setting and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// With slashes, below `/proc/sys`.
    pub path: String,
    /// Without the end of the line.
    pub value: String,
}

impl From<&Setting> for Sysctl {
    fn from(setting: &Setting) -> Self {
        Self { path: setting.path.clone(), value: setting.value.clone(), ..Self::default() }
    }
}

/// What was read of the whole kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kernel {
    settings: Vec<Setting>,
    /// The first two numbers of its release.
    release: (u32, u32),
    /// What may be committed at most, where the host commits no more.
    commit_limit_kib: Option<u64>,
}

/// The host's kernel's settings; read at the first call, which is to be made where the shim was started.
pub(crate) fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| Kernel {
        settings: read(Path::new(SYSCTLS), list::KERNEL),
        release: host_facts::kernel().map(|release| version(&release)).unwrap_or_default(),
        commit_limit_kib: host_facts::commit_limit_kib(),
    })
}

/// The settings of the calling thread's network namespace.
pub(crate) fn network() -> Vec<Setting> {
    read(Path::new(SYSCTLS), list::NETWORK)
}

/// What this kernel does not have, or keeps to itself, no container under runc sees either.
fn read(root: &Path, names: &[&str]) -> Vec<Setting> {
    let value = |name: &str| -> std::io::Result<String> {
        let mut text = String::new();
        File::open(root.join(name))?.take(MOST).read_to_string(&mut text)?;
        Ok(text.trim_end_matches('\n').to_owned())
    };
    let read = |name: &&str| Some(Setting { path: (*name).to_owned(), value: value(name).ok()? });
    names.iter().filter_map(read).collect()
}

/// `6.12.48+deb13-amd64` is 6.12.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    (next(), next())
}

/// What a guest whose processes have these limits is given, in the order to write it.
pub(crate) fn for_guest(kernel: &Kernel, network: &[Setting], limits: &[Rlimit]) -> Vec<Setting> {
    let own = |setting: &&Setting| !network.iter().any(|other| other.path == setting.path);
    let decided = kernel.settings.iter().filter(own).filter_map(|setting| {
        let value = decide(setting, kernel, limits)?;
        Some(Setting { path: setting.path.clone(), value })
    });
    decided.chain(network.iter().cloned()).collect()
}

/// The guest's value; none leaves its own.
fn decide(setting: &Setting, kernel: &Kernel, limits: &[Rlimit]) -> Option<String> {
    let host = &setting.value;
    let strict = kernel.commit_limit_kib.filter(|_| kernel.value("vm/overcommit_memory") == Some("2"));
    match setting.path.as_str() {
        // A process cannot be given more open files than this, and it may have been lowered since ours were.
        "fs/nr_open" => Some(at_least(host, open_files(limits))),
        "kernel/pid_max" if kernel.release >= OWN_PID_MAX => Some(PID_MAX_LIMIT.to_owned()),
        // Of these two only one is in force, and writing it resets the other. A ratio would be of the guest's memory.
        "vm/overcommit_kbytes" => match strict {
            Some(limit) => Some(limit.to_string()),
            None => (host != "0").then(|| host.clone()),
        },
        "vm/overcommit_ratio" => (strict.is_none() && host != "0").then(|| host.clone()),
        _ => Some(host.clone()),
    }
}

impl Kernel {
    fn value(&self, path: &str) -> Option<&str> {
        self.settings.iter().find(|setting| setting.path == path).map(|setting| setting.value.as_str())
    }
}

fn open_files(limits: &[Rlimit]) -> u64 {
    limits.iter().find(|limit| limit.resource == NOFILE).map_or(0, |limit| limit.hard)
}

/// No limit of files can be above what a kernel takes for `fs.nr_open`: what cannot be read stays as it is.
fn at_least(value: &str, least: u64) -> String {
    match value.parse::<u64>() {
        Ok(number) if number < least => least.to_string(),
        _ => value.to_owned(),
    }
}

/// Those of `wanted` that a guest has not been given `before`, in their order.
pub(crate) fn beyond(wanted: Vec<Setting>, before: &[Setting]) -> Vec<Setting> {
    let differs = |setting: &Setting| !before.contains(setting);
    let forwards = wanted.iter().any(|setting| setting.path == IP_FORWARD && differs(setting));
    let undone = |setting: &Setting| forwards && setting.path.starts_with(FORWARDED);
    wanted.into_iter().filter(|setting| differs(setting) || undone(setting)).collect()
}

#[cfg(test)]
mod tests;
