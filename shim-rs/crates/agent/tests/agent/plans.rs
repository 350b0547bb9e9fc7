// SPDX-License-Identifier: Apache-2.0
//! Launch plans as the shim makes them of an engine's usual requests.

use boxlite_protocol::plan::mount::Kind;
use boxlite_protocol::plan::{LaunchPlan, Mount, Node, Process, Symlink};

const DOCKER_CAPABILITIES: u64 = 0xa804_25fb;

/// A plan of container "c" that runs `args`, with the mounts and nodes every engine asks for.
pub(crate) fn plan(args: &[&str]) -> LaunchPlan {
    let flags = libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV;
    LaunchPlan {
        container_id: "c".into(),
        namespaces: (libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP) as u64,
        hostname: "box".into(),
        rootfs: "c/rootfs".into(),
        mounts: vec![
            filesystem("proc", "/proc", flags, ""),
            filesystem("tmpfs", "/dev", libc::MS_NOSUID, "mode=755,size=65536k"),
            filesystem("devpts", "/dev/pts", flags & !libc::MS_NODEV, "newinstance,ptmxmode=0666,mode=0620"),
            filesystem("sysfs", "/sys", flags | libc::MS_RDONLY, ""),
            filesystem("tmpfs", "/dev/shm", flags, "mode=1777,size=65536k"),
        ],
        nodes: vec![
            node("/dev/null", 3),
            node("/dev/zero", 5),
            node("/dev/full", 7),
            node("/dev/urandom", 9),
        ],
        symlinks: vec![link("/dev/fd", "/proc/self/fd"), link("/dev/ptmx", "pts/ptmx")],
        process: Some(process(args)).into(),
        ..LaunchPlan::default()
    }
}

/// A process with all but a terminal.
pub(crate) fn process(args: &[&str]) -> Process {
    Process {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec!["PATH=/usr/bin:/bin".into(), "TERM=xterm".into()],
        cwd: "/".into(),
        stdin: true,
        stdout: true,
        stderr: true,
        cap_bounding: DOCKER_CAPABILITIES,
        cap_effective: DOCKER_CAPABILITIES,
        cap_permitted: DOCKER_CAPABILITIES,
        ..Process::default()
    }
}

pub(crate) fn filesystem(fstype: &str, destination: &str, flags: u64, data: &str) -> Mount {
    Mount {
        kind: Kind::FILESYSTEM.into(),
        source: fstype.into(),
        fstype: fstype.into(),
        destination: destination.into(),
        flags,
        data: data.into(),
        ..Mount::default()
    }
}

pub(crate) fn share(source: &str, destination: &str, flags: u64) -> Mount {
    Mount {
        kind: Kind::SHARE.into(),
        source: source.into(),
        destination: destination.into(),
        flags: flags | libc::MS_BIND,
        ..Mount::default()
    }
}

fn node(path: &str, minor: u32) -> Node {
    Node { path: path.into(), type_: libc::S_IFCHR, major: 1, minor, mode: 0o666, ..Node::default() }
}

fn link(path: &str, target: &str) -> Symlink {
    Symlink { path: path.into(), target: target.into(), ..Symlink::default() }
}
