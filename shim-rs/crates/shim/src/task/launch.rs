// SPDX-License-Identifier: Apache-2.0
//! Building a task: everything between the compiled plan and a machine that boots.
//!
//! Owns the order of the steps and the record of their undos. Every refusal has happened before ([`crate::plan`]);
//! a step that fails here unmakes the ones before it. Blocking work runs on a thread of its own, because it enters
//! namespaces: QEMU is born in the container's network namespace, so its pid is the task's from the first moment.
//!
//! Order: run directory, cgroup, { network namespace, share with virtiofsd, taps, QEMU } on the thread, then the
//! host hooks, while the guest boots.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_net::Namespace;
use boxlite_protocol::{NIC_MAC_PREFIX, PORT_NAME, SHARE_TAG};
use boxlite_vmm::{Machine, MachineConfig, Nic, Process, Start};

use super::Host;
use super::record::{ProcessRecord, Record, Undo};
use crate::config::Config;
use crate::error::TaskError;
use crate::host_cgroup::{CgroupHost, HostCgroup};
use crate::plan::{CompiledTask, NetworkPlan};
use crate::share::{self, ShareMount};

/// What a launch made.
pub(super) struct Launched {
    pub(super) machine: Arc<dyn Machine>,
    pub(super) virtiofsd: Option<Process>,
    pub(super) namespace: Arc<Namespace>,
    pub(super) record: Record,
    pub(super) timings: Timings,
}

/// How long the steps took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timings {
    pub(super) t_cgroup: Duration,
    pub(super) t_net: Duration,
    pub(super) t_share: Duration,
    pub(super) t_spawn: Duration,
}

/// What the thread needs, owned.
struct Order {
    id: String,
    config: Config,
    compiled: CompiledTask,
    rootfs: Vec<share::Mount>,
    host: Arc<dyn Host>,
}

/// Makes everything for `compiled`; on failure nothing is left.
pub(super) async fn launch(
    id: &str,
    config: &Config,
    compiled: &CompiledTask,
    rootfs: Vec<share::Mount>,
    run_directory: &Path,
    host: &Arc<dyn Host>,
) -> Result<Launched, TaskError> {
    let mut record =
        Record::create(run_directory.to_owned()).map_err(TaskError::launch("making the run directory"))?;
    let order = Order {
        id: id.to_owned(),
        config: config.clone(),
        compiled: compiled.clone(),
        rootfs,
        host: host.clone(),
    };
    let runtime = tokio::runtime::Handle::current();
    let thread = move || {
        let _context = runtime.enter();
        let made = build(&order, &mut record);
        (record, made)
    };
    let (record, made) = on_thread("launch", thread).await?;
    match made {
        Ok(built) => Ok(Launched {
            machine: Arc::from(built.machine),
            virtiofsd: built.virtiofsd,
            namespace: Arc::new(built.namespace),
            record,
            timings: built.timings,
        }),
        Err(error) => {
            unmake(record).await;
            Err(error)
        }
    }
}

/// Runs the undo list off the async threads and logs what it could not do.
pub(super) async fn unmake(record: Record) {
    let failures = tokio::task::spawn_blocking(move || {
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

/// A thread may enter namespaces as it ends with them; one of the pool may not.
async fn on_thread<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TaskError> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // The receiver is gone only if the request was dropped, and the runtime with it.
            let _ = done.send(work());
        })
        .map_err(TaskError::launch("starting the launch thread"))?;
    result.await.map_err(TaskError::launch("the launch thread"))
}

/// What the thread made.
struct Built {
    machine: Box<dyn Machine>,
    virtiofsd: Option<Process>,
    namespace: Namespace,
    timings: Timings,
}

fn build(order: &Order, record: &mut Record) -> Result<Built, TaskError> {
    let mut timings = Timings::default();
    let began = Instant::now();
    join_cgroup(order, record)?;
    timings.t_cgroup = began.elapsed();

    let began = Instant::now();
    let namespace = network_namespace(&order.compiled.network)?;
    let taps = open_taps(&namespace, order.config.machine.nics)?;
    timings.t_net = began.elapsed();

    let began = Instant::now();
    let directory = record.directory().join("share");
    std::fs::create_dir(&directory).map_err(TaskError::launch("making the share directory"))?;
    let shared = order.host.open_share(&directory, &share_mounts(order), &order.config)?;
    if let Some(process) = &shared.process {
        remember_process(record, process.pid())?;
    }
    timings.t_share = began.elapsed();

    let began = Instant::now();
    namespace.enter().map_err(TaskError::launch("entering the network namespace"))?;
    let config = machine_config(order, record.directory(), taps, shared.socket);
    let machine = order.host.launch(config).map_err(TaskError::launch("starting the machine"))?;
    remember_process(record, machine.pid())?;
    record.set_machine(machine.pid()).map_err(TaskError::launch("writing the record"))?;
    timings.t_spawn = began.elapsed();
    Ok(Built { machine, virtiofsd: shared.process, namespace, timings })
}

/// The process exists for a moment before its record does; should writing fail, it is ended here.
fn remember_process(record: &mut Record, pid: u32) -> Result<(), TaskError> {
    match ProcessRecord::of(pid) {
        Some(process) => record.push(Undo::Process(process)).map_err(TaskError::launch("writing the record")),
        // Dead already: whoever waits for it says why.
        None => Ok(()),
    }
}

/// The shim goes first, and what it starts is born there.
fn join_cgroup(order: &Order, record: &mut Record) -> Result<(), TaskError> {
    let host = CgroupHost::detect().map_err(TaskError::launch("reading the host's cgroups"))?;
    let path = order.compiled.cgroups_path.as_deref();
    let cgroup = HostCgroup::plan(path, &host).map_err(TaskError::launch("planning the host's cgroup"))?;
    record.push(Undo::Cgroup(cgroup.clone())).map_err(TaskError::launch("writing the record"))?;
    cgroup.create().map_err(TaskError::launch("making the host's cgroup"))?;
    if let Some(shares) = order.compiled.cpu_shares {
        cgroup.set_cpu_shares(shares).map_err(TaskError::launch("setting the cgroup's cpu weight"))?;
    }
    cgroup.join(std::process::id()).map_err(TaskError::launch("joining the host's cgroup"))
}

/// Needs no undo: a tap goes with its descriptors, a namespace of ours with its last process, and a redirection in a
/// namespace of others is replaced by the next one.
fn network_namespace(plan: &NetworkPlan) -> Result<Namespace, TaskError> {
    match plan {
        NetworkPlan::New => Namespace::create().map_err(TaskError::launch("making a network namespace")),
        NetworkPlan::Join(path) => {
            Namespace::open(path).map_err(TaskError::launch("opening the network namespace"))
        }
    }
}

fn open_taps(namespace: &Namespace, count: u32) -> Result<Vec<Nic>, TaskError> {
    (0..count)
        .map(|index| {
            let tap =
                boxlite_net::open_tap(namespace, index).map_err(TaskError::launch("opening a tap device"))?;
            let [a, b, c, d, e] = NIC_MAC_PREFIX;
            // The configuration keeps the count small; see `plan`.
            Ok(Nic { tap, mac: [a, b, c, d, e, u8::try_from(index).unwrap_or(u8::MAX)] })
        })
        .collect()
}

fn share_mounts(order: &Order) -> Vec<ShareMount> {
    let rootfs_name = &order.compiled.launch.rootfs;
    order
        .compiled
        .share
        .iter()
        .map(|item| ShareMount {
            source: if item.name == *rootfs_name && !order.rootfs.is_empty() {
                share::Source::Mounts(order.rootfs.clone())
            } else {
                share::Source::Path(item.source.clone())
            },
            name: item.name.clone(),
            readonly: item.readonly,
            recursive: item.recursive,
        })
        .collect()
}

fn machine_config(
    order: &Order,
    directory: &Path,
    nics: Vec<Nic>,
    socket: Option<std::os::fd::OwnedFd>,
) -> MachineConfig {
    let paths = &order.config.paths;
    MachineConfig {
        name: order.id.clone(),
        qemu: paths.qemu.clone(),
        accel: order.config.accel(),
        kernel: paths.kernel.clone(),
        initrd: paths.initrd.clone(),
        kernel_args: String::new(),
        vcpus: order.compiled.size.vcpus,
        memory_mib: order.compiled.size.memory_mib,
        port_name: PORT_NAME.to_owned(),
        share: socket.map(|socket| boxlite_vmm::Share { socket, tag: SHARE_TAG.to_owned() }),
        nics,
        console_log: directory.join("console.log"),
        start: Start::Boot,
    }
}
