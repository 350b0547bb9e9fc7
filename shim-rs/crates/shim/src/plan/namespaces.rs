// SPDX-License-Identifier: Apache-2.0
//! `linux.namespaces`: which ones the guest makes, and where the machine's network is. Namespaces of the host cannot
//! be had in a machine: to share one is refused.
//!
//! A namespace the spec leaves out is the host's (OCI runtime spec, "Namespaces"), and an engine that leaves one out was
//! told to (`--pid host`). A spec by hand often names the mount namespace alone and means no more than a process with
//! files of its own: there the machine's stand in for the host's. The two are told apart by the files every engine
//! brings along ([`Author`]).
//!
//! In a pod the machine is the pod: ipc and uts namespace are the guest's own, which all its containers share.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Type, Mount};

use super::annotations::Role;
use super::refusal::Refusal;

// linux/sched.h
const CLONE_NEWNS: u64 = 0x0002_0000;
const CLONE_NEWCGROUP: u64 = 0x0200_0000;
const CLONE_NEWUTS: u64 = 0x0400_0000;
const CLONE_NEWIPC: u64 = 0x0800_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;

/// Whose network the machine gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkPlan {
    /// A network namespace made for it; the engine fills it through the pid it is told.
    New,
    /// A network namespace that is there (CNI made it). For a pod's member: that of its machine.
    Join(PathBuf),
}

/// Who wrote a spec, as far as it matters to what is left out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// Docker, nerdctl, ctr with a host's network, containerd's CRI.
    Engine,
    /// Somebody who names what is needed.
    Hand,
}

impl Author {
    /// Engines mount the files of name resolution, whatever namespaces they leave out.
    pub(super) fn of(mounts: Option<&Vec<Mount>>) -> Self {
        let files = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
        let brought = |mount: &Mount| files.iter().any(|file| mount.destination() == Path::new(file));
        if mounts.is_some_and(|mounts| mounts.iter().any(brought)) { Self::Engine } else { Self::Hand }
    }
}

/// What the namespaces of a spec come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespaces {
    /// `CLONE_NEW*` flags for the guest.
    pub(super) flags: u64,
    pub(super) network: NetworkPlan,
}

/// Decides over every namespace of a spec.
pub(super) fn compile(
    namespaces: Option<&Vec<LinuxNamespace>>,
    role: &Role,
    author: Author,
) -> Result<Namespaces, Refusal> {
    let namespaces = namespaces.map_or(&[][..], Vec::as_slice);
    check_unique(namespaces)?;
    let named = |typ| namespaces.iter().find(|namespace| namespace.typ() == typ).map(path_of);
    let left_out = (author == Author::Hand).then_some(None);
    let find = |typ| named(typ).or(left_out);
    match named(Type::Mount) {
        Some(None) => {}
        _ => return Err(Refusal::invalid("linux.namespaces", "a container needs a new mount namespace")),
    }
    if named(Type::User).is_some() {
        return Err(Refusal::unsupported(
            "a user namespace (userns-remap, hostUsers: false)",
            "files of the image would belong to shifted ids that mean nothing to the guest's kernel",
            "run it with --userns=host: the machine separates it from the host",
        ));
    }
    // A private cgroup namespace is made in any case: the guest's hierarchy is nobody else's business, and on a host
    // with cgroup v1 engines do not ask for one.
    let mut flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWPID;
    own_pid(find(Type::Pid))?;
    let own_ipc = shared_in_pod(find(Type::Ipc), role, "ipc")?;
    let own_uts = shared_in_pod(find(Type::Uts), role, "uts")?;
    if own_ipc {
        flags |= CLONE_NEWIPC;
    }
    if own_uts {
        flags |= CLONE_NEWUTS;
    }
    Ok(Namespaces { flags, network: network(find(Type::Network), role)? })
}

fn path_of(namespace: &LinuxNamespace) -> Option<&Path> {
    namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty())
}

fn check_unique(namespaces: &[LinuxNamespace]) -> Result<(), Refusal> {
    for (at, namespace) in namespaces.iter().enumerate() {
        if namespaces[..at].iter().any(|earlier| earlier.typ() == namespace.typ()) {
            return Err(Refusal::invalid("linux.namespaces", format!("{} is there twice", namespace.typ())));
        }
    }
    Ok(())
}

fn own_pid(found: Option<Option<&Path>>) -> Result<(), Refusal> {
    match found {
        Some(None) => Ok(()),
        Some(Some(_)) => Err(Refusal::unsupported(
            "the pid namespace of another container (--pid container:X, shareProcessNamespace)",
            "processes of the container run under a kernel of their own",
            "leave it out, or use exec to look into a container",
        )),
        None => Err(Refusal::unsupported(
            "the host's pid namespace (--pid host, hostPID)",
            "processes of the container run under a kernel of their own",
            "leave it out, or run this container with runc",
        )),
    }
}

/// True: the container gets one of its own. False: it has the guest's, as all containers of the pod.
fn shared_in_pod(found: Option<Option<&Path>>, role: &Role, kind: &str) -> Result<bool, Refusal> {
    match (found, role) {
        (Some(None), Role::Single) => Ok(true),
        (Some(None), Role::Sandbox) => Ok(false),
        // A member that asks for a namespace of its own gets it; containerd names the sandbox's.
        (Some(None), Role::Member { .. }) => Ok(true),
        (Some(Some(path)), Role::Member { .. }) if of_process(path, kind) => Ok(false),
        (Some(Some(_)), _) => Err(Refusal::unsupported(
            format!("the {kind} namespace of another container (--{kind} container:X)"),
            "the other container runs under another kernel",
            "leave it out, or put both containers into one pod",
        )),
        (None, _) => Err(Refusal::unsupported(
            format!("the host's {kind} namespace (--{kind} host)"),
            "the container runs under a kernel of its own",
            "leave it out, or run this container with runc",
        )),
    }
}

fn network(found: Option<Option<&Path>>, role: &Role) -> Result<NetworkPlan, Refusal> {
    match (found, role) {
        (Some(None), _) => Ok(NetworkPlan::New),
        (Some(Some(path)), Role::Single | Role::Sandbox) if of_process(path, "net") => {
            Err(Refusal::unsupported(
                "the network of another container (--network container:X)",
                "the other container's addresses belong to its own machine",
                "use a network both are attached to, or put both containers into one pod",
            ))
        }
        (Some(Some(path)), _) => {
            if !path.is_absolute() {
                return Err(Refusal::invalid(
                    "linux.namespaces",
                    "the network namespace's path must be absolute",
                ));
            }
            Ok(NetworkPlan::Join(path.to_owned()))
        }
        (None, _) => Err(Refusal::unsupported(
            "the host's network (--network host, hostNetwork)",
            "the machine has network interfaces of its own",
            "publish ports with -p, or run this container with runc",
        )),
    }
}

/// `/proc/<pid>/ns/<kind>`: a namespace of a process, that is of another container.
fn of_process(path: &Path, kind: &str) -> bool {
    let Some(rest) = path.to_str().and_then(|path| path.strip_prefix("/proc/")) else { return false };
    rest.split_once('/').is_some_and(|(pid, rest)| {
        !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) && rest == format!("ns/{kind}")
    })
}

#[cfg(test)]
#[path = "namespaces/tests.rs"]
mod tests;
