// SPDX-License-Identifier: Apache-2.0
//! What a machine is to its user: the configuration, the two traits, and how it ended.

use std::{
    fmt,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    error::VmmError,
    process::ProcessExit,
    template::{Image, Saving},
};

/// What executes guest instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The processor, through /dev/kvm. A security boundary.
    Kvm,
    /// QEMU's translator. Works everywhere, slower, and *no* security boundary.
    Tcg,
}

/// The bus that a machine's devices sit on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Registers in memory: a device is found by the kernel's command line, and the machine has neither PCI nor ACPI.
    /// An interrupt costs the guest a read and a write of registers.
    Mmio,
    /// PCI, found by ACPI's tables. An interrupt is a message (MSI-X) and costs no register.
    Pci,
}

impl Transport {
    /// The bus for an accelerator: where a register costs an exit, the one that needs fewer; where it costs a call,
    /// the one with less to translate and to save. docs/adr/0020 has the counts.
    #[must_use]
    pub const fn of(accel: Accel) -> Self {
        match accel {
            Accel::Kvm => Self::Pci,
            Accel::Tcg => Self::Mmio,
        }
    }
}

/// One network card.
#[derive(Debug)]
pub struct Nic {
    /// An open tap device, made with `IFF_NO_PI | IFF_VNET_HDR`. The machine takes it.
    pub tap: OwnedFd,
    /// Address the guest sees.
    pub mac: [u8; 6],
}

/// One directory shared with the guest by virtiofs.
#[derive(Debug)]
pub struct Share {
    /// Connected vhost-user socket of the daemon ([`crate::virtiofsd::launch`] returns one).
    pub socket: OwnedFd,
    /// Name the guest mounts it by, 1 to 36 bytes.
    pub tag: String,
}

/// How a machine comes to life.
#[derive(Debug)]
pub enum Start {
    /// Its kernel boots.
    Boot,
    /// Its kernel boots, and [`Machine::save`] may be called once the guest is where it should be.
    BootToSave(Saving),
    /// It goes on where a saved machine of the same shape stood. The kernel's fields of the configuration only say
    /// what that machine had booted.
    Restore(Image),
}

/// Everything a machine is made of. Owns its file descriptors: a launch uses them up, also when it fails.
#[derive(Debug)]
pub struct MachineConfig {
    /// Shown in the process list.
    pub name: String,
    /// The QEMU program, absolute.
    pub qemu: PathBuf,
    /// What executes guest instructions. Never probed here.
    pub accel: Accel,
    /// The bus of its devices; [`Transport::of`] has the one for an accelerator.
    pub transport: Transport,
    /// Uncompressed kernel with a PVH entry point.
    pub kernel: PathBuf,
    /// Initial RAM file system.
    pub initrd: PathBuf,
    /// Kernel command line, appended to the few arguments every machine needs.
    pub kernel_args: String,
    /// Virtual processors, at least one.
    pub vcpus: u32,
    /// Memory in MiB, at least 512. The guest boots in the first 128; it takes more when it is told how far it may,
    /// see [`Machine::bound_memory`].
    pub memory_mib: u32,
    /// Name of the virtio-serial port of the channel, as the guest sees it in sysfs.
    pub port_name: String,
    /// The shared directory, if any.
    pub share: Option<Share>,
    /// Network cards, in the order the guest numbers them.
    pub nics: Vec<Nic>,
    /// File for the first MiB of console output, created or emptied.
    pub console_log: PathBuf,
    /// Directory that becomes the process's root once it has opened what it needs; made where it is missing, and
    /// to stay empty.
    pub empty_root: PathBuf,
    /// How it comes to life.
    pub start: Start,
}

/// Makes machines.
pub trait Hypervisor: Send + Sync {
    /// Starts a machine and returns as soon as its process lives; the guest boots on its own.
    ///
    /// Blocking and quick (a fork and an exec, nothing is awaited). The process inherits the network and
    /// mount namespaces and the cgroup of the *calling thread*. Must be called where a tokio runtime is
    /// current ([`tokio::runtime::Handle::enter`] on a plain thread); that runtime serves the machine.
    ///
    /// A process that starts and gives up (bad image, refused option) is no failure here: it shows as an end
    /// of the channel and in [`Machine::exited`], with what it complained about.
    ///
    /// # Errors
    /// [`VmmError::ProgramMissing`], [`VmmError::Spawn`] or [`VmmError::Host`]. Nothing is left behind.
    fn launch(&self, config: MachineConfig) -> Result<Box<dyn Machine>, VmmError>;

    /// Everything of a machine that one saved of it must find again, as a text to compare: not its name, nor how it
    /// starts, nor where its files lie.
    fn shape(&self, config: &MachineConfig) -> String;
}

/// One launched machine. Dropping it ends it, without waiting.
#[async_trait]
pub trait Machine: Send + Sync {
    /// Process id of the machine on the host, valid until [`Machine::exited`] resolves.
    fn pid(&self) -> u32;

    /// Start time of that process in clock ticks since boot: with the pid it names this process only.
    fn start_time(&self) -> u64;

    /// Sees the machine to where its processors run. At once for one that boots; one that is restored does not go on
    /// before this is awaited, once.
    ///
    /// # Errors
    /// [`VmmError::SavedMemory`], [`VmmError::Monitor`] or [`VmmError::Ended`]: what was saved cannot be used, and no
    /// instruction of it was executed. End the machine then.
    async fn started(&self) -> Result<(), VmmError> {
        Ok(())
    }

    /// Stops the machine, for good, and writes the state it was launched to save. Its memory is complete then.
    ///
    /// # Errors
    /// [`VmmError::Monitor`] (a full disk, for one; or a kind of machine that cannot) or [`VmmError::Ended`].
    async fn save(&self) -> Result<(), VmmError> {
        Err(VmmError::Monitor { command: "save", reason: "this machine cannot be saved".to_owned() })
    }

    /// Bounds the machine's memory to its first `mib` MiB, though not below what it booted in, or moves that bound. A guest that touches what lies beyond
    /// ends its machine: tell it first when the bound comes nearer, and after when it goes away. Legal once the guest
    /// has spoken.
    ///
    /// # Errors
    /// [`VmmError::Host`].
    fn bound_memory(&self, mib: u32) -> Result<(), VmmError> {
        let _ = mib;
        Ok(())
    }

    /// Our end of the channel port: a non-blocking stream. `Some` once, then `None`.
    ///
    /// May be written before the guest has opened the port: what is written waits. Its end (a read of zero)
    /// means the machine has ended. Dropping it closes the port for good.
    fn take_channel(&self) -> Option<UnixStream>;

    /// Stops the virtual processors. Legal when paused already.
    ///
    /// # Errors
    /// [`VmmError::Ended`], [`VmmError::Monitor`] or [`VmmError::TooOld`].
    async fn pause(&self) -> Result<(), VmmError>;

    /// Lets the virtual processors run on. Legal when running already. Fails as [`Machine::pause`] does.
    async fn resume(&self) -> Result<(), VmmError>;

    /// Whether the virtual processors run. The machine's own word, whoever stopped them: it changes before
    /// [`Machine::pause`] and [`Machine::resume`] return, whatever they return, and when the machine stops by itself. One
    /// that has ended keeps its last.
    fn running(&self) -> watch::Receiver<bool>;

    /// Kills the machine and waits until it is gone. The guest gets no notice: its file systems belong to the
    /// host. Legal at any time, and again.
    async fn end(&self);

    /// Resolves when the machine has ended, however that came; at once if it has. Many may wait.
    async fn exited(&self) -> MachineExit;

    /// The last 2 KiB of the guest's console, control characters stripped. Untrusted text.
    fn console_tail(&self) -> String;
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineExit {
    /// What the kernel reports of the process.
    pub process: ProcessExit,
    /// Whether [`Machine::end`] was called before.
    pub requested: bool,
    /// QEMU's reason when the guest itself stopped: `guest-reset`, for a reboot and a kernel panic alike (only
    /// the console tells which). A machine without ACPI has no power switch:
    /// its guest merely halts.
    pub guest: Option<String>,
    /// What QEMU complained about, control characters stripped.
    pub stderr: String,
    /// The last 2 KiB of the guest's console, control characters stripped. Untrusted text.
    pub console: String,
}

impl fmt::Display for MachineExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.process)?;
        if let Some(reason) = &self.guest {
            write!(f, " ({reason})")?;
        }
        if !self.stderr.is_empty() {
            write!(f, ", it said: {}", self.stderr)?;
        }
        if !self.requested && !self.console.is_empty() {
            write!(f, ", its console ends with: {}", self.console)?;
        }
        Ok(())
    }
}
