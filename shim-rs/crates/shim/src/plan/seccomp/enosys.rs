// SPDX-License-Identifier: Apache-2.0
//! The first instructions of a filter: ENOSYS for system calls younger than the profile.
//!
//! Per architecture: load the number, compare it with the largest one the profile names, answer if it is above. On
//! x86_64 numbers from 2^30 on are those of x32, with a largest one of their own.

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action};

const ENOSYS: u32 = 38;
const X32_BIT: u32 = 1 << 30;

// linux/bpf_common.h, linux/seccomp.h
const LD_W_ABS: u16 = 0x20;
const JMP_JEQ: u16 = 0x15;
const JMP_JGT: u16 = 0x25;
const JMP_JGE: u16 = 0x35;
const RET: u16 = 0x06;
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const RET_ERRNO: u32 = 0x0005_0000;

/// The instructions, or none where the profile lets unknown calls through or says ENOSYS itself.
pub(super) fn prefix(seccomp: &LinuxSeccomp, architectures: &[ScmpArch]) -> Vec<u8> {
    let permissive = matches!(
        seccomp.default_action(),
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
    );
    if permissive || seccomp.default_errno_ret() == Some(ENOSYS) {
        return Vec::new();
    }
    let largest = |architecture| largest(seccomp, architecture).filter(|_| architectures.contains(&architecture));
    let mut program = Vec::new();
    if let Some(largest) = largest(ScmpArch::X86) {
        program.extend(plain(0x4000_0003, largest));
    }
    if let Some(native) = largest(ScmpArch::X8664) {
        // Without x32 in the profile its calls are the filter's to deny.
        program.extend(with_x32(native, largest(ScmpArch::X32).unwrap_or(u32::MAX)));
    }
    if let Some(largest) = largest(ScmpArch::Arm) {
        program.extend(plain(0x4000_0028, largest));
    }
    if let Some(largest) = largest(ScmpArch::Aarch64) {
        program.extend(plain(0xc000_00b7, largest));
    }
    program.concat()
}

fn largest(seccomp: &LinuxSeccomp, architecture: ScmpArch) -> Option<u32> {
    let names = seccomp.syscalls().iter().flatten().flat_map(|call| call.names());
    let numbers = names.filter_map(|name| ScmpSyscall::from_name_by_arch(name, architecture).ok());
    numbers.filter_map(|number| u32::try_from(number.as_raw_syscall()).ok()).max()
}

fn plain(audit_arch: u32, largest: u32) -> Vec<[u8; 8]> {
    vec![
        statement(LD_W_ABS, OFFSET_ARCH),
        jump(JMP_JEQ, audit_arch, 0, 3),
        statement(LD_W_ABS, OFFSET_NUMBER),
        jump(JMP_JGT, largest, 0, 1),
        statement(RET, RET_ERRNO | ENOSYS),
    ]
}

fn with_x32(largest: u32, largest_x32: u32) -> Vec<[u8; 8]> {
    vec![
        statement(LD_W_ABS, OFFSET_ARCH),
        jump(JMP_JEQ, 0xc000_003e, 0, 5),
        statement(LD_W_ABS, OFFSET_NUMBER),
        jump(JMP_JGE, X32_BIT, 0, 1),
        jump(JMP_JGT, largest_x32, 1, 2),
        jump(JMP_JGT, largest, 0, 1),
        statement(RET, RET_ERRNO | ENOSYS),
    ]
}

fn statement(code: u16, value: u32) -> [u8; 8] {
    jump(code, value, 0, 0)
}

/// struct sock_filter; the guest has the host's byte order.
fn jump(code: u16, value: u32, if_true: u8, if_false: u8) -> [u8; 8] {
    let [c0, c1] = code.to_ne_bytes();
    let [v0, v1, v2, v3] = value.to_ne_bytes();
    [c0, c1, if_true, if_false, v0, v1, v2, v3]
}
