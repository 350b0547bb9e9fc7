// SPDX-License-Identifier: Apache-2.0
//! What a launch needs of the machine room, so that tests can put another one there.
//!
//! [`RealHost`] is QEMU and virtiofsd. The fake machine of the tests runs the agent as a host process on the same
//! share, without a VM.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use boxlite_vmm::virtiofsd::VirtiofsdConfig;
use boxlite_vmm::{Hypervisor, Machine, MachineConfig, Process, Qemu, VmmError};

use crate::config::Config;
use crate::error::TaskError;
use crate::share::{self, ShareMount};

/// A share that is open.
#[derive(Debug)]
pub struct HostShare {
    /// The process that serves it, if one does. Dropping it ends it.
    pub process: Option<Process>,
    /// vhost-user, connected, for the machine.
    pub socket: Option<OwnedFd>,
    /// The mount namespace it was filled in, for the container's double.
    pub namespace: OwnedFd,
}

/// Where machines come from.
pub trait Host: Send + Sync {
    /// Fills `directory` in a mount namespace of its own and serves it. Blocking; on the launch thread. `ready` is called
    /// before a process is started.
    ///
    /// # Errors
    /// A source that cannot be mounted or a server that does not start.
    fn open_share(
        &self,
        directory: &Path,
        mounts: &[ShareMount],
        config: &Config,
        ready: &mut (dyn FnMut() + Send),
    ) -> Result<HostShare, TaskError>;

    /// Starts the machine from the current thread, whose namespaces it takes.
    ///
    /// # Errors
    /// The VMM's.
    fn launch(&self, config: MachineConfig) -> Result<Box<dyn Machine>, VmmError>;

    /// How the guest finds the share: the virtiofs tag and where to mount it, or no tag and the path where it is.
    fn share_location(&self, directory: &Path) -> (String, String);

    /// The program to start as a container's double: this one.
    fn double_program(&self) -> PathBuf {
        // Not by its path, where another version may be by now.
        PathBuf::from("/proc/self/exe")
    }

    /// Whether the files in `[paths]` are used.
    fn needs_files(&self) -> bool {
        true
    }
}

/// QEMU and virtiofsd.
#[derive(Debug, Default)]
pub struct RealHost;

impl Host for RealHost {
    fn open_share(
        &self,
        directory: &Path,
        mounts: &[ShareMount],
        config: &Config,
        ready: &mut (dyn FnMut() + Send),
    ) -> Result<HostShare, TaskError> {
        let virtiofsd = VirtiofsdConfig {
            binary: config.paths.virtiofsd.clone(),
            directory: directory.to_owned(),
            socket_directory: directory.parent().unwrap_or(directory).to_owned(),
        };
        let open = share::open(directory, mounts, &virtiofsd, ready)
            .map_err(TaskError::launch("opening the share"))?;
        Ok(HostShare { process: Some(open.process), socket: Some(open.socket), namespace: open.namespace })
    }

    fn launch(&self, config: MachineConfig) -> Result<Box<dyn Machine>, VmmError> {
        Qemu.launch(config)
    }

    fn share_location(&self, _directory: &Path) -> (String, String) {
        (boxlite_protocol::SHARE_TAG.to_owned(), "/run/share".to_owned())
    }
}
