// SPDX-License-Identifier: Apache-2.0
//! Programs that lead what is meant for the resolver's port 53 to the port the agent listens at, and back.
//!
//! An engine does the same with rules of its packet filter, for the same reason: port 53 stays free for a container
//! that is a name server itself. Here it happens where a program names an address (connect, sendmsg) and where it is
//! told one (recvmsg, getpeername), so nothing on the wire is rewritten and no packet filter is needed.

use std::net::Ipv4Addr;

use boxlite_linux::bpf::extended::{
    EXIT, JNE32_IMM, LDX_MEM_W, MOV32_IMM, MOV64_IMM, STX_MEM_W, instruction,
};

/// Where in a socket's life a program decides; `BPF_CGROUP_*` of `enum bpf_attach_type`, linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hook {
    Connect = 10,
    SendMessage = 14,
    ReceiveMessage = 19,
    PeerName = 29,
}

/// The port of names.
const DNS: u16 = 53;

/// Each hook with its program (`struct bpf_insn`, 8 bytes each).
pub(crate) fn programs(address: Ipv4Addr, port: u16) -> [(Hook, Vec<u8>); 4] {
    let there = replace_port(address, DNS, port);
    let back = replace_port(address, port, DNS);
    [
        (Hook::Connect, there.clone()),
        (Hook::SendMessage, there),
        (Hook::ReceiveMessage, back.clone()),
        (Hook::PeerName, back),
    ]
}

/// A program over `struct bpf_sock_addr` that lets everything happen, and replaces one port of one address by another.
fn replace_port(address: Ipv4Addr, from: u16, to: u16) -> Vec<u8> {
    // `user_ip4` and `user_port`: both in network order, the port in the lower half of its word.
    const IP: i16 = 4;
    const PORT: i16 = 24;
    let port = |number: u16| i32::from(number.to_be());
    let ip = i32::from_ne_bytes(address.octets());
    let program = [
        instruction(MOV64_IMM, 0, 0, 0, 1),          // r0 = 1: go on
        instruction(LDX_MEM_W, 2, 1, IP, 0),         // w2 = user_ip4
        instruction(JNE32_IMM, 2, 0, 4, ip),         // if w2 != address: the end
        instruction(LDX_MEM_W, 2, 1, PORT, 0),       // w2 = user_port
        instruction(JNE32_IMM, 2, 0, 2, port(from)), // if w2 != from: the end
        instruction(MOV32_IMM, 2, 0, 0, port(to)),   // w2 = to
        instruction(STX_MEM_W, 1, 2, PORT, 0),       // user_port = w2
        instruction(EXIT, 0, 0, 0, 0),               // the end
    ];
    program.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program does to an address, by a small machine of the eight instructions it may use.
    fn run(program: &[u8], ip: Ipv4Addr, port: u16) -> (u32, u16) {
        let mut context = [0u32; 16];
        context[1] = u32::from_ne_bytes(ip.octets());
        context[6] = u32::from(port.to_be());
        let (mut registers, mut at) = ([0u32; 3], 0);
        loop {
            let instruction: [u8; 8] = program[at * 8..][..8].try_into().unwrap();
            let (to, from) = (usize::from(instruction[1] & 15), usize::from(instruction[1] >> 4));
            let offset = i16::from_ne_bytes([instruction[2], instruction[3]]);
            let value = i32::from_ne_bytes(instruction[4..].try_into().unwrap()).cast_unsigned();
            let word = usize::try_from(offset / 4).unwrap();
            at += 1;
            match instruction[0] {
                MOV64_IMM | MOV32_IMM => registers[to] = value,
                LDX_MEM_W => {
                    assert_eq!(from, 1, "only the context is read");
                    registers[to] = context[word];
                }
                JNE32_IMM if registers[to] != value => at += usize::try_from(offset).unwrap(),
                JNE32_IMM => {}
                STX_MEM_W => context[word] = registers[from],
                EXIT => return (registers[0], u16::from_be(u16::try_from(context[6]).unwrap())),
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

    #[test]
    fn the_resolvers_port_is_replaced_and_no_other() {
        let program = replace_port(RESOLVER, 53, 40_001);
        assert_eq!(run(&program, RESOLVER, 53), (1, 40_001));
        assert_eq!(run(&program, RESOLVER, 54), (1, 54));
        assert_eq!(run(&program, Ipv4Addr::new(127, 0, 0, 1), 53), (1, 53));
        // One whose number would be negative.
        let high = Ipv4Addr::new(127, 0, 0, 200);
        assert_eq!(run(&replace_port(high, 53, 65_000), high, 53), (1, 65_000));
    }

    #[test]
    fn what_leads_there_leads_back() {
        for (hook, program) in programs(RESOLVER, 40_001) {
            let (from, to) = match hook {
                Hook::Connect | Hook::SendMessage => (53, 40_001),
                Hook::ReceiveMessage | Hook::PeerName => (40_001, 53),
            };
            assert_eq!(run(&program, RESOLVER, from), (1, to), "{hook:?}");
        }
    }
}
