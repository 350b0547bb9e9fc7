// SPDX-License-Identifier: Apache-2.0
//! Transient scopes: how a host run by systemd is asked for a cgroup. Names and command lines are pure.
//!
//! systemd's own tools talk to it; a D-Bus library would be the larger part of the shim. Names are checked to be unit
//! names before they reach a command line.

use std::path::PathBuf;
use std::process::Command;

use boxlite_linux::text::one_line;
use serde::{Deserialize, Serialize};

use super::CgroupError;

const BUSCTL: &str = "busctl";
const SYSTEMCTL: &str = "systemctl";
/// What runc takes for an empty slice.
const DEFAULT_SLICE: &str = "system.slice";

/// A scope and the slice it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    slice: String,
    name: String,
}

impl Scope {
    /// From `slice:prefix:name`. The error completes "cgroup path ...".
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split(':');
        let (Some(slice), Some(prefix), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("is not slice:prefix:name");
        };
        let slice = if slice.is_empty() { DEFAULT_SLICE } else { slice };
        let Some(stem) = slice.strip_suffix(".slice") else { return Err("names a slice without .slice") };
        if stem != "-" && stem.split('-').any(str::is_empty) {
            return Err("names a slice with an empty part");
        }
        if name.is_empty() {
            return Err("names no container");
        }
        let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        if ![slice, &unit].into_iter().all(is_unit_name) {
            return Err("has a character that is not allowed in a systemd unit");
        }
        Ok(Self { slice: slice.into(), name: unit })
    }

    /// Where systemd puts the scope: `a-b.slice` lies in `a.slice`.
    pub(super) fn path(&self) -> PathBuf {
        let stem = self.slice.trim_end_matches(".slice");
        let ends = stem.match_indices('-').map(|(end, _)| end).chain([stem.len()]);
        let mut path: PathBuf = if stem == "-" {
            PathBuf::new()
        } else {
            ends.map(|end| format!("{}.slice", &stem[..end])).collect()
        };
        path.push(&self.name);
        path
    }

    /// Starts the scope with a process in it, and returns when the process is there.
    pub(super) fn start(&self, pid: u32) -> Result<(), CgroupError> {
        self.run(BUSCTL, &self.start_arguments(pid))?;
        // The call above only queues a job. Starting what is being started waits for that job.
        self.run(SYSTEMCTL, &["start", "--quiet", "--", &self.name].map(str::to_owned))
    }

    /// Sets a property of the running scope.
    pub(super) fn set(&self, property: &str, value: u64) -> Result<(), CgroupError> {
        self.run(BUSCTL, &self.set_arguments(property, value))
    }

    fn start_arguments(&self, pid: u32) -> Vec<String> {
        let description = format!("BoxLite container {}", self.name);
        let pid = pid.to_string();
        let mut arguments = call("StartTransientUnit", "ssa(sv)a(sa(sv))");
        arguments.extend([self.name.as_str(), "fail"].map(str::to_owned));
        let properties: [&[&str]; 8] = [
            &["Description", "s", &description],
            &["Slice", "s", &self.slice],
            // The tree below is the shim's: it adds hierarchies systemd does not manage.
            &["Delegate", "b", "true"],
            // Otherwise a shutdown's conflicts and orderings apply, which the engine, not systemd, decides.
            &["DefaultDependencies", "b", "false"],
            &["CPUAccounting", "b", "true"],
            &["MemoryAccounting", "b", "true"],
            &["TasksAccounting", "b", "true"],
            &["PIDs", "au", "1", &pid],
        ];
        arguments.push(properties.len().to_string());
        arguments.extend(properties.iter().copied().flatten().map(|&word| word.to_owned()));
        arguments.push("0".into()); // no auxiliary units
        arguments
    }

    fn set_arguments(&self, property: &str, value: u64) -> Vec<String> {
        let mut arguments = call("SetUnitProperties", "sba(sv)");
        arguments.extend([&self.name, "true", "1", property, "t", &value.to_string()].map(str::to_owned));
        arguments
    }

    fn run(&self, program: &'static str, arguments: &[String]) -> Result<(), CgroupError> {
        let output = Command::new(program)
            .args(arguments)
            .output()
            .map_err(|source| CgroupError::Tool { program, source })?;
        if output.status.success() {
            return Ok(());
        }
        let answer = one_line(&String::from_utf8_lossy(&output.stderr), usize::MAX).trim().to_owned();
        Err(CgroupError::Scope { scope: self.name.clone(), answer })
    }
}

/// The words before a method's own arguments.
fn call(method: &str, signature: &str) -> Vec<String> {
    [
        "--system",
        "--quiet",
        "--",
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        method,
        signature,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// systemd.unit(5): letters, digits and `:-_.\`, at most 255 of them.
fn is_unit_name(name: &str) -> bool {
    name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn a_scope_lies_in_its_slice_and_that_in_the_slices_it_is_named_after() {
        for (text, path) in [
            ("system.slice:docker:abc", "system.slice/docker-abc.scope"),
            (":docker:abc", "system.slice/docker-abc.scope"),
            ("-.slice:docker:abc", "docker-abc.scope"),
            ("system.slice::abc", "system.slice/abc.scope"),
            (
                "kubepods-burstable-pod12_3.slice:cri-containerd:0f",
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_3.slice/cri-containerd-0f.scope",
            ),
        ] {
            assert_eq!(scope(text).path(), PathBuf::from(path), "{text}");
        }
    }

    #[test]
    fn what_is_no_unit_name_is_refused() {
        for text in [
            "a:b:c",
            "a--b.slice:p:n",
            "-a.slice:p:n",
            "a/b.slice:p:n",
            "a.slice:p:",
            "a.slice:p:n n",
            ".slice:p:n",
        ] {
            assert!(Scope::parse(text).is_err(), "{text}");
        }
        assert!(Scope::parse(&format!("a.slice:p:{}", "n".repeat(300))).is_err());
    }

    #[test]
    fn starting_a_scope_is_one_call_with_typed_properties() {
        let words = scope("system.slice:docker:abc").start_arguments(42).join(" ");
        assert_eq!(
            words,
            "--system --quiet -- call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
             org.freedesktop.systemd1.Manager StartTransientUnit ssa(sv)a(sa(sv)) docker-abc.scope fail 8 \
             Description s BoxLite container docker-abc.scope Slice s system.slice Delegate b true \
             DefaultDependencies b false CPUAccounting b true MemoryAccounting b true TasksAccounting b true \
             PIDs au 1 42 0"
        );
    }

    #[test]
    fn a_property_is_set_for_as_long_as_the_scope_lives() {
        let words = scope("system.slice:docker:abc").set_arguments("CPUWeight", 39).join(" ");
        assert!(
            words.ends_with("SetUnitProperties sba(sv) docker-abc.scope true 1 CPUWeight t 39"),
            "{words}"
        );
    }
}
