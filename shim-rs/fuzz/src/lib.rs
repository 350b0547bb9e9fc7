// SPDX-License-Identifier: Apache-2.0
//! What several targets share: a host to compile plans for, and a mutation that keeps JSON JSON.

use std::path::Path;

use boxlite_shim::plan::{self, CompiledTask, FileKind, HostFacts, MachineDefaults, Refusal, SocketFacts};
use serde_json::Value;

#[path = "../../crates/shim/tests/plan/mutate.rs"]
#[allow(dead_code, reason = "the rounds are those of the test it is from")]
mod mutate;

/// The plan of a spec on a host where every path is what its name says.
pub fn compile(json: &[u8]) -> Result<CompiledTask, Refusal> {
    let kind_of = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        Some(match name {
            "resolv.conf" | "hostname" | "hosts" | "file" => FileKind::File,
            _ if name.ends_with(".sock") => FileKind::Socket(SocketFacts {
                mode: 0o660,
                uid: 0,
                gid: 999,
                takes_connections: name != "log.sock",
                engine: name == "docker.sock",
            }),
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

/// A spec with little in it but `section`, which goes to `linux.seccomp` or `mounts`.
pub fn around(section: &str, value: Value) -> Vec<u8> {
    let kinds = ["pid", "network", "mount", "ipc", "uts", "cgroup"];
    let mut spec = serde_json::json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "process": { "args": ["sh"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
        "linux": { "namespaces": kinds.map(|kind| serde_json::json!({ "type": kind })) },
    });
    match section {
        "mounts" => spec["mounts"] = value,
        other => spec["linux"][other] = value,
    }
    spec.to_string().into_bytes()
}

/// Checks that a spec is refused for nothing but its `section`: otherwise that would never be read.
pub fn is_sound(section: &str, value: Value) {
    compile(&around(section, value)).expect("planned");
}

/// Checks what holds of every plan, whatever it is of.
pub fn holds(task: &CompiledTask) {
    assert_eq!(task.share[0].name, "c1/rootfs", "the root file system is first in the share");
    for item in &task.share {
        assert!(item.source.is_absolute(), "{item:?} is somewhere on the host");
        assert!(!item.name.contains(".."), "{item:?} leaves the share");
    }
    let program = &task.launch.process.seccomp;
    assert!(
        program.len().is_multiple_of(8) && program.len() <= 8 * 4096,
        "{} bytes of filter",
        program.len()
    );
    assert!(task.size.vcpus >= 1 && task.size.memory_mib >= 128, "{:?}", task.size);
    assert!(task.warnings.iter().all(|warning| !warning.contains('\n')), "{:?}", task.warnings);
}

/// Changes a place of the JSON in `data`; of what is none, some bytes.
pub fn mutate(data: &mut [u8], size: usize, limit: usize, seed: u32) -> usize {
    let parsed = data.get(..size).and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    if let Some(mut value) = parsed.filter(|_| !seed.is_multiple_of(8)) {
        let mut random = mutate::Random::new(u64::from(seed) + 1);
        for _ in 0..=random.below(3) {
            mutate::once(&mut value, &mut random);
        }
        let text = value.to_string();
        if let Some(room) = data.get_mut(..text.len()).filter(|_| text.len() <= limit) {
            room.copy_from_slice(text.as_bytes());
            return text.len();
        }
    }
    libfuzzer_sys::fuzzer_mutate(data, size, limit)
}
