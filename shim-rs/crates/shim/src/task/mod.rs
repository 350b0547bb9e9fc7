// SPDX-License-Identifier: Apache-2.0
//! One task: a container, the machine it runs in, and its processes.
//!
//! Owns the task's life from Create to Delete. Knows nothing of ttrpc: [`crate::service`] translates. The plan decides
//! ([`crate::plan`]), [`launch`] makes, [`start`] runs, [`exit`] ends and unmakes, [`verbs`] is everything between.
//!
//! ```text
//!  create ─▶ machine boots ────────▶ start ─▶ running ◀─▶ paused
//!     │  (the engine builds             │        │
//!     │   the network meanwhile)        │        ▼
//!     └── failed: nothing left          └─▶ exit: drain, TaskExit, unmake the machine ─▶ delete
//! ```
//! The task's pid is the double's ([`crate::double`]). Pids, state and SIGKILL are answered from what the host knows: a guest that hangs does not hang the engine.

mod double;
mod exit;
mod host;
mod launch;
mod network;
mod pause;
mod process;
pub mod record;
mod start;
mod state;
mod stats;
mod usage;
mod verbs;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use boxlite_net::Namespace;
use boxlite_protocol::mux::Incoming;
use boxlite_vmm::Machine;
use tokio::sync::{OnceCell, watch};

pub use self::exit::timestamp as exit_timestamp;
pub use self::host::{Host, HostShare, RealHost};
use self::process::Process;
use self::record::Record;
pub use self::state::{Exit, ProcessState};
pub use self::verbs::TaskStatus;
use crate::config::Config;
use crate::double::Double;
use crate::error::TaskError;
use crate::events::EventSink;
use crate::guest::{Greeting, Guest};
use crate::hooks;
use crate::options::EngineOptions;
use crate::plan::{self, CompiledTask};
use crate::relay::Relays;
use crate::share;
use crate::stdio::StdioPaths;

/// What Docker calls a container that never ran (moby daemon/start.go).
const NEVER_RAN: u32 = 128;

/// What every task of a shim shares.
#[derive(Clone)]
pub struct Surroundings {
    /// containerd's namespace.
    pub namespace: String,
    /// The one this shim is called on.
    pub socket: PathBuf,
    /// Where machines come from.
    pub host: Arc<dyn Host>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
}

/// What containerd asks for in Create.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The container's id.
    pub id: String,
    /// Where `config.json` is.
    pub bundle: PathBuf,
    /// How to mount the root file system; empty when the engine did it.
    pub rootfs: Vec<share::Mount>,
    /// The first process's.
    pub paths: StdioPaths,
    /// The runtime's.
    pub options: EngineOptions,
}

/// The guest, once it is up: connected, or why not.
type GuestSlot = watch::Receiver<Option<Result<Guest, String>>>;

/// A created task.
pub struct Task {
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    around: Surroundings,
    nics: u32,
    accel: boxlite_vmm::Accel,
    compiled: CompiledTask,
    machine: Arc<dyn Machine>,
    double: Arc<Double>,
    /// Serves the share; ends with the task.
    virtiofsd: Option<boxlite_vmm::Process>,
    network: Arc<Namespace>,
    relays: Arc<Relays>,
    guest: GuestSlot,
    created: Instant,
    /// The container being built in the guest ahead of Start.
    prepared: Mutex<Option<tokio::task::JoinHandle<Result<(), TaskError>>>>,
    record: Mutex<Option<Record>>,
    init: Arc<Process>,
    execs: Mutex<HashMap<String, Arc<Process>>>,
    /// A pause or a resume is on its way; which of the two it came to, the machine says.
    pausing: AtomicBool,
    usage: usage::Usage,
    end: exit::End,
    /// Nothing is left of it on the host.
    unmade: watch::Sender<bool>,
    /// The last goodbye, however often Delete is asked for.
    deleted: OnceCell<()>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Task").field("id", &self.id).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the guest's cgroup files come to. For shim-rs/fuzz.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn metrics_of(
    files: &[boxlite_protocol::plan::CgroupFile],
) -> containerd_shim_protos::cgroups_v2::metrics::Metrics {
    stats::metrics(files)
}

impl Task {
    /// Compiles the plan, makes the machine, and returns while the guest boots.
    ///
    /// # Errors
    /// A refusal, before anything was made, or a failed step, after everything was unmade.
    pub async fn create(request: CreateRequest, around: &Surroundings) -> Result<Arc<Self>, TaskError> {
        let created = Instant::now();
        let CreateRequest { id, bundle, rootfs, paths, options } = request;
        let config = Config::load(options.config_path.as_deref(), options.config_body.as_deref())?;
        if around.host.needs_files() {
            config.check_files()?;
        }
        let compiled = compile(&id, &bundle, &config, !rootfs.is_empty())?;
        for warning in &compiled.warnings {
            tracing::warn!(id, warning, "asked-for thing is ignored");
        }
        let t_plan = created.elapsed();

        let relays = Arc::new(Relays::open(&compiled.relays)?);
        let run = config.paths.run.join(&around.namespace).join(&id);
        let launched = launch::launch(&id, &bundle, &config, &compiled, rootfs, &run, &around.host).await?;
        let launch::Launched { machine, double, virtiofsd, namespace, record, timings, connected } = launched;
        record.name_socket(&around.socket);
        let (up, guest) = watch::channel(None);
        boot(machine.clone(), connected, up, relays.clone(), (created, id.clone()));

        let launch::Timings { t_cgroup, t_net, t_share, t_spawn, t_restore } = timings;
        tracing::info!(id, pid = double.pid(), machine = machine.pid(), ?t_plan, ?t_cgroup, ?t_net, ?t_share, ?t_spawn, ?t_restore,
            t_launch = ?created.elapsed(), "launched");
        let task = Arc::new(Self {
            id,
            bundle,
            around: around.clone(),
            nics: config.machine.nics,
            accel: config.accel(),
            compiled,
            machine,
            double,
            virtiofsd,
            network: namespace,
            relays,
            guest,
            created,
            prepared: Mutex::default(),
            record: Mutex::new(Some(record)),
            init: Arc::new(Process::new(String::new(), paths, None)),
            execs: Mutex::default(),
            pausing: AtomicBool::new(false),
            usage: usage::Usage::default(),
            end: exit::End::default(),
            unmade: watch::channel(false).0,
            deleted: OnceCell::new(),
        });
        task.prepare();
        if let Err(error) = task.run_create_hooks().await {
            exit::never_ran(&task, Exit::now(NEVER_RAN)).await;
            return Err(error);
        }
        tracing::info!(id = task.id, t_create = ?created.elapsed(), "created");
        Ok(task)
    }

    /// Makes the machine's end the task's, and what happens to its double what happens to it. To be called once Create
    /// was told: no event goes before that one.
    pub fn watch(self: &Arc<Self>) {
        exit::watch_machine(self);
        double::follow(self);
    }

    /// Whether it has ended and nothing is left of it on the host.
    #[must_use]
    pub fn is_unmade(&self) -> bool {
        *self.unmade.borrow()
    }

    /// The task's pid: its double's, which has the container's root and network namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.double.pid()
    }

    /// prestart and createRuntime run once the pid and its namespace are there (OCI runtime spec, "Lifecycle" 5 and
    /// 6): Docker up to 27 and nerdctl build the network in them.
    async fn run_create_hooks(&self) -> Result<(), TaskError> {
        let state = self.hook_state("created", self.pid());
        for hooks in [&self.compiled.hooks.prestart, &self.compiled.hooks.create_runtime] {
            hooks::run(hooks, &state).await.map_err(TaskError::launch("a hook of the engine"))?;
        }
        Ok(())
    }

    /// Waits for the guest to be up.
    async fn guest(&self) -> Result<Guest, TaskError> {
        let mut slot = self.guest.clone();
        let seen = slot.wait_for(Option::is_some).await.map(|seen| seen.clone());
        match seen {
            Ok(Some(Ok(guest))) => Ok(guest),
            Ok(Some(Err(why))) => Err(self.gone(why)),
            _ => Err(self.gone("the guest never came up".to_owned())),
        }
    }

    fn gone(&self, why: String) -> TaskError {
        TaskError::MachineGone { why, console: self.machine.console_tail() }
    }

    /// Adds the console to what a dead machine left behind.
    fn with_console(&self, error: TaskError) -> TaskError {
        match error {
            TaskError::MachineGone { why, console } if console.is_empty() => self.gone(why),
            other => other,
        }
    }

    fn hook_state<'a>(&'a self, status: &'a str, pid: u32) -> hooks::State<'a> {
        hooks::State::new(&self.id, status, pid, &self.bundle, &self.compiled.annotations)
    }

    fn process(&self, exec_id: &str) -> Result<Arc<Process>, TaskError> {
        if exec_id.is_empty() {
            return Ok(self.init.clone());
        }
        let found = lock(&self.execs).get(exec_id).cloned();
        found.ok_or_else(|| TaskError::NotFound { what: "process", id: exec_id.to_owned() })
    }
}

/// Connects to the guest as soon as it is up, or learns that it never will be. One that was restored is `connected`.
fn boot(
    machine: Arc<dyn Machine>,
    connected: Option<(Guest, Incoming)>,
    up: watch::Sender<Option<Result<Guest, String>>>,
    relays: Arc<Relays>,
    (began, id): (Instant, String),
) {
    tokio::spawn(async move {
        let connected = match (connected, machine.take_channel()) {
            (Some(connected), _) => Ok(connected),
            (None, Some(channel)) => {
                tokio::select! {
                    connected = Guest::connect(channel, Greeting::Expected) => {
                        connected.map_err(|error| crate::error::chain(&error))
                    }
                    exit = machine.exited() => Err(format!("it ended before the guest was up: {exit}")),
                }
            }
            (None, None) => Err("its channel was taken before".to_owned()),
        };
        let connected = connected.map(|(guest, incoming)| {
            tokio::spawn(relays.serve(incoming));
            guest
        });
        match &connected {
            Ok(_) => tracing::info!(id, t_boot = ?began.elapsed(), "guest is up"),
            Err(why) => tracing::error!(id, why, "guest did not come up"),
        }
        up.send_replace(Some(connected));
    });
}

fn compile(id: &str, bundle: &Path, config: &Config, rootfs_mounts: bool) -> Result<CompiledTask, TaskError> {
    let spec = plan::load(bundle)?;
    let facts = plan::HostFacts {
        memory_mib: crate::host_facts::memory_mib(),
        cpus: crate::host_facts::cpus(),
        defaults: plan::MachineDefaults {
            memory_mib: config.machine.memory_mib,
            vcpus: config.machine.vcpus,
        },
        kind_of: &crate::host_facts::kind_of,
        engine_sockets: config.sockets.engine,
        rootfs_mounts,
    };
    Ok(plan::compile(id, bundle, &spec, &facts)?)
}
