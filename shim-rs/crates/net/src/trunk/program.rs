// SPDX-License-Identifier: Apache-2.0
//! What the kernel does with each frame of a shared tap and of the links behind it, as instructions. Pure.
//!
//! A program gets a `struct __sk_buff` (linux/bpf.h) in register 1 and answers with a `TC_ACT_*`. The kernel has taken
//! the outermost tag off a frame by then and keeps it beside, in `vlan_tci`.

use std::num::NonZeroU8;

use boxlite_linux::bpf::Instruction;
use boxlite_linux::bpf::extended::{
    AND64_IMM, CALL, EXIT, JEQ_IMM, LD_H_ABS, LDX_MEM_H, LDX_MEM_W, MOV64_IMM, MOV64_REG, instruction,
};

/// The next filter is to decide.
const TC_ACT_UNSPEC: i32 = -1;
/// The frame goes its way, to the namespace's own IP stack.
const TC_ACT_OK: i32 = 0;
/// The frame is dropped.
const TC_ACT_SHOT: i32 = 2;

const BPF_FUNC_CLONE_REDIRECT: i32 = 13;
const BPF_FUNC_SKB_VLAN_PUSH: i32 = 18;
const BPF_FUNC_SKB_VLAN_POP: i32 = 19;
const BPF_FUNC_REDIRECT: i32 = 23;

/// Offsets in `struct __sk_buff`.
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;
const VLAN_PROTO: i16 = 28;
/// The tag's number, without its priority.
const VLAN_VID_MASK: i32 = 0x0fff;
const ETH_P_8021Q: u16 = 0x8100;

/// After the Ethernet header, after hardware, protocol and lengths.
const ARP_OPERATION: i32 = 14 + 6;
const ARP_REPLY: i32 = 2;

/// The programs' own name for the frame, which survives calls. Where [`LD_H_ABS`] expects it.
const FRAME: u8 = 6;

/// On a link: every frame gets the link's tag and leaves by `tap`.
pub(super) fn enter(tag: NonZeroU8, tap: u32) -> Vec<Instruction> {
    [keep_frame(), push(tag), or_else(0, TC_ACT_SHOT), redirect(tap)].concat()
}

/// On the tap: a frame of this tag loses it and leaves by `link`. Others are not for this program.
pub(super) fn leave(tag: NonZeroU8, link: u32) -> Vec<Instruction> {
    let tag = i32::from(tag.get());
    [
        keep_frame(),
        vec![instruction(LDX_MEM_W, 0, FRAME, VLAN_PRESENT, 0)],
        or_else(1, TC_ACT_UNSPEC),
        vec![instruction(LDX_MEM_H, 0, FRAME, VLAN_PROTO, 0)],
        or_else(i32::from(ETH_P_8021Q.to_be()), TC_ACT_UNSPEC),
        vec![instruction(LDX_MEM_W, 0, FRAME, VLAN_TCI, 0), instruction(AND64_IMM, 0, 0, 0, VLAN_VID_MASK)],
        or_else(tag, TC_ACT_UNSPEC),
        pop(),
        or_else(0, TC_ACT_SHOT),
        redirect(link),
    ]
    .concat()
}

/// On the tap, after all others: what has no known tag goes nowhere.
pub(super) fn drop_all() -> Vec<Instruction> {
    answer(TC_ACT_SHOT)
}

/// On a link, before [`enter`] and for ARP alone: a reply goes its way, and a copy of it to `tap`.
pub(crate) fn copy_arp_replies(tag: NonZeroU8, tap: u32) -> Vec<Instruction> {
    [
        keep_frame(),
        vec![instruction(LD_H_ABS, 0, 0, 0, ARP_OPERATION)],
        or_else(ARP_REPLY, TC_ACT_UNSPEC),
        push(tag),
        or_else(0, TC_ACT_SHOT),
        vec![
            instruction(MOV64_REG, 1, FRAME, 0, 0),
            instruction(MOV64_IMM, 2, 0, 0, number(tap)),
            instruction(MOV64_IMM, 3, 0, 0, 0),
            // What becomes of the copy does not matter to the frame.
            instruction(CALL, 0, 0, 0, BPF_FUNC_CLONE_REDIRECT),
        ],
        pop(),
        or_else(0, TC_ACT_SHOT),
        answer(TC_ACT_OK),
    ]
    .concat()
}

fn keep_frame() -> Vec<Instruction> {
    vec![instruction(MOV64_REG, FRAME, 1, 0, 0)]
}

/// Leaves 0 in register 0, or an error. A tag that is there already goes into the frame.
fn push(tag: NonZeroU8) -> Vec<Instruction> {
    vec![
        instruction(MOV64_REG, 1, FRAME, 0, 0),
        instruction(MOV64_IMM, 2, 0, 0, i32::from(ETH_P_8021Q.to_be())),
        instruction(MOV64_IMM, 3, 0, 0, i32::from(tag.get())),
        instruction(CALL, 0, 0, 0, BPF_FUNC_SKB_VLAN_PUSH),
    ]
}

/// Leaves 0 in register 0, or an error. The next tag, if the frame has one, becomes the outermost.
fn pop() -> Vec<Instruction> {
    vec![instruction(MOV64_REG, 1, FRAME, 0, 0), instruction(CALL, 0, 0, 0, BPF_FUNC_SKB_VLAN_POP)]
}

/// Ends with `otherwise` unless register 0 is `wanted`.
fn or_else(wanted: i32, otherwise: i32) -> Vec<Instruction> {
    let ending = answer(otherwise);
    let over = i16::try_from(ending.len()).unwrap_or_default();
    [vec![instruction(JEQ_IMM, 0, 0, over, wanted)], ending].concat()
}

fn answer(act: i32) -> Vec<Instruction> {
    vec![instruction(MOV64_IMM, 0, 0, 0, act), instruction(EXIT, 0, 0, 0, 0)]
}

/// The function's answer is the program's.
fn redirect(device: u32) -> Vec<Instruction> {
    vec![
        instruction(MOV64_IMM, 1, 0, 0, number(device)),
        instruction(MOV64_IMM, 2, 0, 0, 0),
        instruction(CALL, 0, 0, 0, BPF_FUNC_REDIRECT),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// A device's number as an instruction holds it; the kernel's own are positive.
fn number(device: u32) -> i32 {
    device.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: NonZeroU8 = NonZeroU8::new(3).unwrap();

    /// The kernel's verifier is asked in the tests of the whole crate; here what it cannot know.
    #[test]
    fn a_frame_that_is_not_ours_is_left_to_the_next_filter() {
        let program = leave(TAG, 9);
        let asked: Vec<i32> = program
            .iter()
            .filter(|bytes| bytes[0] == JEQ_IMM)
            .map(|bytes| i32::from_ne_bytes(bytes[4..].try_into().unwrap()))
            .collect();
        assert_eq!(asked, [1, i32::from(0x8100_u16.to_be()), 3, 0]);
    }

    #[test]
    fn the_tag_is_that_of_8021q_in_the_networks_byte_order() {
        let program = enter(TAG, 7);
        assert!(program.contains(&instruction(MOV64_IMM, 2, 0, 0, i32::from(0x8100_u16.to_be()))));
        assert!(program.contains(&instruction(MOV64_IMM, 3, 0, 0, 3)));
        assert_eq!(program.last(), Some(&instruction(EXIT, 0, 0, 0, 0)));
    }
}
