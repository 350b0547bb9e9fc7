// SPDX-License-Identifier: Apache-2.0
//! From an OCI spec to what host and guest are to do: the launch plan (design D7).
//!
//! Owns every decision about a container that the spec calls for, and so every refusal: [`compile`] runs before
//! anything is made and touches nothing but what [`HostFacts`] tells it (and an anonymous file libseccomp writes its
//! program to). Owns no file, mount or process: the shim shares, starts and hooks as [`CompiledTask`] says, the agent
//! executes [`CompiledTask::launch`].
//!
//! Order of calls: [`load`] the bundle's spec, [`compile`] at Create, [`compile_ahead`] before it if there is time; [`load_process`] and [`compile_process`] with the
//! container's [`Basis`] at each Exec; [`load_resources`] (which is [`compile_resources`] of its bytes) at Update.
//!
//! One file per concern, named after the section of the spec. Each takes its section and gives its part of the plan;
//! what is ignored, though it was asked for, becomes a line in [`CompiledTask::warnings`].

mod annotations;
mod capabilities;
mod cgroup;
mod cpuset;
mod device_program;
mod devices;
mod hooks;
mod mount_options;
mod mounts;
mod namespaces;
mod paths;
mod process;
mod refusal;
mod rlimits;
mod seccomp;
mod size;
mod spec;
mod sysctls;

use std::collections::HashMap;
use std::path::Path;

use boxlite_protocol::MAX_MESSAGE;
use boxlite_protocol::plan::{self, LaunchPlan};
use boxlite_protocol::protobuf::Message;
use mounts::Mounts;
use namespaces::Namespaces;
use oci_spec::runtime::{Linux, LinuxCpu, Root, Spec};

pub use annotations::{Role, TemplateMode};
pub use cgroup::{Update, compile_resources, load_resources};
pub(crate) use device_program::usual as usual_device_program;
pub use hooks::HostHooks;
pub use mounts::{RelayItem, ShareItem};
pub use namespaces::NetworkPlan;
pub use process::{Basis, compile_process};
pub use refusal::Refusal;
pub use seccomp::compile_ahead;
pub use size::{for_limit, usual};
pub use spec::{load, load_process, parse};

/// Largest plan in bytes: it travels in one message, with a little around it.
const MAX_PLAN: u64 = MAX_MESSAGE as u64 - 4096;

/// What a path on the host is, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A Unix socket.
    Socket(SocketFacts),
    /// A character device.
    Char {
        /// Its driver's number.
        major: u32,
        /// Its own.
        minor: u32,
    },
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// What is known of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketFacts {
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// It is no datagram socket.
    pub takes_connections: bool,
    /// An engine listens at it: who reaches it is root.
    pub engine: bool,
}

/// Bounds of a machine whose container sets no limit (`[machine]` of the configuration); none: the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineDefaults {
    /// In MiB.
    pub memory_mib: Option<u32>,
    /// Virtual CPUs.
    pub vcpus: Option<u32>,
}

/// Size of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineSize {
    /// How much memory it may take, in MiB.
    pub memory_mib: u32,
    /// How much it has room for, in MiB.
    pub room_mib: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
}

/// All a plan depends on besides the spec.
pub struct HostFacts<'a> {
    /// The host's memory in MiB; 0 when it is not known.
    pub memory_mib: u64,
    /// CPUs this process may use.
    pub cpus: u32,
    /// Resource limits of processes for which none are named.
    pub limits: &'a [plan::Rlimit],
    /// For containers without limits.
    pub defaults: MachineDefaults,
    /// What a path on the host is; `None` when it is not there.
    pub kind_of: &'a dyn Fn(&Path) -> Option<FileKind>,
    /// The configuration allows an engine's own socket as a volume.
    pub engine_sockets: bool,
    /// The engine sent mounts for the root file system: it is not there yet.
    pub rootfs_mounts: bool,
}

/// One container, decided.
#[derive(Debug, Clone)]
pub struct CompiledTask {
    /// The version of the specification the spec says it follows.
    pub oci_version: String,
    /// All of the spec's, for the state that hooks are told.
    pub annotations: HashMap<String, String>,
    /// For the agent. The process's `stdin`, `stdout` and `stderr` are left for who opens the streams.
    pub launch: LaunchPlan,
    /// What execs inherit.
    pub basis: Basis,
    /// What the guest is to see of the host; the first item is the root file system.
    pub share: Vec<ShareItem>,
    /// Sockets of the host the guest is to reach.
    pub relays: Vec<RelayItem>,
    /// Whose network the machine gets.
    pub network: NetworkPlan,
    /// For the machine; without meaning for a pod's member.
    pub size: MachineSize,
    /// Whether a template may be used; `None` leaves it to the configuration.
    pub template: Option<TemplateMode>,
    /// As the engine wrote it: a path, or `slice:prefix:name` under systemd.
    pub cgroups_path: Option<String>,
    /// The container can be built in the guest before its network is there.
    pub network_last: bool,
    /// Weight of the whole machine on the host, in cgroup v1's terms (2 to 262144, usual 1024).
    pub cpu_shares: Option<u64>,
    /// Programs to run on the host.
    pub hooks: HostHooks,
    /// What was asked for and is ignored, one sentence each.
    pub warnings: Vec<String>,
    /// The container's place in a pod.
    pub role: Role,
}

/// Decides how container `id` with this spec is to be run.
///
/// # Errors
/// A [`Refusal`]; nothing was made.
pub fn compile(id: &str, bundle: &Path, spec: &Spec, facts: &HostFacts<'_>) -> Result<CompiledTask, Refusal> {
    let mut warnings = Vec::new();
    spec::check_id(id)?;
    let (root, linux, _) = spec::required(spec)?;
    let annotations = annotations::read(spec.annotations().as_ref(), &mut warnings)?;
    let author = namespaces::Author::of(spec.mounts().as_ref());
    let namespaces = namespaces::compile(linux.namespaces().as_ref(), &annotations.role, author)?;
    let size = size::compile(linux.resources().as_ref(), &annotations, facts)?;
    let hooks = hooks::compile(spec.hooks().as_ref())?;
    let rootfs = rootfs(id, bundle, root, facts)?;
    let mounts = mounts::compile(id, bundle, spec.mounts().as_ref(), facts, &mut warnings)?;
    let relays = mounts.relays.clone();
    let (mut launch, binds) = launch(id, spec, facts, &rootfs, &namespaces, mounts, &mut warnings)?;
    let set = cpuset::compile(linux.resources().as_ref(), size.vcpus)?;
    launch.cgroup.mut_or_insert_default().files.extend(set);
    if launch.compute_size() > MAX_PLAN {
        return Err(Refusal::invalid(
            "config.json",
            format!("comes to a plan of more than {MAX_PLAN} bytes"),
        ));
    }
    warn_of_ignored(spec, linux, &mut warnings);
    let cpu = linux.resources().as_ref().and_then(|resources| resources.cpu().as_ref());
    Ok(CompiledTask {
        oci_version: spec.version().clone(),
        annotations: spec.annotations().clone().unwrap_or_default(),
        basis: Basis::of(&launch, facts.limits),
        network_last: !sysctls::name_an_interface(&launch.sysctls),
        launch,
        relays,
        share: std::iter::once(rootfs).chain(binds).collect(),
        network: namespaces.network,
        size,
        template: annotations.template,
        cgroups_path: spec::cgroups_path(linux)?,
        cpu_shares: cpu.and_then(LinuxCpu::shares).filter(|shares| *shares != 0),
        hooks,
        warnings,
        role: annotations.role,
    })
}

fn rootfs(id: &str, bundle: &Path, root: &Root, facts: &HostFacts<'_>) -> Result<ShareItem, Refusal> {
    let source = spec::root_path(bundle, root)?;
    if !facts.rootfs_mounts {
        match (facts.kind_of)(&source) {
            Some(FileKind::Directory) => {}
            Some(_) => return Err(Refusal::invalid("root.path", "is not a directory")),
            None => return Err(Refusal::Absent { source_path: source, destination: "/".into() }),
        }
    }
    // Writable on the host even when the container's is read-only: the guest makes the mount points the image lacks.
    Ok(ShareItem {
        name: format!("{id}/rootfs"),
        source,
        readonly: false,
        recursive: true,
        readonly_recursive: false,
    })
}

fn launch(
    id: &str,
    spec: &Spec,
    facts: &HostFacts<'_>,
    rootfs: &ShareItem,
    namespaces: &Namespaces,
    mounts: Mounts,
    warnings: &mut Vec<String>,
) -> Result<(LaunchPlan, Vec<ShareItem>), Refusal> {
    let (root, linux, process) = spec::required(spec)?;
    let resources = linux.resources().as_ref();
    let rules = resources.and_then(|resources| resources.devices().as_ref());
    let mut process = process::compile(process, facts.limits, warnings)?;
    if let Some(profile) = linux.seccomp() {
        let filter = seccomp::compile(profile)?;
        (process.seccomp, process.seccomp_flags) = (filter.program, filter.flags);
    }
    let files = resources.map(|resources| cgroup::compile(resources, warnings)).transpose()?;
    let cgroup = plan::Cgroup {
        files: files.unwrap_or_default(),
        device_program: device_program::compile(rules)?,
        ..plan::Cgroup::default()
    };
    let nodes = devices::nodes(linux.devices().as_ref(), devices::is_privileged(rules))?;
    let made_by_us = !mounts.dev_is_bound;
    let launch = LaunchPlan {
        container_id: id.to_owned(),
        namespaces: namespaces.flags,
        hostname: spec::name("hostname", spec.hostname().as_ref())?,
        domainname: spec::name("domainname", spec.domainname().as_ref())?,
        rootfs: rootfs.name.clone(),
        rootfs_readonly: root.readonly().unwrap_or(false),
        rootfs_propagation: spec::rootfs_propagation(linux.rootfs_propagation().as_ref())?,
        mounts: mounts.plan,
        nodes: if made_by_us { nodes } else { Vec::new() },
        symlinks: if made_by_us { devices::links(facts) } else { Vec::new() },
        sysctls: sysctls::compile(linux.sysctl().as_ref())?,
        masked_paths: paths::compile("linux.maskedPaths", linux.masked_paths().as_ref())?,
        readonly_paths: paths::compile("linux.readonlyPaths", linux.readonly_paths().as_ref())?,
        cgroup: Some(cgroup).into(),
        process: Some(process).into(),
        relays: mounts.listened,
        ..LaunchPlan::default()
    };
    Ok((launch, mounts.share))
}

fn warn_of_ignored(spec: &Spec, linux: &Linux, warnings: &mut Vec<String>) {
    let ignored = [
        (spec.vm().is_some(), "vm is not applied: the machine is this runtime's own affair"),
        (linux.intel_rdt().is_some(), "linux.intelRdt is not applied: caches are the host's"),
        (linux.personality().is_some(), "linux.personality is not applied"),
        (linux.memory_policy().is_some(), "linux.memoryPolicy is not applied: memory nodes are the host's"),
        (
            linux.time_offsets().as_ref().is_some_and(|map| !map.is_empty()),
            "linux.timeOffsets is not applied",
        ),
        (linux.net_devices().as_ref().is_some_and(|map| !map.is_empty()), "linux.netDevices is not applied"),
    ];
    warnings.extend(ignored.iter().filter(|(asked, _)| *asked).map(|(_, words)| (*words).to_owned()));
}
