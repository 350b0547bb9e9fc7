// SPDX-License-Identifier: Apache-2.0
//! Joins the programs of the architectures into one filter: what libseccomp makes of several at once takes ten times
//! as long to make, and each start waits for it.
//!
//! ```text
//! load architecture; not this one: jump to the next section
//!     load number; x32: ENOSYS; above the largest the profile names: ENOSYS
//!     the architecture's program, which returns
//! … the next section …
//! kill
//! ```
//!
//! ENOSYS for numbers above the profile's: they belong to system calls younger than the profile, or than the host's
//! libseccomp. The default error would be taken for a denial, where ENOSYS makes C libraries use the older call. runc
//! does the same. The guest's kernel has no x32, so that is its answer there too.

use boxlite_linux::bpf::classic::{ARCH_AT, JA, JEQ, JGE, JGT, LD_W_ABS, NUMBER_AT, RET, jump, statement};
use libc::{SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_THREAD};

const ENOSYS: u32 = 38;
const X32_BIT: u32 = 1 << 30;

/// One architecture's part of a filter.
pub(super) struct Section {
    /// `AUDIT_ARCH_*` (linux/audit.h).
    pub(super) audit_arch: u32,
    /// Answer ENOSYS to numbers above this one.
    pub(super) largest: Option<u32>,
    /// Answer ENOSYS to calls of the x32 ABI, which share the architecture of x86_64.
    pub(super) with_x32: bool,
    /// A whole filter for this architecture.
    pub(super) program: Vec<u8>,
}

/// The filter of all sections.
pub(super) fn join(sections: &[Section]) -> Vec<u8> {
    let mut filter = Vec::new();
    for section in sections {
        let body = body(section);
        // A filter too long for the jump is too long for the kernel, and refused by the caller.
        let over = u32::try_from(body.len() / 8).unwrap_or(u32::MAX);
        filter.extend(statement(LD_W_ABS, ARCH_AT));
        filter.extend(jump(JEQ, section.audit_arch, 1, 0));
        filter.extend(statement(JA, over));
        filter.extend(body);
    }
    filter.extend(statement(RET, SECCOMP_RET_KILL_THREAD));
    filter
}

fn body(section: &Section) -> Vec<u8> {
    let refused = statement(RET, SECCOMP_RET_ERRNO | ENOSYS);
    let mut body = Vec::new();
    if section.with_x32 || section.largest.is_some() {
        body.extend(statement(LD_W_ABS, NUMBER_AT));
    }
    if section.with_x32 {
        body.extend(jump(JGE, X32_BIT, 0, 1));
        body.extend(refused);
    }
    if let Some(largest) = section.largest {
        // x32 numbers are above all others: where they are not in the profile, killing them is the program's task.
        let spared = if section.with_x32 { u32::MAX } else { X32_BIT };
        body.extend(jump(JGE, spared, 2, 0));
        body.extend(jump(JGT, largest, 0, 1));
        body.extend(refused);
    }
    body.extend(&section.program);
    body
}
