// SPDX-License-Identifier: Apache-2.0
//! What the launch thread does: all that blocks or enters a namespace.
//!
//! Does not own what comes before and after it: the run directory, whether a template held what it promised, and the
//! undo of what was made ([`super`]).
//!
//! Order: network namespace, taps, share; on a thread of its own meanwhile, for it mostly waits, the cgroup and the shim's
//! move there; then virtiofsd, QEMU and beside it the double, which are born there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use boxlite_net::Namespace;
use boxlite_vmm::{Machine, MachineConfig, Process};

use super::{Order, Timings};
use crate::config::Config;
use crate::double::{Birth, Cradle, Double};
use crate::error::TaskError;
use crate::given_limits;
use crate::host_cgroup::{CgroupHost, HostCgroup};
use crate::machine::{self, Parts, open_taps};
use crate::plan::NetworkPlan;
use crate::sandbox::HostShare;
use crate::sandbox::record::{ProcessRecord, Record, Undo};
use crate::settings::{self, Setting};
use crate::share::{self, ShareMount};
use crate::template::{self, Choice, Entry};

/// What the thread made.
pub(super) struct Built {
    pub(super) machine: Box<dyn Machine>,
    pub(super) double: Double,
    pub(super) virtiofsd: Option<Process>,
    pub(super) namespace: Namespace,
    pub(super) timings: Timings,
    pub(super) template: Option<Entry>,
    /// What its guest is still to be given of the host's settings.
    pub(super) settings: Vec<Setting>,
}

pub(super) fn build(order: &Order, record: &mut Record) -> Result<Built, TaskError> {
    let directory = record.directory().join("share");
    std::fs::create_dir(&directory).map_err(TaskError::launch("making the share directory"))?;
    let cgroup = plan_cgroup(order, record)?;
    let mut timings = Timings::default();
    let Surroundings { namespace, taps, shared } =
        surroundings(order, record, &cgroup, &directory, &mut timings)?;
    let HostShare { process: virtiofsd, socket, namespace: mounts } = shared;

    let began = Instant::now();
    namespace.enter().map_err(TaskError::launch("entering the network namespace"))?;
    let parts = Parts { taps, share: socket };
    let size = order.compiled.size;
    let mut config = machine::configure(&order.config, &order.id, size, record.directory(), parts);
    let choice = choose(order, &mut config)?;
    let cradle = Cradle {
        program: order.host.double_program(),
        share: mounts.as_fd(),
        directory: &directory,
        network: &namespace,
    };
    let (machine, double) = beside(
        || birth(order, &cradle),
        || {
            let machine = order.host.launch(config).map_err(TaskError::launch("starting the machine"))?;
            remember_process(record, machine.pid())?;
            Ok(machine)
        },
    )?;
    // While the machine starts, and where it was born.
    let settings = settings::for_guest(settings::kernel(), &settings::network(), given_limits::all());
    let settings = settings::beyond(settings, &choice.settings);
    remember_process(record, double.pid())?;
    record.set_task_pid(double.pid()).map_err(TaskError::launch("writing the record"))?;
    let score = order.compiled.launch.process.oom_score_adj.unwrap_or_default();
    for pid in [machine.pid(), double.pid()] {
        adjust_oom_score(pid, score);
    }
    timings.t_spawn = began.elapsed();
    let template = choice.template;
    Ok(Built { machine, double, virtiofsd, namespace, timings, template, settings })
}

fn birth(order: &Order, cradle: &Cradle<'_>) -> Result<Double, TaskError> {
    Double::birth(&Birth::of(&order.compiled.launch, &share_mounts(order)), cradle)
}

/// Does one thing on a thread of its own while the other is done here.
fn beside<A: Send, B>(
    there: impl FnOnce() -> Result<A, TaskError> + Send,
    here: impl FnOnce() -> Result<B, TaskError>,
) -> Result<(B, A), TaskError> {
    let runtime = tokio::runtime::Handle::current();
    thread::scope(|scope| {
        let there = move || {
            let _context = runtime.enter();
            there()
        };
        let there = thread::Builder::new()
            .name("double".to_owned())
            .spawn_scoped(scope, there)
            .map_err(TaskError::launch("starting a thread"))?;
        let done = here();
        let died = |_| TaskError::launch("a thread of the launch")(std::io::Error::other("it panicked"));
        let there = there.join().map_err(died)?;
        Ok((done?, there?))
    })
}

/// What a machine is put into.
struct Surroundings {
    namespace: Namespace,
    taps: Vec<OwnedFd>,
    shared: HostShare,
}

fn surroundings(
    order: &Order,
    record: &mut Record,
    cgroup: &HostCgroup,
    directory: &Path,
    timings: &mut Timings,
) -> Result<Surroundings, TaskError> {
    thread::scope(|scope| {
        let (moved, is_there) = mpsc::channel::<()>();
        let moving = move || {
            let _moved = moved;
            timed(|| join_cgroup(order, cgroup))
        };
        let moving = thread::Builder::new()
            .name("cgroup".to_owned())
            .spawn_scoped(scope, moving)
            .map_err(TaskError::launch("starting a thread"))?;

        let began = Instant::now();
        let namespace = network_namespace(&order.compiled.network)?;
        let taps = open_taps(&namespace, order.config.machine.nics)?;
        timings.t_net = began.elapsed();

        let mut ready = move || {
            // What is started is born where the shim is. Nothing is ever sent: the other end is dropped.
            let _ = is_there.recv();
        };
        let began = Instant::now();
        let shared = order.host.open_share(directory, &share_mounts(order), &order.config, &mut ready)?;
        if let Some(process) = &shared.process {
            remember_process(record, process.pid())?;
        }
        timings.t_share = began.elapsed();

        let died =
            |_| TaskError::launch("joining the host's cgroup")(std::io::Error::other("a thread panicked"));
        let (joined, t_cgroup) = moving.join().map_err(died)?;
        timings.t_cgroup = t_cgroup;
        joined.map(|()| Surroundings { namespace, taps, shared })
    })
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (work(), began.elapsed())
}

/// Takes the template that fits, if any.
fn choose(order: &Order, machine: &mut MachineConfig) -> Result<Choice, TaskError> {
    if !order.host.needs_files() {
        return Ok(Choice::boot());
    }
    let Config { template, paths, .. } = &order.config;
    let choice = template::choose(template, &paths.virtiofsd, machine)
        .map_err(TaskError::launch("choosing a template"))?;
    if let Some(warning) = &choice.warning {
        tracing::warn!(id = order.id, warning, "no template, booting");
    }
    Ok(choice)
}

/// A machine is born as hard to kill as the shim. On a host without memory it is to go when the container would, and its
/// double says so; what serves its share stays as it is, for it ends with the machine.
fn adjust_oom_score(pid: u32, score: i32) {
    if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        tracing::warn!(pid, score, %error, "oom_score_adj stays");
    }
}

/// The process exists for a moment before its record does; should writing fail, it is ended here.
fn remember_process(record: &mut Record, pid: u32) -> Result<(), TaskError> {
    match ProcessRecord::of(pid) {
        Some(process) => record.push(Undo::Process(process)).map_err(TaskError::launch("writing the record")),
        // Dead already: whoever waits for it says why.
        None => Ok(()),
    }
}

/// Decides where the container's cgroup is, and remembers it.
fn plan_cgroup(order: &Order, record: &mut Record) -> Result<HostCgroup, TaskError> {
    let host = CgroupHost::detect().map_err(TaskError::launch("reading the host's cgroups"))?;
    let path = order.compiled.cgroups_path.as_deref();
    let cgroup = HostCgroup::plan(path, &host).map_err(TaskError::launch("planning the host's cgroup"))?;
    record.push(Undo::Cgroup(cgroup.clone())).map_err(TaskError::launch("writing the record"))?;
    Ok(cgroup)
}

/// The shim goes first, and what it starts is born there.
fn join_cgroup(order: &Order, cgroup: &HostCgroup) -> Result<(), TaskError> {
    cgroup.create().map_err(TaskError::launch("making the host's cgroup"))?;
    if let Some(shares) = order.compiled.cpu_shares {
        cgroup.set_cpu_shares(shares).map_err(TaskError::launch("setting the cgroup's cpu weight"))?;
    }
    cgroup.join(std::process::id()).map_err(TaskError::launch("joining the host's cgroup"))
}

/// Needs no undo: a namespace of ours goes with its last process and takes its taps along, a tap in a namespace of
/// others goes with its descriptors, and a redirection there is replaced by the next one.
fn network_namespace(plan: &NetworkPlan) -> Result<Namespace, TaskError> {
    match plan {
        NetworkPlan::New => Namespace::create().map_err(TaskError::launch("making a network namespace")),
        NetworkPlan::Join(path) => {
            Namespace::open(path).map_err(TaskError::launch("opening the network namespace"))
        }
    }
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
