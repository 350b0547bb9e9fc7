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

const ENOSYS: u32 = 38;
const X32_BIT: u32 = 1 << 30;

// linux/bpf_common.h, linux/seccomp.h
const LD_W_ABS: u16 = 0x20;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const RET: u16 = 0x06;
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_KILL_THREAD: u32 = 0;

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
        filter.extend(statement(LD_W_ABS, OFFSET_ARCH));
        filter.extend(instruction(JEQ, section.audit_arch, 1, 0));
        filter.extend(statement(JA, over));
        filter.extend(body);
    }
    filter.extend(statement(RET, RET_KILL_THREAD));
    filter
}

fn body(section: &Section) -> Vec<u8> {
    let refused = statement(RET, RET_ERRNO | ENOSYS);
    let mut body = Vec::new();
    if section.with_x32 || section.largest.is_some() {
        body.extend(statement(LD_W_ABS, OFFSET_NUMBER));
    }
    if section.with_x32 {
        body.extend(instruction(JGE, X32_BIT, 0, 1));
        body.extend(refused);
    }
    if let Some(largest) = section.largest {
        // x32 numbers are above all others: where they are not in the profile, killing them is the program's task.
        let spared = if section.with_x32 { u32::MAX } else { X32_BIT };
        body.extend(instruction(JGE, spared, 2, 0));
        body.extend(instruction(JGT, largest, 0, 1));
        body.extend(refused);
    }
    body.extend(&section.program);
    body
}

fn statement(code: u16, value: u32) -> [u8; 8] {
    instruction(code, value, 0, 0)
}

/// struct sock_filter; the guest has the host's byte order.
fn instruction(code: u16, value: u32, if_true: u8, if_false: u8) -> [u8; 8] {
    let [c0, c1] = code.to_ne_bytes();
    let [v0, v1, v2, v3] = value.to_ne_bytes();
    [c0, c1, if_true, if_false, v0, v1, v2, v3]
}
