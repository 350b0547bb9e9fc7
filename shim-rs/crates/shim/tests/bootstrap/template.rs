// SPDX-License-Identifier: Apache-2.0
//! A build of a template that is given up: whoever ends it, its machine goes with it. The machine is a program that
//! never answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tempfile::TempDir;

use crate::call::PROGRAM;

const PATIENCE: Duration = Duration::from_secs(20);

/// A build whose machine runs and says nothing.
struct Build {
    scratch: TempDir,
    shim: Child,
    qemu: Pid,
}

impl Build {
    fn begin() -> Self {
        // What a killed builder leaves comes to this process, which can see it end.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let scratch = tempfile::Builder::new().prefix("boxlite-test-").tempdir().unwrap();
        let place = |name: &str| scratch.path().join(name);
        let script = format!(
            "#!/bin/sh\necho $$ >{0}.new && mv {0}.new {0}\nexec /bin/sleep 1000\n",
            place("pid").display()
        );
        fs::write(place("qemu"), script).unwrap();
        fs::set_permissions(place("qemu"), PermissionsExt::from_mode(0o755)).unwrap();
        let config = format!(
            "[machine]\naccel = \"tcg\"\n[paths]\nqemu = {0:?}\nkernel = {0:?}\ninitrd = {0:?}\nrun = {1:?}\n\
             [template]\ndirectory = {2:?}\n",
            place("qemu"),
            place("run"),
            place("templates")
        );
        fs::write(place("config.toml"), config).unwrap();
        let shim = Command::new(PROGRAM)
            .args(["template", "build", "--config"])
            .arg(place("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        wait_until("the machine is started", || place("pid").exists());
        let qemu = fs::read_to_string(place("pid")).unwrap().trim().parse().ok().and_then(Pid::from_raw);
        Self { shim, qemu: qemu.unwrap(), scratch }
    }

    /// The machine and its file server are gone.
    fn has_ended(&self) {
        wait_until("the machine has ended", || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // Its builder's, or left to this process.
            !matches!(rustix::process::waitid(WaitId::Pid(self.qemu), options), Ok(None))
                && !Path::new(&format!("/proc/{}", self.qemu.as_raw_nonzero())).exists()
        });
        wait_until("the file server has ended", || named(self.scratch.path()).is_empty());
    }

    fn ruins(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.scratch.path().join("templates")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().contains(".building-")).collect()
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        let _ = self.shim.kill();
        let _ = self.shim.wait();
        let _ = rustix::process::kill_process(self.qemu, Signal::KILL);
    }
}

/// The processes whose command line holds a path. A dead one has none.
fn named(path: &Path) -> Vec<PathBuf> {
    let path = path.as_os_str().as_encoded_bytes();
    let holds = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        line.windows(path.len()).any(|window| window == path)
    };
    fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(holds).collect()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_machine_of_a_killed_build_ends_with_it() {
    let mut build = Build::begin();
    build.shim.kill().unwrap();
    build.shim.wait().unwrap();
    build.has_ended();
}

#[test]
fn a_build_ends_when_nobody_waits_for_it_any_more() {
    let mut build = Build::begin();
    // As the kernel does for a killed tool.
    drop(build.shim.stdout.take());
    wait_until("the build is given up", || named(build.scratch.path()).is_empty());
    assert!(!build.shim.wait().unwrap().success());
    build.has_ended();
    assert_eq!(build.ruins(), Vec::<PathBuf>::new());
}
