// SPDX-License-Identifier: Apache-2.0
//! Making a sandbox: everything between the compiled plan and a machine that boots.
//!
//! Owns the order of the steps and the record of their undos. Every refusal has happened before ([`crate::plan`]);
//! a step that fails here unmakes the ones before it. Blocking work runs on a thread of its own, because it enters
//! namespaces: QEMU and the container's double are born in the container's network namespace.
//!
//! Order: run directory, the thread ([`build`]), then the host hooks, while the guest boots. No pid is told to anybody
//! before a machine from a template is seen to run (when it does not, everything is unmade and made once more for a
//! machine that boots, ADR 0014), its guest to answer, and before the double, whose pid it is, has the container's root for its own.

mod build;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_linux::delay::waited;
use boxlite_net::Namespace;
use boxlite_protocol::mux::Incoming;
use boxlite_vmm::{Machine, Process};

use super::Host;
use super::driver::explained;
use super::record::Record;
use crate::config::{Config, TemplateMode};
use crate::double::Double;
use crate::error::{Part, TaskError};
use crate::guest::Guest;
use crate::host_cgroup::HostCgroup;
use crate::own_thread;
use crate::plan::CompiledTask;
use crate::settings::Setting;
use crate::share;

/// How long a machine may take to go on from a template: some 50 ms, and more when many start at once.
const RESTORE: Duration = Duration::from_secs(10);

/// How long a guest that goes on may take to answer for the first time: some 30 ms. One that lost a notification while it
/// was saved or restored never does, and one that boots instead takes a second. Time in which the host gave it no
/// processor is not counted: with fifty at once on two of them, the last answers after ten seconds.
const ANSWER: Duration = Duration::from_secs(2);

/// What a launch made.
pub(crate) struct Launched {
    pub(crate) machinery: Machinery,
    /// The container's.
    pub(crate) double: Arc<Double>,
    /// Places that the image lacks and the host has made, see [`Double::made`]; also for a machine that was given up.
    pub(crate) made: Vec<String>,
    pub(crate) timings: Timings,
}

/// What is the sandbox's of it.
pub(crate) struct Machinery {
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) virtiofsd: Option<Process>,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) record: Record,
    /// What the guest is to be given of the host's settings.
    pub(crate) settings: Vec<Setting>,
    /// A guest that went on from a template, and has answered.
    pub(crate) connected: Option<(Guest, Incoming)>,
}

/// How long the steps took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timings {
    pub(crate) t_cgroup: Duration,
    pub(crate) t_net: Duration,
    pub(crate) t_share: Duration,
    pub(crate) t_spawn: Duration,
    pub(crate) t_restore: Duration,
}

/// What the thread needs, owned.
#[derive(Clone)]
struct Order {
    id: String,
    bundle: PathBuf,
    config: Config,
    compiled: CompiledTask,
    rootfs: Vec<share::Mount>,
    host: Arc<dyn Host>,
}

/// Why there is no machine.
enum NotLaunched {
    /// What was asked for cannot be.
    Failed(TaskError),
    /// The template did not hold what it promised; a machine that boots may.
    Template { name: String, error: TaskError, made: Vec<String> },
}

/// Makes everything for `compiled`; on failure nothing is left.
pub(crate) async fn launch(
    id: &str,
    bundle: &Path,
    config: &Config,
    compiled: &CompiledTask,
    rootfs: Vec<share::Mount>,
    run_directory: &Path,
    host: &Arc<dyn Host>,
) -> Result<Launched, TaskError> {
    let mut order = Order {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        config: config.clone(),
        compiled: compiled.clone(),
        rootfs,
        host: host.clone(),
    };
    if let Some(mode) = compiled.template {
        order.config.template.mode = mode.into();
    }
    let (name, error, made) = match attempt(&order, run_directory).await {
        Ok(launched) => return Ok(launched),
        Err(NotLaunched::Failed(error)) => return Err(error),
        Err(NotLaunched::Template { name, error, made }) => (name, error, made),
    };
    if order.config.template.mode == TemplateMode::Required {
        return Err(error);
    }
    tracing::warn!(id, template = name, error = crate::error::chain(&error), "template unusable, booting");
    order.config.template.mode = TemplateMode::Off;
    match attempt(&order, run_directory).await {
        Ok(launched) => Ok(Launched { made: [made, launched.made].concat(), ..launched }),
        Err(NotLaunched::Failed(error) | NotLaunched::Template { error, .. }) => Err(error),
    }
}

async fn attempt(order: &Order, run_directory: &Path) -> Result<Launched, NotLaunched> {
    let mut record = begin(&order.bundle, run_directory).await.map_err(NotLaunched::Failed)?;
    let runtime = tokio::runtime::Handle::current();
    let owned = order.clone();
    let thread = move || {
        let _context = runtime.enter();
        let made = build::build(&owned, &mut record);
        (record, made)
    };
    let (record, made) = own_thread::run("launch", thread)
        .await
        .map_err(|error| NotLaunched::Failed(TaskError::launch("the launch thread")(error)))?;
    let mut built = match made {
        Ok(built) => built,
        Err(error) => {
            unmake(record).await;
            return Err(NotLaunched::Failed(error));
        }
    };
    let began = Instant::now();
    let mut connected = None;
    if let Some(template) = built.template {
        match restored(&*built.machine).await {
            Ok(guest) => connected = Some(guest),
            Err(error) => {
                let made = built.double.made().to_owned();
                drop((built.machine, built.double));
                unmake(record).await;
                return Err(NotLaunched::Template { name: template.name(), error, made });
            }
        }
    }
    built.timings.t_restore = began.elapsed();
    if let Err(error) = built.double.ready().await {
        drop((built.machine, built.double));
        unmake(record).await;
        return Err(NotLaunched::Failed(error));
    }
    let machinery = Machinery {
        machine: Arc::from(built.machine),
        virtiofsd: built.virtiofsd,
        namespace: Arc::new(built.namespace),
        record,
        settings: built.settings,
        connected,
    };
    let made = built.double.made().to_owned();
    Ok(Launched { machinery, double: Arc::new(built.double), made, timings: built.timings })
}

/// Makes the run directory with the record, and has the bundle point to it.
async fn begin(bundle: &Path, run_directory: &Path) -> Result<Record, TaskError> {
    if let Some(record) = Record::abandoned(run_directory).or_else(|| Record::without(run_directory)) {
        // Left by a shim that died; the sweep has not come by yet.
        unmake(record).await;
    }
    let record =
        Record::create(run_directory.to_owned()).map_err(TaskError::launch("making the run directory"))?;
    if let Err(error) = super::record::point_to(bundle, run_directory) {
        unmake(record).await;
        return Err(TaskError::launch("marking the bundle")(error));
    }
    Ok(record)
}

/// Sees a machine to where a template had stood, and its guest to answer from there.
async fn restored(machine: &dyn Machine) -> Result<(Guest, Incoming), TaskError> {
    let gone = |why: String| TaskError::MachineGone { why, console: machine.console_tail() };
    match tokio::time::timeout(RESTORE, machine.started()).await {
        Ok(started) => started.map_err(TaskError::launch("starting from the template"))?,
        Err(_) => {
            return Err(gone(format!("it did not go on from its template within {} s", RESTORE.as_secs())));
        }
    }
    let channel = machine.take_channel().ok_or_else(|| gone("its channel was taken before".to_owned()))?;
    match Guest::awake(channel, ANSWER, || waited(machine.pid())).await {
        Ok(connected) => Ok(connected),
        Err(error) => Err(gone(explained(machine, seen(error)?).await)),
    }
}

/// What the channel told of a guest that did not answer. Anything else that failed is left as it is.
fn seen(error: TaskError) -> Result<String, TaskError> {
    match error {
        TaskError::MachineGone { why, .. } => Ok(why),
        TaskError::Failed { part: Part::Channel, .. } => Ok(crate::error::chain(&error)),
        other => Err(other),
    }
}

/// Runs the undo list off the async threads and logs what it could not do.
pub(super) async fn unmake(record: Record) {
    let failures = tokio::task::spawn_blocking(move || {
        record.kill();
        // The kernel makes this wait some milliseconds, in which they end.
        if let Err(error) = HostCgroup::leave(std::process::id()) {
            tracing::warn!(error = crate::error::chain(&error), "the shim stays in the container's cgroup");
        }
        record.undo_all()
    });
    match failures.await {
        Ok(failures) => {
            for failure in failures {
                tracing::warn!(failure, "something was left behind");
            }
        }
        Err(error) => tracing::error!(%error, "the undo list was not run"),
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::ttrpc::Code;

    use super::*;

    #[test]
    fn an_end_of_the_channel_is_to_be_explained_and_a_refusal_is_not() {
        let gone = TaskError::MachineGone { why: "early eof".to_owned(), console: String::new() };
        assert_eq!(seen(gone).unwrap(), "early eof");
        let closed = TaskError::channel("opening the control stream")("the channel is closed");
        assert_eq!(seen(closed).unwrap(), "opening the control stream failed: the channel is closed");
        let refused = TaskError::Guest { code: Code::NOT_FOUND, message: "no clock".to_owned() };
        assert!(matches!(seen(refused), Err(TaskError::Guest { .. })));
    }
}
