// SPDX-License-Identifier: Apache-2.0
//! One QEMU process and the host ends of its sockets.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::DirBuilderExt, net::UnixStream},
    },
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{Mode, OFlags};
use serde_json::json;
use tokio::sync::watch;

use super::{
    argv::{self, fd},
    qmp::{Qmp, QmpError},
};
use crate::{
    capture::lock,
    console::Console,
    error::VmmError,
    host_tsc,
    machine::{Accel, Machine, MachineConfig, MachineExit, Start},
    process::Process,
    socket,
    template::{
        Copying,
        memory::{self, Pages},
    },
};

/// Console text quoted in errors, in bytes.
const CONSOLE_QUOTE: usize = 2048;
/// What the guest boots in and has from the beginning, in MiB: `grow_from` of [`argv`].
const BOOTED_MIB: u32 = 128;
const MAKE_MEMORY: &str = "make the machine's memory";

/// A launched QEMU. Killed when dropped.
#[derive(Debug)]
pub(crate) struct QemuMachine {
    process: Process,
    channel: Mutex<Option<UnixStream>>,
    console: Console,
    qmp: Qmp,
    requested: AtomicBool,
    /// A machine to restore: its memory, on the way. Taken by whoever lets it go on.
    copying: Mutex<Option<Copying>>,
    /// Its memory, as long as it lives: what nobody holds any more is the host's again.
    memory: Mutex<Option<File>>,
    memory_mib: u32,
}

impl QemuMachine {
    /// `spawn` makes a process of QEMU's command line.
    pub(crate) fn launch(
        mut config: MachineConfig,
        spawn: fn(Command) -> Result<Process, VmmError>,
    ) -> Result<Self, VmmError> {
        if let (Accel::Tcg, Some(khz)) = (config.accel, host_tsc::khz()) {
            // Not part of a template's shape: it is measured, and never twice the same.
            config.kernel_args.push_str(&format!(" tsc_early_khz={khz}"));
        }
        make_empty(&config.empty_root)
            .map_err(|source| VmmError::Host { action: "make the machine's empty root", source })?;
        let arguments = argv::arguments(&config);
        let monitor = socket::pair("make the monitor's socket")?;
        let channel = socket::pair("make the channel's socket")?;
        let serial = socket::pair("make the console's socket")?;
        let console = Console::open(serial.ours, &config.console_log)?;

        let mut inherited = vec![
            FdMapping { parent_fd: monitor.theirs, child_fd: fd::QMP },
            FdMapping { parent_fd: channel.theirs, child_fd: fd::AGENT },
            FdMapping { parent_fd: serial.theirs, child_fd: fd::CONSOLE },
        ];
        if let Some(share) = config.share {
            inherited.push(FdMapping { parent_fd: share.socket, child_fd: fd::SHARE });
        }
        let memory_mib = config.memory_mib;
        let Files { memory, state, copying } = files(config.start, memory_mib, config.accel)?;
        let kept = memory.try_clone().map_err(|source| VmmError::Host { action: MAKE_MEMORY, source })?;
        inherited.push(FdMapping { parent_fd: memory.into(), child_fd: fd::MEMORY });
        inherited.extend(state.map(|parent_fd| FdMapping { parent_fd, child_fd: fd::STATE }));
        let taps = config.nics.into_iter().map(|nic| -> OwnedFd { nic.tap });
        inherited
            .extend((fd::TAP..).zip(taps).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }));

        let mut command = Command::new(&config.qemu);
        command.args(arguments).env_clear().current_dir("/");
        let host = |action| move |source: io::Error| VmmError::Host { action, source };
        command
            .fd_mappings(inherited)
            .map_err(|collision| host("map file descriptors")(io::Error::other(collision)))?;
        let process = spawn(command)?;
        let qmp = Qmp::over(monitor.ours, copying.is_none()).map_err(host("watch the monitor"))?;
        Ok(Self {
            process,
            channel: Mutex::new(Some(channel.ours)),
            console,
            qmp,
            requested: AtomicBool::new(false),
            copying: Mutex::new(copying),
            memory: Mutex::new(Some(kept)),
            memory_mib,
        })
    }

    async fn command(&self, command: &'static str) -> Result<(), VmmError> {
        match self.qmp.execute(command).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(command, error).await),
        }
    }

    async fn failed(&self, command: &'static str, error: QmpError) -> VmmError {
        match error {
            // The monitor closes only when QEMU ends.
            QmpError::Closed => VmmError::Ended(self.exited().await),
            QmpError::TooOld { found, minimum } => VmmError::TooOld { found, minimum },
            QmpError::Refused { reason } => VmmError::Monitor { command, reason },
        }
    }

    /// Both sides of a save: memory that is shared and has a name stays where it is, and the end is an event.
    async fn prepare_migration(&self) -> Result<(), QmpError> {
        let on = |name| json!({ "capability": name, "state": true });
        let wanted = json!({ "capabilities": [on("x-ignore-shared"), on("events")] });
        self.qmp.execute_with("migrate-set-capabilities", wanted).await.map(drop)
    }

    async fn migrate(&self, command: &'static str) -> Result<(), QmpError> {
        let uri = format!("file:/dev/fdset/{}", argv::STATE_SET);
        self.qmp.execute_with(command, json!({ "uri": uri })).await?;
        self.qmp.migrated().await
    }
}

/// Nothing is ever in it, and nobody but root may look. One that is there is made so.
fn make_empty(directory: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o500).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match std::fs::read_dir(directory)?.next() {
                None => Ok(()),
                Some(_) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            }
        }
        made => made,
    }
}

/// QEMU takes a descriptor from a set only for the very access it was opened with, and reads on from where it stands:
/// whoever has checked the file has left it at its end.
fn reopened(file: &File, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// What a machine gets beside its sockets.
#[derive(Debug)]
struct Files {
    memory: File,
    /// Of one that is saved or restored.
    state: Option<OwnedFd>,
    copying: Option<Copying>,
}

/// A page that an emulated guest touches first is a fault of QEMU's alone, and no exit.
fn pages(accel: Accel) -> Pages {
    match accel {
        Accel::Kvm => Pages::Huge,
        Accel::Tcg => Pages::Small,
    }
}

fn files(start: Start, memory_mib: u32, accel: Accel) -> Result<Files, VmmError> {
    let host = |source| VmmError::Host { action: MAKE_MEMORY, source };
    let fresh = || memory::anonymous(bytes(memory_mib)).map_err(host);
    match start {
        Start::Boot => Ok(Files { memory: fresh()?, state: None, copying: None }),
        Start::BootToSave(saving) => {
            let state = reopened(&saving.state, OFlags::WRONLY).map_err(host)?;
            Ok(Files { memory: saving.memory, state: Some(state), copying: None })
        }
        Start::Restore(image) => {
            let memory = fresh()?;
            let copying = Copying::begin(image.memory, memory.try_clone().map_err(host)?, pages(accel))?;
            let state = reopened(&image.state, OFlags::RDONLY).map_err(host)?;
            Ok(Files { memory, state: Some(state), copying: Some(copying) })
        }
    }
}

fn bytes(mib: u32) -> u64 {
    u64::from(mib) << 20
}

#[async_trait]
impl Machine for QemuMachine {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn start_time(&self) -> u64 {
        self.process.start_time()
    }

    async fn started(&self) -> Result<(), VmmError> {
        let Some(copying) = lock(&self.copying).take() else { return Ok(()) };
        if let Err(error) = self.prepare_migration().await {
            return Err(self.failed("migrate-set-capabilities", error).await);
        }
        // Devices look at their rings in memory while their state is read, and translated code is never looked at
        // again: no byte may come later.
        copying.complete().await?;
        if let Err(error) = self.migrate("migrate-incoming").await {
            return Err(self.failed("migrate-incoming", error).await);
        }
        self.resume().await
    }

    async fn save(&self) -> Result<(), VmmError> {
        self.pause().await?;
        if let Err(error) = self.prepare_migration().await {
            return Err(self.failed("migrate-set-capabilities", error).await);
        }
        match self.migrate("migrate").await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed("migrate", error).await),
        }
    }

    fn bound_memory(&self, mib: u32) -> Result<(), VmmError> {
        match &*lock(&self.memory) {
            // QEMU has mapped all of it long since; what is cut off is a hole in the mapping.
            Some(memory) => memory
                .set_len(bytes(mib.clamp(BOOTED_MIB, self.memory_mib)))
                .map_err(|source| VmmError::Host { action: "bound the machine's memory", source }),
            None => Ok(()),
        }
    }

    fn take_channel(&self) -> Option<UnixStream> {
        lock(&self.channel).take()
    }

    async fn pause(&self) -> Result<(), VmmError> {
        self.command("stop").await
    }

    async fn resume(&self) -> Result<(), VmmError> {
        self.command("cont").await
    }

    fn running(&self) -> watch::Receiver<bool> {
        self.qmp.running()
    }

    async fn end(&self) {
        self.requested.store(true, Ordering::Relaxed);
        self.process.kill();
        self.process.exited().await;
    }

    async fn exited(&self) -> MachineExit {
        let process = self.process.exited().await;
        drop(lock(&self.memory).take());
        // QEMU may start no process (see the sandbox), so both end with it.
        self.process.stderr_complete().await;
        self.console.complete().await;
        MachineExit {
            process,
            requested: self.requested.load(Ordering::Relaxed),
            guest: self.qmp.shutdown_reason().await,
            stderr: self.process.stderr(),
            console: self.console_tail(),
        }
    }

    fn console_tail(&self) -> String {
        self.console.text(CONSOLE_QUOTE)
    }
}
