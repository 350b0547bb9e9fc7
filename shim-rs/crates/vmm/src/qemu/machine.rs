// SPDX-License-Identifier: Apache-2.0
//! One QEMU process and the host ends of its sockets.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use command_fds::{CommandFdExt, FdMapping};

use super::{
    argv::{self, fd},
    qmp::{Qmp, QmpError},
};
use crate::{
    capture::lock,
    console::Console,
    error::VmmError,
    machine::{Machine, MachineConfig, MachineExit},
    process::Process,
    socket,
};

/// Console text quoted in errors, in bytes.
const CONSOLE_QUOTE: usize = 2048;

/// A launched QEMU. Killed when dropped.
#[derive(Debug)]
pub(crate) struct QemuMachine {
    process: Process,
    channel: Mutex<Option<UnixStream>>,
    console: Console,
    qmp: Qmp,
    requested: AtomicBool,
}

impl QemuMachine {
    pub(crate) fn launch(config: MachineConfig) -> Result<Self, VmmError> {
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
        let taps = config.nics.into_iter().map(|nic| -> OwnedFd { nic.tap });
        inherited
            .extend((fd::TAP..).zip(taps).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }));

        let mut command = Command::new(&config.qemu);
        command.args(arguments).env_clear().current_dir("/");
        let host = |action| move |source: io::Error| VmmError::Host { action, source };
        command
            .fd_mappings(inherited)
            .map_err(|collision| host("map file descriptors")(io::Error::other(collision)))?;
        let process = Process::spawn(command)?;
        let qmp = Qmp::over(monitor.ours).map_err(host("watch the monitor"))?;
        Ok(Self {
            process,
            channel: Mutex::new(Some(channel.ours)),
            console,
            qmp,
            requested: AtomicBool::new(false),
        })
    }

    async fn command(&self, command: &'static str) -> Result<(), VmmError> {
        match self.qmp.execute(command).await {
            Ok(_) => Ok(()),
            // The monitor closes only when QEMU ends.
            Err(QmpError::Closed) => Err(VmmError::Ended(self.exited().await)),
            Err(QmpError::TooOld { found, minimum }) => Err(VmmError::TooOld { found, minimum }),
            Err(QmpError::Refused { reason }) => Err(VmmError::Monitor { command, reason }),
        }
    }
}

#[async_trait]
impl Machine for QemuMachine {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn start_time(&self) -> u64 {
        self.process.start_time()
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

    async fn end(&self) {
        self.requested.store(true, Ordering::Relaxed);
        self.process.kill();
        self.process.exited().await;
    }

    async fn exited(&self) -> MachineExit {
        let process = self.process.exited().await;
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
