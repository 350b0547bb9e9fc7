// SPDX-License-Identifier: Apache-2.0
//! One container: its processes, their stdio, its double, its end. What containerd calls a task.
//!
//! Owns the container's life from Create to Delete, and knows its machine only by the door of its sandbox
//! ([`crate::sandbox`]). Knows nothing of ttrpc: [`crate::service`] translates. The plan decides ([`crate::plan`]),
//! [`start`] runs, [`exit`] ends, [`verbs`] is everything between.
//!
//! ```text
//!  create ─▶ its sandbox is launched ─▶ start ─▶ running ◀─▶ paused
//!     │  (the engine builds               │        │
//!     │   the network meanwhile)          │        ▼
//!     └── failed: nothing left            └─▶ exit: drain, TaskExit, leave the sandbox ─▶ delete
//! ```
//! The pid that is told is the double's ([`crate::double`]). Pids, state and SIGKILL are answered from what the host
//! knows: a guest that hangs does not hang the engine.

mod double;
mod exit;
mod pause;
mod process;
mod start;
mod state;
mod stats;
mod usage;
mod verbs;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OnceCell, watch};

pub use self::exit::timestamp as exit_timestamp;
use self::process::Process;
pub use self::state::{Exit, ProcessState};
pub use self::verbs::TaskStatus;
use crate::accel;
use crate::config::Config;
use crate::double::Double;
use crate::error::TaskError;
use crate::events::EventSink;
use crate::hooks;
use crate::options::EngineOptions;
use crate::plan::{self, CompiledTask};
use crate::relay::Relays;
use crate::sandbox::{self, Host, Sandbox, launch};
use crate::share;
use crate::stdio::StdioPaths;

/// What Docker calls a container that never ran (moby daemon/start.go).
const NEVER_RAN: u32 = 128;

/// What every container of a shim shares.
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

/// A created container.
pub struct Container {
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    around: Surroundings,
    compiled: CompiledTask,
    sandbox: Arc<Sandbox>,
    double: Arc<Double>,
    created: Instant,
    /// What a limit that goes away leaves.
    defaults: plan::MachineDefaults,
    /// The container being built in the guest ahead of Start.
    prepared: Mutex<Option<tokio::task::JoinHandle<Result<(), TaskError>>>>,
    init: Arc<Process>,
    execs: Mutex<HashMap<String, Arc<Process>>>,
    usage: usage::Usage,
    end: exit::End,
    /// Nothing is left of it on the host.
    unmade: watch::Sender<bool>,
    /// The last goodbye, however often Delete is asked for.
    deleted: OnceCell<()>,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Container").field("id", &self.id).finish_non_exhaustive()
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

impl Container {
    /// Compiles the plan, makes the machine, and returns while the guest boots.
    ///
    /// # Errors
    /// A refusal, before anything was made, or a failed step, after everything was unmade.
    pub async fn create(request: CreateRequest, around: &Surroundings) -> Result<Arc<Self>, TaskError> {
        let created = Instant::now();
        let CreateRequest { id, bundle, rootfs, paths, options } = request;
        let mut config = Config::load(options.config_path.as_deref(), options.config_body.as_deref())?;
        if around.host.needs_files() {
            config.check_files()?;
        }
        let mut compiled = compile(&id, &bundle, &config, !rootfs.is_empty())?;
        for warning in &compiled.warnings {
            tracing::warn!(id, warning, "asked-for thing is ignored");
        }
        let t_plan = created.elapsed();
        if around.host.needs_files() {
            accel::settle(&mut config).await;
        }

        let relays = Arc::new(Relays::open(&compiled.relays)?);
        let run = config.paths.run.join(&around.namespace).join(&id);
        let launched = launch::launch(&id, &bundle, &config, &compiled, rootfs, &run, &around.host).await?;
        let launch::Launched { machinery, double, made, timings } = launched;
        for mount in &mut compiled.launch.mounts {
            mount.place_made = made.contains(&mount.destination);
        }
        machinery.record.name_socket(&around.socket);
        let launch::Timings { t_cgroup, t_net, t_share, t_spawn, t_restore } = timings;
        tracing::info!(id, pid = double.pid(), machine = machinery.machine.pid(), ?t_plan, ?t_cgroup, ?t_net, ?t_share, ?t_spawn, ?t_restore,
            t_launch = ?created.elapsed(), "launched");
        let share = around.host.share_location(&run.join("share"));
        let parts = sandbox::Parts {
            launched: machinery,
            relays,
            accel: config.accel(),
            nics: config.machine.nics,
            memory_mib: compiled.size.memory_mib,
            share,
            began: created,
        };
        let container = Arc::new(Self {
            sandbox: Sandbox::begin(&id, parts),
            id,
            bundle,
            around: around.clone(),
            compiled,
            double,
            created,
            defaults: config.machine.defaults(),
            prepared: Mutex::default(),
            init: Arc::new(Process::new(String::new(), paths, None)),
            execs: Mutex::default(),
            usage: usage::Usage::default(),
            end: exit::End::default(),
            unmade: watch::channel(false).0,
            deleted: OnceCell::new(),
        });
        container.prepare();
        if let Err(error) = container.run_create_hooks().await {
            exit::never_ran(&container, Exit::now(NEVER_RAN)).await;
            return Err(error);
        }
        tracing::info!(id = container.id, t_create = ?created.elapsed(), "created");
        Ok(container)
    }

    /// Makes the sandbox's end the container's, and what happens to its double what happens to it. To be called once Create
    /// was told: no event goes before that one.
    pub fn watch(self: &Arc<Self>) {
        exit::watch_sandbox(self);
        double::follow(self);
    }

    /// Whether it has ended and nothing is left of it on the host.
    #[must_use]
    pub fn is_unmade(&self) -> bool {
        *self.unmade.borrow()
    }

    /// The pid that is told: its double's, which has the container's root and network namespace.
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

fn compile(id: &str, bundle: &Path, config: &Config, rootfs_mounts: bool) -> Result<CompiledTask, TaskError> {
    let spec = plan::load(bundle)?;
    let facts = plan::HostFacts {
        memory_mib: crate::host_facts::memory_mib(),
        cpus: crate::host_facts::cpus(),
        limits: crate::given_limits::all(),
        defaults: config.machine.defaults(),
        kind_of: &crate::host_facts::kind_of,
        engine_sockets: config.sockets.engine,
        rootfs_mounts,
    };
    Ok(plan::compile(id, bundle, &spec, &facts)?)
}
