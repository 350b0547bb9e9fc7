// SPDX-License-Identifier: Apache-2.0
//! Bundles as Docker writes them: the spec of `tests/plan/specs/docker-default.json` on a busybox root file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Mount;
use serde_json::{Value, json};

const APPLETS: [&str; 19] = [
    "sh", "true", "cat", "echo", "sleep", "id", "stty", "touch", "head", "tr", "ls", "kill", "tty", "env",
    "yes", "ps", "grep", "hostname", "trap",
];

/// One bundle on disk, and what Create is to be asked besides.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub id: String,
    pub directory: PathBuf,
    /// Becomes `config.json` when the task is created.
    pub spec: Value,
    /// Create's `rootfs`; empty: the root file system lies ready in the bundle.
    pub mounts: Vec<Mount>,
    pub stdin: bool,
    pub terminal: bool,
    /// Whether somebody reads the outputs to their end.
    pub read: bool,
}

impl Bundle {
    pub fn make(directory: &Path, id: &str) -> Self {
        let directory = directory.join(id);
        let rootfs = directory.join("rootfs");
        fill_rootfs(&rootfs);
        for file in ["hosts", "hostname", "resolv.conf"] {
            fs::write(directory.join(file), "").unwrap();
        }
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/specs/docker-default.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
        spec["root"]["path"] = json!(rootfs);
        spec["hooks"] = json!({});
        // The tests' own process would move into it; `leftovers` asks for one.
        spec["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        for mount in spec["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "bind" {
                let name = Path::new(mount["source"].as_str().unwrap()).file_name().unwrap().to_owned();
                mount["source"] = json!(directory.join(name));
            }
        }
        Self { id: id.into(), directory, spec, mounts: Vec::new(), stdin: false, terminal: false, read: true }
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.spec["process"]["args"] = json!(args);
        self
    }

    /// Runs a line of shell.
    pub fn shell(self, line: &str) -> Self {
        self.args(&["sh", "-c", line])
    }

    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    pub fn with_terminal(mut self) -> Self {
        (self.stdin, self.terminal) = (true, true);
        self.spec["process"]["terminal"] = json!(true);
        self
    }

    pub fn nobody_reads(mut self) -> Self {
        self.read = false;
        self
    }

    /// Adds a hook: a line of shell, run in the bundle.
    pub fn hook(mut self, when: &str, line: &str) -> Self {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", line], "env": ["PATH=/usr/bin:/bin"] });
        match &mut self.spec["hooks"][when] {
            Value::Array(hooks) => hooks.push(hook),
            none => *none = json!([hook]),
        }
        self
    }

    /// Where a path of the container lies.
    pub fn inside(&self, path: &str) -> PathBuf {
        self.directory.join("rootfs").join(path.trim_start_matches('/'))
    }

    pub fn write_config(&self) {
        fs::write(self.directory.join("config.json"), self.spec.to_string()).unwrap();
    }
}

fn fill_rootfs(rootfs: &Path) {
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is installed");
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/plain"), "not a program\n").unwrap();
}
