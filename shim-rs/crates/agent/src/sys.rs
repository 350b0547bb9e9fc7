// SPDX-License-Identifier: Apache-2.0
//! The system calls that have no safe wrapper elsewhere, each wrapped to be safe to call.
//!
//! Owns all `unsafe` of the agent. Decides nothing: arguments go to the kernel as they come. Everything here relies
//! on the agent being one thread: between [`spawn`] and exec the child may allocate.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long, c_uint, c_void};
use tokio::io::unix::AsyncFd;

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `struct clone_args` of clone3(2), version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Ends a child that unwinds instead of returning into the parent's code.
struct NeverReturn;

impl Drop for NeverReturn {
    fn drop(&mut self) {
        exit(1);
    }
}

/// Starts a child with `CLONE_NEW*` flags, in `cgroup` when given, that runs `life` and ends with what it returns.
/// The parent gets its pid and pidfd.
///
/// # Errors
/// clone3(2)'s.
pub(crate) fn spawn(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    life: impl FnOnce() -> i32,
) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has a copy of this one thread's memory and goes on behind this call.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) })?;
    if pid == 0 {
        let guard = NeverReturn;
        let status = life();
        std::mem::forget(guard);
        exit(status);
    }
    // SAFETY: the kernel stored a new descriptor that nobody else knows.
    Ok((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Ends this process at once, running nothing.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// Replaces this process; comes back only with the reason why not.
pub(crate) fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |strings: &[CString]| {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: both lists end with a null pointer and outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Undoes what the agent did to its signals: none blocked, none ignored.
pub(crate) fn default_signals() {
    // SAFETY: an empty set and default actions are valid; the calls cannot fail for these signals.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn signal_set(signal: c_int) -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        set
    }
}

/// Blocks SIGCHLD and gives a descriptor that is readable while one is pending.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    let set = signal_set(libc::SIGCHLD);
    // SAFETY: the set is valid; the descriptor is new.
    unsafe {
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Asks for SIGIO when something happens on `fd`, and blocks it for [`wait_for_io`].
pub(crate) fn request_io_signal(fd: BorrowedFd<'_>) -> io::Result<()> {
    let set = signal_set(libc::SIGIO);
    // SAFETY: plain calls on a descriptor the caller holds.
    unsafe {
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETOWN, libc::getpid()).into())?;
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL).into())? as c_int;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_ASYNC).into())?;
    }
    Ok(())
}

/// Sleeps until a SIGIO is pending and takes it.
pub(crate) fn wait_for_io() {
    let set = signal_set(libc::SIGIO);
    // SAFETY: the set is valid; an interruption only means to look again.
    unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
}

/// pidfd_send_signal(2); any number, real-time ones too.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    let none: *const c_void = std::ptr::null();
    // SAFETY: the kernel reads no memory of ours.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) })?;
    Ok(())
}

/// kill(2).
pub(crate) fn kill(pid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}

/// Gives this process a namespace of its own for what cgroup it sees as the root.
pub(crate) fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: CLONE_NEWCGROUP changes no memory and no descriptors.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into())?;
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: c_uint) -> io::Result<()> {
    let (last, flag) = (c_uint::MAX, 4_u32); // CLOSE_RANGE_CLOEXEC
    // SAFETY: closes nothing now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flag) })?;
    Ok(())
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountAttributes {
    /// MOUNT_ATTR_* to set.
    pub set: u64,
    /// MOUNT_ATTR_* to clear first.
    pub clear: u64,
    /// MS_SHARED, ... or 0.
    pub propagation: u64,
    /// User namespace for an id-mapped mount; unused.
    pub user_namespace: u64,
}

/// mount_setattr(2) on the mount `fd` is the root of, and with `recursive` on all below it.
pub(crate) fn set_mount_attributes(
    fd: BorrowedFd<'_>,
    recursive: bool,
    attributes: MountAttributes,
) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure outlives the call and its size is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })?;
    Ok(())
}

/// `struct rlimit64` of prlimit64(2), for this process. `resource` is a RLIMIT_*.
pub(crate) fn limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none: *mut c_void = std::ptr::null_mut();
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, none) })?;
    Ok(())
}

/// Installs a seccomp filter. `program` is a list of `struct sock_filter`, 8 bytes each; `flags` are
/// SECCOMP_FILTER_FLAG_*.
pub(crate) fn filter_system_calls(program: &[u8], flags: u32) -> io::Result<()> {
    // An own copy, because the bytes of a message need not lie where a sock_filter may.
    let instructions: Vec<u64> = program
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default()))
        .collect();
    let length = u16::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `length` instructions from a buffer of that many.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    Ok(())
}

/// `union bpf_attr` of bpf(2) as BPF_PROG_LOAD reads it.
#[repr(C)]
#[derive(Default)]
struct LoadProgram {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// `union bpf_attr` of bpf(2) as BPF_PROG_ATTACH reads it.
#[repr(C)]
struct AttachProgram {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a BPF_PROG_TYPE_CGROUP_DEVICE program (`struct bpf_insn`, 8 bytes each) and attaches it to a cgroup.
pub(crate) fn attach_device_program(cgroup: BorrowedFd<'_>, program: &[u8]) -> io::Result<()> {
    let instructions: Vec<u64> = program
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default()))
        .collect();
    let load = LoadProgram {
        kind: 15, // BPF_PROG_TYPE_CGROUP_DEVICE
        instructions: u32::try_from(instructions.len())
            .map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        program: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadProgram::default()
    };
    // SAFETY: BPF_PROG_LOAD (5) copies the program and the licence, both alive; the descriptor is new.
    let loaded = unsafe {
        let fd = check(libc::syscall(libc::SYS_bpf, 5, &raw const load, size_of::<LoadProgram>()))?;
        OwnedFd::from_raw_fd(fd as RawFd)
    };
    let attach = AttachProgram {
        target: cgroup.as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        kind: 6,  // BPF_CGROUP_DEVICE
        flags: 2, // BPF_F_ALLOW_MULTI
    };
    // SAFETY: BPF_PROG_ATTACH (8) reads the structure only.
    check(unsafe { libc::syscall(libc::SYS_bpf, 8, &raw const attach, size_of::<AttachProgram>()) })?;
    Ok(())
}

/// Credits `seed` to the kernel's random number generator and reseeds it from there. `random` is /dev/urandom.
pub(crate) fn add_entropy(random: BorrowedFd<'_>, seed: &[u8]) -> io::Result<()> {
    const ADD: u64 = 0x4008_5203; // RNDADDENTROPY
    const RESEED: u64 = 0x5207; // RNDRESEEDCRNG
    let length = u32::try_from(seed.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // `struct rand_pool_info`: entropy in bits, size in bytes, the bytes.
    let mut pool = Vec::with_capacity(8 + seed.len());
    pool.extend_from_slice(&length.saturating_mul(8).to_ne_bytes());
    pool.extend_from_slice(&length.to_ne_bytes());
    pool.extend_from_slice(seed);
    // SAFETY: the kernel reads the header and as many bytes as it says, which the buffer has.
    unsafe {
        check(libc::ioctl(random.as_raw_fd(), ADD as _, pool.as_ptr()).into())?;
        check(libc::ioctl(random.as_raw_fd(), RESEED as _).into())?;
    }
    Ok(())
}

/// Takes over a descriptor this process inherited.
///
/// # Errors
/// It is not open.
pub(crate) fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only looks; the descriptor was named to us by who started us, for us to own.
    unsafe {
        check(libc::fcntl(fd, libc::F_GETFD).into())?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Hands a non-blocking descriptor to the runtime.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the OwnedFd owns an open descriptor and is neither replaced nor closed while the AsyncFd holds it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
