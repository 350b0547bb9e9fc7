// SPDX-License-Identifier: Apache-2.0
//! The daemon that serves one directory to one machine.
//!
//! It is always confined (own namespaces, syscall filter, few capabilities) and never given a path to listen
//! at: we bind a socket, connect to it, remove its name, and hand over the listening end. The daemon finds
//! one connection waiting, and nobody else can make another. It ends by itself when the machine goes.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::Command,
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::Resource,
};

use crate::{error::VmmError, process::Process};

/// The number the listening socket has in the daemon.
const LISTENER: i32 = 3;
/// Open files one guest may make the daemon hold; each file in the guest's cache takes one.
const NOFILE: u64 = 1_000_000;

/// What to serve, and with what.
#[derive(Debug, Clone)]
pub struct VirtiofsdConfig {
    /// The virtiofsd program, absolute.
    pub binary: PathBuf,
    /// Directory to serve, as the calling thread's mount namespace names it. It must not hold a comma.
    pub directory: PathBuf,
    /// Directory that only root can enter, where the socket has a name for an instant.
    pub socket_directory: PathBuf,
}

/// Starts the daemon and returns it with the connected socket for [`crate::Share::socket`].
///
/// Blocking and quick; nothing is awaited, the daemon answers when it is up. It inherits the calling thread's
/// namespaces and cgroup. Needs a current tokio runtime, as [`Process::spawn`] does. The process returned
/// stays outside the daemon's pid namespace and ends with it.
///
/// # Errors
/// [`VmmError::ProgramMissing`], [`VmmError::Spawn`] or [`VmmError::Host`]. Nothing is left behind. A daemon
/// that gives up later closes the socket: QEMU then ends, and [`Process::stderr`] holds the reason.
pub fn launch(config: &VirtiofsdConfig) -> Result<(Process, OwnedFd), VmmError> {
    let (listener, connected) = connected_listener(&config.socket_directory)
        .map_err(|source| VmmError::Host { action: "make the virtiofs socket", source })?;
    let limit = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(NOFILE);
    let mut command = Command::new(&config.binary);
    command.args(arguments(&config.directory, limit)).env_clear();
    command.fd_mappings(vec![FdMapping { parent_fd: listener, child_fd: LISTENER }]).map_err(|source| {
        VmmError::Host { action: "map file descriptors", source: io::Error::other(source) }
    })?;
    Ok((Process::spawn(command)?, connected))
}

/// The daemon's command line. Pure. `nofile` is the hard limit of this process, which may not be exceeded
/// without CAP_SYS_RESOURCE.
fn arguments(directory: &Path, nofile: u64) -> Vec<OsString> {
    let mut shared = OsString::from("--shared-dir=");
    shared.push(directory);
    vec![
        format!("--fd={LISTENER}").into(),
        shared,
        // Own mount, pid and network namespaces, with the directory as the root of all it can name.
        "--sandbox=namespace".into(),
        "--seccomp=kill".into(),
        // The guest must see where one file system ends and the next begins: inode numbers repeat.
        "--announce-submounts".into(),
        // As on the host: file capabilities, user attributes and access lists work.
        "--xattr".into(),
        "--posix-acl".into(),
        // The host may change files too (volumes, docker cp): seen by the guest within a second.
        "--cache=auto".into(),
        // File handles would need CAP_DAC_READ_SEARCH, which opens any inode of a file system.
        "--inode-file-handles=never".into(),
        format!("--rlimit-nofile={}", nofile.min(NOFILE)).into(),
        "--log-level=warn".into(),
    ]
}

/// A listening socket with one connection waiting in it, and the other end of that connection. Nameless.
fn connected_listener(directory: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let directory = rustix::fs::openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Through the descriptor: a socket's path may not exceed 107 bytes, directories' do.
    let name = format!(".virtiofsd.{}", unique());
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", std::os::fd::AsRawFd::as_raw_fd(&directory)));
    let address = SocketAddrUnix::new(path.as_os_str().as_bytes())?;
    let socket =
        || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (listener, connected) = (socket()?, socket()?);
    // On Linux a socket's mode before bind is the mode its name gets: root alone may connect.
    rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&listener, &address)?;
    let joined = rustix::net::listen(&listener, 0).and_then(|()| rustix::net::connect(&connected, &address));
    rustix::fs::unlinkat(&directory, name.as_str(), AtFlags::empty())?;
    joined?;
    Ok((listener, connected))
}

/// Differs for each call in this process; the directory is this process's own.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
