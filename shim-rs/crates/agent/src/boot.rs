// SPDX-License-Identifier: Apache-2.0
//! From the kernel's hand to a guest that containers can live in. PID 1 only.
//!
//! Order: a root that can be left (the initramfs cannot), the kernel's file systems, a console, cgroups, settings of the
//! kernel (its reserve of memory, its clockwork), and the port to the host. Nothing here is configured, and nothing of it differs between clones.

use std::fs;
use std::os::fd::OwnedFd;

use boxlite_linux::setting;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::error::{Fault, Trying};

const CGROUPS: &str = "/sys/fs/cgroup";
/// Memory kept for who cannot wait, in KiB.
const RESERVE: &str = "/proc/sys/vm/min_free_kbytes";
const PORTS: &str = "/sys/class/virtio-ports";
/// What the kernel does by the clock where nothing happens, turned down; see [`slow_down`].
const SLOWED: [(&str, &str); 2] = [
    // Memory is compacted when an allocation asks. kcompactd would look twice a second whether to do so ahead of that.
    ("/proc/sys/vm/compaction_proactiveness", "0"),
    // Seconds between two looks at counters of the CPUs, 1 otherwise. They wait for the CPU to be awake; but after a
    // task has run the scheduler wakes the CPU a second later, and with 1 here it finds one to run, time and again.
    ("/proc/sys/vm/stat_interval", "10"),
];

/// Prepares the guest.
pub(crate) fn prepare() -> Result<(), Fault> {
    // pivot_root refuses to leave an initramfs: the root is moved onto a tmpfs first.
    make_directory("/root")?;
    mount("tmpfs", "/root", "tmpfs", MountFlags::empty(), Some("mode=755"))?;
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    for (path, fstype, flags) in [
        ("/root/proc", "proc", quiet),
        ("/root/sys", "sysfs", quiet),
        ("/root/dev", "devtmpfs", MountFlags::NOSUID),
        ("/root/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV),
    ] {
        make_directory(path)?;
        mount(fstype, path, fstype, flags, None)?;
    }
    rustix::process::chdir("/root").trying(|| "chdir".to_owned())?;
    rustix::mount::mount_move(".", "/").trying(|| "move the root".to_owned())?;
    rustix::process::chroot(".").trying(|| "chroot".to_owned())?;
    rustix::process::chdir("/").trying(|| "chdir".to_owned())?;
    open_console()?;
    mount("cgroup2", CGROUPS, "cgroup2", quiet, None)?;
    enable_controllers()?;
    keep_reserve()?;
    slow_down()
}

/// The port the host named ours.
pub(crate) fn open_port() -> Result<OwnedFd, Fault> {
    let what = || format!("find port {}", boxlite_protocol::PORT_NAME);
    for entry in fs::read_dir(PORTS).trying(what)? {
        let entry = entry.trying(what)?;
        let name = fs::read(entry.path().join("name")).trying(what)?;
        if name.trim_ascii_end() != boxlite_protocol::PORT_NAME.as_bytes() {
            continue;
        }
        let device = std::path::Path::new("/dev").join(entry.file_name());
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        return rustix::fs::open(&device, flags, Mode::empty()).trying(|| "open port".to_owned());
    }
    Err(Fault::refused(format!("the machine has no port {}", boxlite_protocol::PORT_NAME)))
}

fn make_directory(path: &str) -> Result<(), Fault> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Fault::system(path, error)),
    }
}

fn mount(
    source: &str,
    target: &str,
    fstype: &str,
    flags: MountFlags,
    data: Option<&str>,
) -> Result<(), Fault> {
    let data = data.and_then(|data| std::ffi::CString::new(data).ok());
    rustix::mount::mount(source, target, fstype, flags, data.as_deref())
        .trying(|| format!("mount {fstype} at {target}"))
}

/// The kernel gave PID 1 a console only when the initramfs has the node.
fn open_console() -> Result<(), Fault> {
    let what = || "open /dev/console".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let console = rustix::fs::open("/dev/console", flags, Mode::empty()).trying(what)?;
    rustix::stdio::dup2_stdin(&console).trying(what)?;
    rustix::stdio::dup2_stdout(&console).trying(what)?;
    rustix::stdio::dup2_stderr(&console).trying(what)
}

/// Lets containers' cgroups have every controller the kernel has.
fn enable_controllers() -> Result<(), Fault> {
    let what = || "enable cgroup controllers".to_owned();
    let controllers = fs::read_to_string(format!("{CGROUPS}/cgroup.controllers")).trying(what)?;
    let mut enable = String::new();
    for controller in controllers.split_whitespace() {
        enable.push('+');
        enable.push_str(controller);
        enable.push(' ');
    }
    fs::write(format!("{CGROUPS}/cgroup.subtree_control"), enable).trying(what)
}

/// Keeps as much memory for who cannot wait as the kernel would for all the memory there is: it reckoned with what it
/// booted in, and does not again when it takes in more.
fn keep_reserve() -> Result<(), Fault> {
    let what = || format!("raise {RESERVE}");
    let memory = rustix::system::sysinfo();
    // The kernel's own rule (init_per_zone_wmark_min).
    let reserve = (memory.totalram * u64::from(memory.mem_unit) / 1024 * 16).isqrt();
    let current = fs::read_to_string(RESERVE).trying(what)?;
    if current.trim_ascii_end().parse::<u64>().is_ok_and(|current| current >= reserve) {
        return Ok(());
    }
    setting::write(RESERVE, reserve.to_string().as_bytes()).trying(what)
}

/// Lets an idle guest sleep: each wake-up costs the host. A container that may write these settings can have others.
fn slow_down() -> Result<(), Fault> {
    for (path, value) in SLOWED {
        match setting::write(path, value.as_bytes()) {
            // A kernel of other options, which a user may bring, need not have it.
            Err(Errno::NOENT) => {}
            written => written.trying(|| format!("write {path}"))?,
        }
    }
    Ok(())
}
