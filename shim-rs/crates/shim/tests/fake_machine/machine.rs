// SPDX-License-Identifier: Apache-2.0
//! A machine that is a process: the agent, alone in a pid namespace, on the share the shim filled.
//!
//! The pid namespace makes it as whole as a machine: when the agent is killed, everything in it is gone before the
//! kernel reports the agent's end.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use boxlite_shim::config::Config;
use boxlite_shim::error::{Part, TaskError};
use boxlite_shim::sandbox::{Host, HostShare};
use boxlite_shim::share::{self, ShareMount};
use boxlite_vmm::{Machine, MachineConfig, MachineExit, Nic, Process, VmmError};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::watch;

use super::liar::Liar;

/// What the machine turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One that works.
    Sound,
    /// The share cannot be opened.
    NoShare,
    /// The VMM cannot be started.
    NoProcess,
    /// The VMM starts, complains and ends before the guest is up.
    DiesInBoot,
    /// The guest never says a word.
    Mute,
}

/// Where fake machines come from.
#[derive(Debug)]
pub struct FakeHost {
    kind: Kind,
    /// The mount namespace of each share, by the share's directory.
    shares: Mutex<HashMap<PathBuf, OwnedFd>>,
    /// Every machine that was started, alive or not.
    machines: Mutex<Vec<OwnedFd>>,
    /// The number of the last one on the host.
    machine_pid: AtomicU32,
    /// Who is at the other end of the channel instead of an agent.
    liar: Option<Liar>,
    /// Whether machines refuse to go on after a pause.
    pub refuses_resume: Arc<AtomicBool>,
    /// Whether the processors of the machine that was started last run.
    running: Mutex<Option<watch::Sender<bool>>>,
}

impl FakeHost {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            shares: Mutex::default(),
            machines: Mutex::default(),
            machine_pid: AtomicU32::new(0),
            liar: None,
            refuses_resume: Arc::default(),
            running: Mutex::default(),
        }
    }

    /// Machines with processes that do nothing, and `liar` at the other end of their channels.
    pub fn lying(liar: Liar) -> Self {
        Self { liar: Some(liar), ..Self::new(Kind::Mute) }
    }

    /// The machine's own word, as when it stops by itself.
    pub fn tell_running(&self, running: bool) {
        let told = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_ref().expect("a machine was started").send_replace(running);
    }

    /// Ends what still runs, and waits until it has: nothing outlives a test, not even as somebody else's zombie.
    pub fn end_machines(&self) {
        for machine in self.machines.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It has ended, or has been waited for: both are well.
            let _ = rustix::process::pidfd_send_signal(&machine, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(machine.as_fd()), WaitIdOptions::EXITED);
        }
    }

    /// The last machine that was started.
    pub fn machine_pid(&self) -> u32 {
        self.machine_pid.load(Ordering::SeqCst)
    }

    /// Resolves when a machine was started and has ended.
    pub async fn machine_ended(&self) {
        while self.machine_pid() == 0 || !is_dead(self.machine_pid()) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Sends it a signal from outside of the shim.
    pub fn signal_machine(&self, number: Signal) {
        signal(self.machine_pid(), number);
    }

    /// Lets go of the machines that have ended.
    pub fn forget_the_dead(&self) {
        let alive = |machine: &OwnedFd| {
            // Harmless to what runs; ESRCH once it has been waited for.
            rustix::process::pidfd_send_signal(machine, Signal::CONT).is_ok()
        };
        self.machines.lock().unwrap_or_else(PoisonError::into_inner).retain(alive);
    }
}

fn host_error(action: &'static str) -> impl Fn(std::io::Error) -> VmmError {
    move |source| VmmError::Host { action, source }
}

impl Host for FakeHost {
    fn open_share(
        &self,
        directory: &Path,
        mounts: &[ShareMount],
        _: &Config,
        ready: &mut (dyn FnMut() + Send),
    ) -> Result<HostShare, TaskError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| TaskError::Failed {
            part: Part::Launch,
            what: "opening the share",
            source,
        };
        if self.kind == Kind::NoShare {
            return Err(failed("no share today".into()));
        }
        let namespace = share::open_plain(directory, mounts).map_err(|error| failed(error.into()))?;
        let kept = namespace.try_clone().map_err(|error| failed(error.into()))?;
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.to_owned(), kept);
        ready();
        Ok(HostShare { process: None, socket: None, namespace })
    }

    fn launch(&self, config: MachineConfig) -> Result<Box<dyn Machine>, VmmError> {
        let directory = config.console_log.with_file_name("share");
        let share = self.shares.lock().unwrap_or_else(PoisonError::into_inner).remove(&directory);
        let share = share.expect("the share is opened before the machine");
        if self.kind == Kind::NoProcess {
            return Err(host_error("start a machine today")(std::io::Error::other("too hot")));
        }
        let (near, far) = UnixStream::pair().map_err(host_error("make a channel"))?;
        near.set_nonblocking(true).map_err(host_error("make a channel"))?;
        let far = match &self.liar {
            Some(liar) => liar.take(far).map_err(host_error("make a channel"))?,
            None => far.into(),
        };
        let command = program(self.kind, &directory, far);
        let runtime = tokio::runtime::Handle::current();
        let started = share::within(share.as_fd(), || {
            let _context = runtime.enter();
            leave_pid_namespace().map_err(host_error("make a pid namespace"))?;
            Process::spawn(command)
        });
        let process = started.expect("the share's namespace can be entered")?;
        self.machine_pid.store(process.pid(), Ordering::SeqCst);
        let pidfd = process.pidfd().try_clone_to_owned().map_err(host_error("keep a pidfd"))?;
        self.machines.lock().unwrap_or_else(PoisonError::into_inner).push(pidfd);
        let running = watch::Sender::new(true);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.clone());
        Ok(Box::new(FakeMachine {
            process,
            channel: Mutex::new(Some(near)),
            ending: AtomicBool::new(false),
            liar: self.liar.clone(),
            refuses_resume: self.refuses_resume.clone(),
            running,
            _nics: config.nics,
        }))
    }

    fn share_location(&self, directory: &Path) -> (String, String) {
        (String::new(), directory.display().to_string())
    }

    fn needs_files(&self) -> bool {
        false
    }

    fn double_program(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-boxlite-v1"))
    }
}

/// The agent needs a /proc of its pid namespace, which only a process inside can mount; and not where the shim's thread
/// still looks for the new process under its number on the host.
fn program(kind: Kind, share: &Path, channel: OwnedFd) -> Command {
    let mut command = Command::new("/bin/busybox");
    command.args(["unshare", "-m", "busybox", "sh", "-c"]);
    match kind {
        Kind::DiesInBoot => command.arg("echo 'Kernel panic - not syncing' >&2; exit 1"),
        Kind::Mute => command.arg("exec busybox sleep 1000"),
        _ => command
            .arg("busybox mount -t proc proc /proc && exec \"$0\" \"$@\"")
            .arg(agent())
            .args(["--fd", "3", "--cgroup", "", "--share"])
            .arg(share),
    };
    let channel = FdMapping { parent_fd: channel, child_fd: 3 };
    command.fd_mappings(vec![channel]).expect("one descriptor collides with nothing");
    command
}

/// `target/<profile>/boxlite-agent`, beside this test's `target/<profile>/deps/`.
fn agent() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let agent = test.ancestors().nth(2).expect("target directory").join("boxlite-agent");
    assert!(agent.exists(), "{} is missing: run `cargo build -p boxlite-agent` first", agent.display());
    agent
}

/// The calling thread's next child is the first process of a new pid namespace.
#[allow(unsafe_code)]
fn leave_pid_namespace() -> std::io::Result<()> {
    // SAFETY: no memory is involved; the thread is the share's own and starts no threads from here on.
    match unsafe { libc::unshare(libc::CLONE_NEWPID) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

struct FakeMachine {
    process: Process,
    channel: Mutex<Option<UnixStream>>,
    ending: AtomicBool,
    liar: Option<Liar>,
    refuses_resume: Arc<AtomicBool>,
    running: watch::Sender<bool>,
    _nics: Vec<Nic>,
}

impl FakeMachine {
    fn signal(&self, command: &'static str, signal: Signal) -> Result<(), VmmError> {
        rustix::process::pidfd_send_signal(self.process.pidfd(), signal)
            .map_err(|errno| VmmError::Monitor { command, reason: errno.to_string() })
    }
}

#[async_trait]
impl Machine for FakeMachine {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn start_time(&self) -> u64 {
        self.process.start_time()
    }

    fn take_channel(&self) -> Option<UnixStream> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn pause(&self) -> Result<(), VmmError> {
        self.signal("stop", Signal::STOP)?;
        self.running.send_replace(false);
        Ok(())
    }

    async fn resume(&self) -> Result<(), VmmError> {
        if self.refuses_resume.load(Ordering::SeqCst) {
            return Err(VmmError::Monitor { command: "cont", reason: "not today".to_owned() });
        }
        self.signal("cont", Signal::CONT)?;
        self.running.send_replace(true);
        Ok(())
    }

    fn running(&self) -> watch::Receiver<bool> {
        self.running.subscribe()
    }

    async fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.process.kill();
        if let Some(liar) = &self.liar {
            liar.hang_up();
        }
        self.process.exited().await;
    }

    async fn exited(&self) -> MachineExit {
        MachineExit {
            process: self.process.exited().await,
            requested: self.ending.load(Ordering::SeqCst),
            guest: None,
            stderr: String::new(),
            console: self.process.stderr(),
        }
    }

    fn console_tail(&self) -> String {
        self.process.stderr()
    }
}

fn is_dead(pid: u32) -> bool {
    boxlite_shim::sandbox::record::ProcessRecord::of(pid).is_none()
}

/// Sends a signal to a process of the host.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("the process is there");
}
