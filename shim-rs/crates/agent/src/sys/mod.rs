// SPDX-License-Identifier: Apache-2.0
//! The system calls that have no safe wrapper elsewhere, each wrapped to be safe to call.
//!
//! Owns all `unsafe` of the agent. Decides nothing: arguments go to the kernel as they come. Everything here relies
//! on the agent being one thread: between [`spawn`] and exec the child may allocate.
#![allow(unsafe_code)]

mod birth;
mod filters;
mod memory;
mod signals;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long, c_uint, c_void};
use tokio::io::unix::AsyncFd;

pub(crate) use birth::{execute, exit, spawn};
pub(crate) use filters::{
    attach_address_program, attach_device_program, filter_system_calls, load_address_program,
    load_device_program,
};
pub(crate) use memory::touch_free;
pub(crate) use signals::{IoSignals, child_signals, default_signals, kill, notice_all_signals, wait_for_io};

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`check`], for what gives a descriptor, a pid or flags.
fn check_int(result: impl Into<c_long>) -> io::Result<c_int> {
    check(result.into()).and_then(|result| c_int::try_from(result).map_err(io::Error::other))
}

/// Gives this process a namespace of its own for what cgroup it sees as the root.
pub(crate) fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: CLONE_NEWCGROUP changes no memory and no descriptors.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into())?;
    Ok(())
}

/// Puts this process into a network namespace of its own.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET changes no memory and no descriptors.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into())?;
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: c_uint) -> io::Result<()> {
    let (last, flag) = (c_uint::MAX, 4_u32); // CLOSE_RANGE_CLOEXEC
    // SAFETY: closes nothing now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flag) })?;
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
