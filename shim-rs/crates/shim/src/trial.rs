// SPDX-License-Identifier: Apache-2.0
//! A machine that is no container's: made as all are, with an empty share and network cards that lead nowhere.
//!
//! Templates are saved and tried out with it, and the accelerator is found out. It is nobody's but its maker's: the kernel
//! ends it with the thread that started it, so that a maker who is killed leaves files alone, and its file server ends
//! with it. [`Scratch`] is a place for those files.

mod scratch;

use std::path::Path;
use std::sync::Arc;

use boxlite_net::Namespace;
use boxlite_vmm::{BoundQemu, Hypervisor, Machine, MachineConfig, Process, Start};

pub(crate) use self::scratch::{Scratch, is_ruin};
use crate::config::Config;
use crate::error::TaskError;
use crate::guest::{self, Greeting, Guest};
use crate::machine::{self, Parts};
use crate::plan::MachineSize;
use crate::sandbox::{Host, RealHost};

/// A machine and what serves its share, which ends when this is dropped.
pub(crate) struct Trial {
    pub(crate) machine: Arc<dyn Machine>,
    _virtiofsd: Option<Process>,
}

impl Trial {
    /// Starts the machine `name`, with its files in `directory`. The calling thread is in a network namespace of its own
    /// from then on, and its end is the machine's.
    pub(crate) fn launch(
        config: &Config,
        name: &str,
        size: MachineSize,
        directory: &Path,
        (start, kernel_args): (Start, &str),
    ) -> Result<Self, TaskError> {
        let namespace = Namespace::create().map_err(TaskError::launch("making a network namespace"))?;
        let taps = machine::open_taps(&namespace, config.machine.nics)?;
        let share = directory.join("share");
        match std::fs::create_dir(&share) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(TaskError::launch("making the share directory")(error));
            }
            _ => {}
        }
        let shared = RealHost.open_share(&share, &[], config, &mut || ())?;
        namespace.enter().map_err(TaskError::launch("entering the network namespace"))?;
        let parts = Parts { taps, share: shared.socket };
        let configured = machine::configure(config, name, size, directory, parts);
        let machine = BoundQemu
            .launch(MachineConfig { start, kernel_args: kernel_args.to_owned(), ..configured })
            .map_err(TaskError::launch("starting the machine"))?;
        Ok(Self { machine: Arc::from(machine), _virtiofsd: shared.process })
    }

    /// Sees the machine to run, and its agent to take the first call.
    pub(crate) async fn first_call(&self, greeting: Greeting) -> Result<(), TaskError> {
        self.machine.started().await.map_err(TaskError::template("restoring the machine"))?;
        let channel = self.machine.take_channel().ok_or_else(|| TaskError::MachineGone {
            why: "its channel was taken".to_owned(),
            console: self.machine.console_tail(),
        })?;
        // It opens no streams: there is nothing in it that would.
        let (guest, _) = Guest::connect(channel, greeting).await?;
        guest.configure(&guest::first_call()?).await.map(drop)
    }
}
