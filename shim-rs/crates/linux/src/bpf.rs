// SPDX-License-Identifier: Apache-2.0
//! Programs for the kernel's two machines, as bytes: eight for each instruction. Pure.
//!
//! [`classic`] is what seccomp runs, [`extended`] what a cgroup and a network device do. Codes are those of linux/bpf_common.h and
//! linux/bpf.h, numbers in the host's byte order, which is the guest's. What a program decides is its caller's affair.

/// An instruction of either machine.
pub type Instruction = [u8; 8];

/// Classic BPF: `struct sock_filter`, over one accumulator.
pub mod classic {
    use super::Instruction;

    /// Load the word at this offset.
    pub const LD_W_ABS: u16 = 0x20;
    /// Jump over so many instructions.
    pub const JA: u16 = 0x05;
    /// Jump if equal.
    pub const JEQ: u16 = 0x15;
    /// Jump if greater.
    pub const JGT: u16 = 0x25;
    /// Jump if greater or equal.
    pub const JGE: u16 = 0x35;
    /// End with this value.
    pub const RET: u16 = 0x06;

    /// Offset of the system call's number in `struct seccomp_data` (linux/seccomp.h).
    pub const NUMBER_AT: u32 = 0;
    /// Offset of the architecture (`AUDIT_ARCH_*`) in `struct seccomp_data`.
    pub const ARCH_AT: u32 = 4;

    /// An instruction that compares with `value`, and jumps over so many.
    #[must_use]
    pub const fn jump(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
        let [c0, c1] = code.to_ne_bytes();
        let [v0, v1, v2, v3] = value.to_ne_bytes();
        [c0, c1, if_true, if_false, v0, v1, v2, v3]
    }

    /// An instruction that does not compare.
    #[must_use]
    pub const fn statement(code: u16, value: u32) -> Instruction {
        jump(code, value, 0, 0)
    }
}

/// eBPF: `struct bpf_insn`, over eleven registers of 64 bits.
pub mod extended {
    use super::Instruction;

    /// Load the word at this offset from where the source points.
    pub const LDX_MEM_W: u8 = 0x61;
    /// Store the source's word at this offset from where the destination points.
    pub const STX_MEM_W: u8 = 0x63;
    /// Copy a register.
    pub const MOV64_REG: u8 = 0xbf;
    /// Set a register.
    pub const MOV64_IMM: u8 = 0xb7;
    /// Set a register's lower half, and the upper to zero.
    pub const MOV32_IMM: u8 = 0xb4;
    /// Keep the bits of a mask.
    pub const AND64_IMM: u8 = 0x57;
    /// Shift to the right.
    pub const RSH64_IMM: u8 = 0x77;
    /// Jump over so many if equal.
    pub const JEQ_IMM: u8 = 0x15;
    /// Jump over so many if not equal.
    pub const JNE_IMM: u8 = 0x55;
    /// Jump over so many if the lower half is not equal.
    pub const JNE32_IMM: u8 = 0x56;
    /// Load the half word at this offset from where the source points.
    pub const LDX_MEM_H: u8 = 0x69;
    /// Load the half word at this offset of a packet whose context is in register 6 into register 0, turned to the host's
    /// byte order. Past the packet's end the program ends with 0.
    pub const LD_H_ABS: u8 = 0x28;
    /// Call the kernel's function of this number (`BPF_FUNC_*`): arguments from register 1 on, the answer in register 0.
    pub const CALL: u8 = 0x85;
    /// End with what register 0 holds.
    pub const EXIT: u8 = 0x95;

    /// An instruction; what a code does not use is 0.
    #[must_use]
    pub const fn instruction(
        code: u8,
        destination: u8,
        source: u8,
        offset: i16,
        immediate: i32,
    ) -> Instruction {
        let [o0, o1] = offset.to_ne_bytes();
        let [i0, i1, i2, i3] = immediate.to_ne_bytes();
        let registers = if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        };
        [code, registers, o0, o1, i0, i1, i2, i3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_laid_out_as_the_kernels_structures() {
        let filter = libc::sock_filter { code: classic::JGE, jt: 2, jf: 1, k: 0x4000_0001 };
        let bytes = classic::jump(classic::JGE, 0x4000_0001, 2, 1);
        assert_eq!(u16::from_ne_bytes([bytes[0], bytes[1]]), filter.code);
        assert_eq!((bytes[2], bytes[3]), (filter.jt, filter.jf));
        assert_eq!(u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]), filter.k);
        assert_eq!(classic::statement(classic::RET, 7), classic::jump(classic::RET, 7, 0, 0));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn registers_share_a_byte_and_numbers_may_be_negative() {
        use extended::{JNE_IMM, MOV64_REG, instruction};
        // r3 = r2
        assert_eq!(instruction(MOV64_REG, 3, 2, 0, 0), [0xbf, 0x23, 0, 0, 0, 0, 0, 0]);
        // if r4 != -8 goto -2
        assert_eq!(instruction(JNE_IMM, 4, 0, -2, -8), [0x55, 0x04, 0xfe, 0xff, 0xf8, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn classic_codes_are_those_of_the_c_library() {
        use libc::{BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
        for (ours, theirs) in [
            (classic::LD_W_ABS, BPF_LD | BPF_W | BPF_ABS),
            (classic::JA, BPF_JMP | BPF_JA),
            (classic::JEQ, BPF_JMP | BPF_JEQ | BPF_K),
            (classic::JGT, BPF_JMP | BPF_JGT | BPF_K),
            (classic::JGE, BPF_JMP | BPF_JGE | BPF_K),
            (classic::RET, BPF_RET | BPF_K),
        ] {
            assert_eq!(u32::from(ours), theirs);
        }
    }
}
