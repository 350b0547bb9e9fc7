// SPDX-License-Identifier: Apache-2.0
//! A guest for tests: our kernel, and an initrd whose PID 1 answers one-line requests (`init.c`).
//!
//! Tests that need it begin with `let Some(guest) = Guest::prepare() else { return };`. Without a kernel,
//! QEMU or a C compiler they are skipped with a message; with `BOXLITE_VM_TESTS=1` they fail instead.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::Command,
};

use boxlite_vmm::{Accel, Machine, MachineConfig, Start, Transport};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, ReadHalf, WriteHalf},
    net::UnixStream,
};

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
const KERNEL: &str = "/usr/local/lib/boxlite/vmlinux";

/// What a test machine is made of. Its files go with it.
pub(crate) struct Guest {
    pub(crate) scratch: tempfile::TempDir,
    /// The bus its devices are on: at first that of an emulated machine.
    pub(crate) transport: Transport,
    initrd: PathBuf,
}

impl Guest {
    pub(crate) fn prepare() -> Option<Self> {
        match Self::build() {
            Ok(guest) => Some(guest),
            Err(reason) if env::var_os("BOXLITE_VM_TESTS").is_none() => {
                eprintln!("skipped: {reason}");
                None
            }
            Err(reason) => panic!("no test guest: {reason}"),
        }
    }

    fn build() -> Result<Self, Box<dyn Error>> {
        for needed in [QEMU, KERNEL] {
            if !Path::new(needed).exists() {
                return Err(format!("{needed} is missing").into());
            }
        }
        let scratch = tempfile::tempdir()?;
        let init = scratch.path().join("init");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vmm/tests/guest/init.c");
        let compiled = Command::new("gcc").args(["-static", "-Os", "-o"]).arg(&init).arg(source).status()?;
        if !compiled.success() {
            return Err("gcc failed".into());
        }
        let initrd = scratch.path().join("initrd.img");
        std::fs::write(&initrd, archive(&std::fs::read(&init)?))?;
        Ok(Self { scratch, transport: Transport::of(Accel::Tcg), initrd })
    }

    /// A machine of 128 MiB without a share and without network cards.
    pub(crate) fn config(&self) -> MachineConfig {
        MachineConfig {
            name: "boxlite-test".to_owned(),
            qemu: QEMU.into(),
            accel: Accel::Tcg,
            transport: self.transport,
            kernel: KERNEL.into(),
            initrd: self.initrd.clone(),
            kernel_args: String::new(),
            vcpus: 1,
            memory_mib: 128,
            port_name: "test.port".to_owned(),
            share: None,
            nics: Vec::new(),
            console_log: self.scratch.path().join("console.log"),
            empty_root: self.scratch.path().join("empty"),
            start: Start::Boot,
        }
    }
}

/// The channel of a test machine, as questions and answers.
pub(crate) struct Dialogue {
    answers: Lines<BufReader<ReadHalf<UnixStream>>>,
    questions: WriteHalf<UnixStream>,
}

impl Dialogue {
    pub(crate) fn with(machine: &dyn Machine) -> Self {
        let channel = machine.take_channel().expect("the channel is taken once");
        let (read, questions) = tokio::io::split(UnixStream::from_std(channel).expect("non-blocking"));
        Self { answers: BufReader::new(read).lines(), questions }
    }

    pub(crate) async fn ask(&mut self, question: &str) -> String {
        self.send(question).await;
        self.answer().await.unwrap_or_else(|| panic!("no answer to {question:?}"))
    }

    pub(crate) async fn send(&mut self, question: &str) {
        self.questions.write_all(format!("{question}\n").as_bytes()).await.expect("written");
    }

    /// The next answer, or `None` when the machine has closed the channel.
    pub(crate) async fn answer(&mut self) -> Option<String> {
        self.answers.next_line().await.expect("readable")
    }
}

/// A cpio archive ("newc") with `/dev/console` left out and `/init` as its only file.
fn archive(init: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry(&mut bytes, "init", 0o100_755, init);
    entry(&mut bytes, "TRAILER!!!", 0, &[]);
    bytes
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
    let inode = u32::from(mode != 0);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
    let fields = [inode, mode, 0, 0, 1, 0, length(data), 0, 0, 0, 0, length(name.as_bytes()) + 1, 0];
    archive.extend(b"070701");
    archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    archive.extend(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
