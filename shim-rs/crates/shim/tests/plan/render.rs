// SPDX-License-Identifier: Apache-2.0
//! A plan as text that a reviewer can read: one fact a line, flags by name, programs as length and digest.

use std::fmt::Write;

use boxlite_protocol::plan::{LaunchPlan, Mount, Node, Process};
use boxlite_shim::plan::{CompiledTask, HostHooks, Refusal};

const MOUNT_FLAGS: &[(u64, &str)] = &[
    (1, "ro"),
    (1 << 1, "nosuid"),
    (1 << 2, "nodev"),
    (1 << 3, "noexec"),
    (1 << 12, "bind"),
    (1 << 14, "rec"),
    (1 << 17, "unbindable"),
    (1 << 18, "private"),
    (1 << 19, "slave"),
    (1 << 20, "shared"),
    (1 << 21, "relatime"),
    (1 << 24, "strictatime"),
];

const NAMESPACES: &[(u64, &str)] = &[
    (0x0002_0000, "mount"),
    (0x0200_0000, "cgroup"),
    (0x0400_0000, "uts"),
    (0x0800_0000, "ipc"),
    (0x2000_0000, "pid"),
];

/// The plan, or the refusal's words.
pub(crate) fn outcome(outcome: &Result<CompiledTask, Refusal>) -> String {
    match outcome {
        Ok(task) => lines(task).concat(),
        Err(refusal @ Refusal::Invalid { .. }) => format!("refused as invalid: {refusal}\n"),
        Err(refusal) => format!("refused: {refusal}\n"),
    }
}

fn lines(task: &CompiledTask) -> Vec<String> {
    let mut lines = vec![
        format!("role {:?}\n", task.role),
        format!(
            "size {} of {} MiB, {} vcpus, template {:?}\n",
            task.size.memory_mib, task.size.room_mib, task.size.vcpus, task.template
        ),
        format!("network {:?}\n", task.network),
        format!("host cgroup {:?}, shares {:?}\n", task.cgroups_path, task.cpu_shares),
    ];
    lines.extend(task.warnings.iter().map(|warning| format!("warning {warning}\n")));
    lines.extend(hooks(&task.hooks));
    for item in &task.share {
        let mode = match (item.readonly, item.readonly_recursive) {
            (_, true) => "rro",
            (true, false) => "ro",
            (false, false) => "rw",
        };
        let depth = if item.recursive { " recursive" } else { "" };
        lines.push(format!("share {} = {} {mode}{depth}\n", item.name, item.source.display()));
    }
    lines.extend(task.relays.iter().map(|item| format!("way {} = {}\n", item.way, item.source.display())));
    lines.extend(launch(&task.launch));
    lines
}

fn hooks(hooks: &HostHooks) -> Vec<String> {
    let lists = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    let mut lines = Vec::new();
    for (name, list) in lists {
        for hook in list {
            lines.push(format!(
                "hook {name} {} {:?}\n",
                hook.path().display(),
                hook.args().clone().unwrap_or_default()
            ));
        }
    }
    lines
}

fn launch(plan: &LaunchPlan) -> Vec<String> {
    let mut lines = vec![
        format!("namespaces {}\n", flags(plan.namespaces, NAMESPACES)),
        format!("hostname {:?}, domainname {:?}\n", plan.hostname, plan.domainname),
        format!(
            "rootfs {}{}, propagation {}\n",
            plan.rootfs,
            if plan.rootfs_readonly { " read-only" } else { "" },
            flags(plan.rootfs_propagation, MOUNT_FLAGS)
        ),
    ];
    lines.extend(plan.mounts.iter().map(mount));
    lines.extend(plan.nodes.iter().map(node));
    lines.extend(plan.symlinks.iter().map(|link| format!("link {} -> {}\n", link.path, link.target)));
    lines.extend(plan.sysctls.iter().map(|sysctl| format!("sysctl {} = {:?}\n", sysctl.path, sysctl.value)));
    lines.push(format!("masked {}\n", plan.masked_paths.join(" ")));
    lines.push(format!("readonly {}\n", plan.readonly_paths.join(" ")));
    for file in &plan.cgroup.files {
        lines.push(format!("cgroup {} = {:?}\n", file.name, file.value));
    }
    lines.push(format!("device program {}\n", program(&plan.cgroup.device_program)));
    lines.extend(process(&plan.process));
    lines
}

fn mount(mount: &Mount) -> String {
    let kind =
        mount.kind.enum_value().map_or_else(|_| "?".to_owned(), |kind| format!("{kind:?}").to_lowercase());
    let mut line = format!("mount {} {kind} {} {}", mount.destination, mount.source, mount.fstype);
    let _ = write!(line, " [{}] {:?}", flags(mount.flags, MOUNT_FLAGS), mount.data);
    for propagation in &mount.propagation {
        let _ = write!(line, " then {}", flags(*propagation, MOUNT_FLAGS));
    }
    if mount.recursive_attr != 0 {
        let _ = write!(line, " recursive attributes {:#x}", mount.recursive_attr);
    }
    if mount.copy_up {
        line.push_str(" copy up");
    }
    line.push('\n');
    line
}

fn node(node: &Node) -> String {
    let kind = match node.type_ {
        0o020_000 => 'c',
        0o060_000 => 'b',
        _ => 'p',
    };
    let Node { path, major, minor, mode, uid, gid, .. } = node;
    format!("node {path} {kind} {major}:{minor} {mode:04o} {uid}:{gid}\n")
}

fn process(process: &Process) -> Vec<String> {
    let Process { args, env, cwd, uid, gid, additional_gids, umask, .. } = process;
    let mut lines = vec![
        format!("args {args:?}\n"),
        format!("env {env:?}, home from passwd {}\n", process.home_from_passwd),
        format!("cwd {cwd}, user {uid}:{gid} {additional_gids:?}, umask {:04o}\n", umask.unwrap_or(0)),
        format!("terminal {} {}x{}\n", process.terminal, process.rows, process.columns),
        format!("streams {} {} {}\n", process.stdin, process.stdout, process.stderr),
    ];
    let sets = [
        ("bounding", process.cap_bounding),
        ("effective", process.cap_effective),
        ("permitted", process.cap_permitted),
        ("inheritable", process.cap_inheritable),
        ("ambient", process.cap_ambient),
    ];
    lines.extend(sets.map(|(name, mask)| format!("capabilities {name} {mask:#x}\n")));
    for limit in &process.rlimits {
        lines.push(format!("rlimit {} {} {}\n", limit.resource, limit.soft, limit.hard));
    }
    let Process { oom_score_adj, nice, no_new_privileges, seccomp_flags, .. } = process;
    lines.push(format!(
        "oom_score_adj {oom_score_adj:?}, nice {nice:?}, no_new_privileges {no_new_privileges}\n"
    ));
    lines.push(format!("seccomp {}, flags {seccomp_flags:#x}\n", program_presence(&process.seccomp)));
    lines
}

/// Bits by name, the rest as a number.
fn flags(bits: u64, names: &[(u64, &str)]) -> String {
    let mut left = bits;
    let mut words = Vec::new();
    for (bit, name) in names.iter().filter(|(bit, _)| bits & bit != 0) {
        left &= !bit;
        words.push((*name).to_owned());
    }
    if left != 0 {
        words.push(format!("{left:#x}"));
    }
    words.join(",")
}

/// Length and FNV-1a digest: enough to see that it changed.
fn program(bytes: &[u8]) -> String {
    let digest = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    if bytes.is_empty() { "none".into() } else { format!("{} instructions, {digest:016x}", bytes.len() / 8) }
}

/// What libseccomp makes of a profile differs from version to version: that there is a filter is what can be told.
/// The unit tests of the module run the filters.
fn program_presence(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() { "none" } else { "filter" }
}
