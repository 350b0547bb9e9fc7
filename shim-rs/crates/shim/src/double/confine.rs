// SPDX-License-Identifier: Apache-2.0
//! What a double gives up, and the calls for it that have no safe wrapper.
#![allow(unsafe_code, reason = "signalfd, sigprocmask and seccomp have no wrappers here")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use boxlite_linux::bpf::classic::{ARCH_AT, JEQ, LD_W_ABS, NUMBER_AT, RET};
use libc::sock_filter;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags, unshare_unsafe,
};

/// Numbers of capabilities that a kernel of today, and of some years, may know.
const CAPABILITIES: u32 = 64;

/// All a double ever does from then on. `restart_syscall` is how a wait goes on after SIGCONT.
const ALLOWED: [i64; 7] = [
    libc::SYS_ppoll,
    libc::SYS_poll,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// AUDIT_ARCH_X86_64 of linux/audit.h.
const ARCH: u32 = 0xc000_003e;

/// Blocks every signal, so that the kernel keeps it for the descriptor that is returned. SIGKILL and SIGSTOP cannot be.
pub(super) fn all_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is filled before it is read, both calls only read it, and the descriptor is new.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut set);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// The number of a signal that has arrived.
pub(super) fn next_signal(signals: &OwnedFd) -> io::Result<u8> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    rustix::io::read(signals, &mut info)?;
    // `ssi_signo`, the first field; no signal has a number over 64.
    Ok(info[0])
}

/// Closes every descriptor from `first` on: whoever started the shim may have left some open.
pub(super) fn close_from(first: i32) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // SAFETY: called before anything is opened, so no descriptor of this process is owned by a value of it.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Copies the mounts: what is changed from now on is this process's alone.
pub(super) fn own_mounts() -> Result<(), Errno> {
    // SAFETY: the flag leaves the table of file descriptors shared, which is what the function is unsafe for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
}

/// Becomes `uid` and `gid`, in no other group, without a capability and without a way to one.
pub(super) fn drop_ids(uid: Uid, gid: Gid) -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)?;
    // Locked: ids that change give nothing back, root's neither.
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    rustix::thread::set_capabilities_secure_bits(bits)?;
    for number in 0..CAPABILITIES {
        let Some(capability) = 1_u64.checked_shl(number).map(CapabilitySet::from_bits_retain) else { break };
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // This kernel does not know it, and no later one.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    rustix::thread::clear_ambient_capability_set()
}

/// Any call but the few of [`ALLOWED`] kills the process.
pub(super) fn allow_little() -> io::Result<()> {
    let filter = filter();
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `length` instructions from a buffer of that many.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Pure: the program.
fn filter() -> Vec<sock_filter> {
    let load = |k| sock_filter { code: LD_W_ABS, jt: 0, jf: 0, k };
    let answer = |k| sock_filter { code: RET, jt: 0, jf: 0, k };
    let jump = |k, jt, jf| sock_filter { code: JEQ, jt, jf, k };
    // Another architecture's numbers mean other calls.
    let mut program =
        vec![load(ARCH_AT), jump(ARCH, 1, 0), answer(libc::SECCOMP_RET_KILL_PROCESS), load(NUMBER_AT)];
    for number in ALLOWED {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        program.extend([jump(number, 0, 1), answer(libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_kills() {
        let program = filter();
        let last = program.last().unwrap();
        assert_eq!((last.code, last.k), (6, libc::SECCOMP_RET_KILL_PROCESS));
        let allowed = program.iter().filter(|step| step.k == libc::SECCOMP_RET_ALLOW).count();
        assert_eq!(allowed, ALLOWED.len());
    }
}
