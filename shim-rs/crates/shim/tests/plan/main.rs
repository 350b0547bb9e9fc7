// SPDX-License-Identifier: Apache-2.0
//! The plan of real specs, against golden files; and of damaged ones, which must be refused or planned but never panic.
//! README.md says where the specs come from.

#![allow(missing_docs, clippy::expect_used, reason = "a test fails by panicking")]

mod mutate;
mod render;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use boxlite_shim::plan::{
    self, Basis, CompiledTask, FileKind, HostFacts, MachineDefaults, Refusal, SocketFacts,
};

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan").join(name)
}

/// A host with 8 GiB and 4 CPUs where every path is a directory, but for the files and sockets engines bind.
fn compile(json: &[u8]) -> Result<CompiledTask, Refusal> {
    compile_beside(json, None)
}

/// As [`compile`], with one more file.
fn compile_beside(json: &[u8], file: Option<&str>) -> Result<CompiledTask, Refusal> {
    let kind_of = |path: &Path| {
        if file.is_some_and(|file| path == Path::new(file)) {
            return Some(FileKind::File);
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        Some(match name {
            "resolv.conf" | "hostname" | "hosts" | "etc-hosts" | "file" | "docker-init" => FileKind::File,
            _ if name.ends_with(".file") => FileKind::File,
            _ if name.ends_with(".sock") => FileKind::Socket(socket(name)),
            "absent" => return None,
            _ => FileKind::Directory,
        })
    };
    let facts = HostFacts {
        memory_mib: 8192,
        cpus: 4,
        limits: &[],
        defaults: MachineDefaults { memory_mib: None, vcpus: None },
        kind_of: &kind_of,
        engine_sockets: false,
        rootfs_mounts: false,
    };
    plan::compile("c1", Path::new("/run/bundle"), &plan::parse(json)?, &facts)
}

fn socket(name: &str) -> SocketFacts {
    let engine = name == "docker.sock";
    SocketFacts { mode: 0o660, uid: 0, gid: 999, takes_connections: name != "log.sock", engine }
}

fn names(of: &str, extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory(of)).expect("directory of the test");
    let paths = entries.map(|entry| entry.expect("entry").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    paths.map(|path| path.file_stem().expect("name").to_string_lossy().into_owned()).collect()
}

fn spec(name: &str) -> Vec<u8> {
    fs::read(directory("specs").join(format!("{name}.json"))).expect("spec")
}

#[test]
fn plans_of_real_specs_are_as_reviewed() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut different = Vec::new();
    for name in names("specs", "json") {
        let rendered = render::outcome(&compile(&spec(&name)));
        let golden = directory("golden").join(format!("{name}.txt"));
        if bless {
            fs::write(&golden, rendered).expect("golden file written");
        } else if fs::read_to_string(&golden).ok().as_deref() != Some(rendered.as_str()) {
            different.push(format!("=== {name} came to\n{rendered}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(names("golden", "txt"), names("specs", "json"), "a plan without a spec");
}

#[test]
fn the_link_to_kernel_memory_is_there_where_the_host_has_some() {
    let has_link = |file| {
        let task = compile_beside(&spec("docker-default"), file).expect("a plan");
        let link = task.launch.symlinks.iter().find(|link| link.path == "/dev/core");
        link.map(|link| link.target.clone())
    };
    assert_eq!(has_link(None), None);
    assert_eq!(has_link(Some("/proc/kcore")).as_deref(), Some("/proc/kcore"));
}

#[test]
fn damaged_specs_never_panic() {
    let mut planned = 0;
    let mut refused = 0;
    for (number, name) in names("specs", "json").iter().enumerate() {
        let sound: serde_json::Value = serde_json::from_slice(&spec(name)).expect("JSON");
        let mut random = mutate::Random::new(number as u64 + 1);
        for _ in 0..mutate::ROUNDS {
            let mut damaged = sound.clone();
            for _ in 0..=random.below(3) {
                mutate::once(&mut damaged, &mut random);
            }
            let bytes = |value: &serde_json::Value| serde_json::to_vec(value).expect("JSON");
            // Exec and Update carry these sections alone; only that they do not panic is asked.
            let exec = plan::load_process(&bytes(&damaged["process"]));
            let _ = exec.and_then(|process| plan::compile_process(&process, &Basis::default()));
            let _ = plan::load_resources(&bytes(&damaged["linux"]["resources"]), 4);
            match compile(&bytes(&damaged)) {
                Ok(task) => {
                    planned += 1;
                    check_invariants(&task);
                }
                Err(refusal) => {
                    refused += 1;
                    assert!(!refusal.to_string().is_empty());
                }
            }
        }
    }
    assert!(planned > 100 && refused > 100, "one-sided: {planned} planned, {refused} refused");
}

/// What must hold whatever the spec said.
fn check_invariants(task: &CompiledTask) {
    const NEW_NET_USER_TIME: u64 = 0x4000_0000 | 0x1000_0000 | 0x80;
    assert_eq!(task.launch.namespaces & NEW_NET_USER_TIME, 0);
    assert_eq!(task.launch.rootfs, "c1/rootfs");
    assert!(task.size.memory_mib >= 128 && task.size.vcpus >= 1 && task.size.vcpus <= 4);
    let process = task.launch.process.as_ref().expect("process");
    assert!(!process.args.is_empty() && process.cwd.starts_with('/'));
    for mount in &task.launch.mounts {
        assert!(mount.destination.starts_with('/') && mount.destination != "/");
        assert!(!mount.destination.split('/').any(|part| part == ".."));
    }
    for item in &task.share {
        assert!(item.name.starts_with("c1/") && !item.name.contains(".."), "{}", item.name);
        assert!(item.source.is_absolute());
    }
    for sysctl in &task.launch.sysctls {
        assert!(!sysctl.path.starts_with('/') && !sysctl.path.contains("../"), "{}", sysctl.path);
    }
    let cgroup = task.launch.cgroup.as_ref().expect("cgroup");
    assert!(cgroup.files.iter().all(|file| !file.name.contains('/') && !file.value.contains('\n')));
}
