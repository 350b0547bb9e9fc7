// SPDX-License-Identifier: Apache-2.0
//! Programs for the kernel: seccomp filters and the devices of a cgroup. The host has compiled them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{check, check_int};

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
    name: [u8; 16],
    interface: u32,
    /// `enum bpf_attach_type`; 0 for kinds that have one place only.
    expected_attach: u32,
}

/// `union bpf_attr` of bpf(2) as BPF_PROG_ATTACH reads it.
#[repr(C)]
struct AttachProgram {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a BPF_PROG_TYPE_CGROUP_DEVICE program (`struct bpf_insn`, 8 bytes each).
pub(crate) fn load_device_program(program: &[u8]) -> io::Result<OwnedFd> {
    load(15, 0, program)
}

/// Has a loaded program decide for a cgroup, beside those above it.
pub(crate) fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    attach(6, cgroup, program) // BPF_CGROUP_DEVICE
}

/// Loads a BPF_PROG_TYPE_CGROUP_SOCK_ADDR program for one hook (`BPF_CGROUP_INET4_CONNECT` and the like).
pub(crate) fn load_address_program(hook: u32, program: &[u8]) -> io::Result<OwnedFd> {
    load(18, hook, program)
}

/// Has a loaded program decide at `hook` for a cgroup and all below it.
pub(crate) fn attach_address_program(
    hook: u32,
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    attach(hook, cgroup, program)
}

fn load(kind: u32, expected_attach: u32, program: &[u8]) -> io::Result<OwnedFd> {
    let instructions: Vec<u64> = program
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default()))
        .collect();
    let load = LoadProgram {
        kind,
        instructions: u32::try_from(instructions.len())
            .map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        program: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        expected_attach,
        ..LoadProgram::default()
    };
    // SAFETY: BPF_PROG_LOAD (5) copies the program and the licence, both alive; the descriptor is new.
    unsafe {
        let fd = check_int(libc::syscall(libc::SYS_bpf, 5, &raw const load, size_of::<LoadProgram>()))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn attach(hook: u32, cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attach = AttachProgram {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: hook,
        flags: 2, // BPF_F_ALLOW_MULTI
    };
    // SAFETY: BPF_PROG_ATTACH (8) reads the structure only.
    check(unsafe { libc::syscall(libc::SYS_bpf, 8, &raw const attach, size_of::<AttachProgram>()) })?;
    Ok(())
}
