// SPDX-License-Identifier: Apache-2.0
//! Programs that lead what is meant for the resolver's port 53 to the port the agent listens at, and back.
//!
//! An engine does the same with rules of its packet filter, for the same reason: port 53 stays free for a container
//! that is a name server itself. Here it happens where a program names an address (connect, sendmsg) and where it is
//! told one (recvmsg, getpeername), so nothing on the wire is rewritten and no packet filter is needed.

use std::net::Ipv4Addr;

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
    let program: [(u8, u8, u8, i16, i32); 8] = [
        (0xb7, 0, 0, 0, 1),                                    // r0 = 1: go on
        (0x61, 2, 1, IP, 0),                                   // w2 = user_ip4
        (0x56, 2, 0, 4, i32::from_ne_bytes(address.octets())), // if w2 != address: the end
        (0x61, 2, 1, PORT, 0),                                 // w2 = user_port
        (0x56, 2, 0, 2, port(from)),                           // if w2 != from: the end
        (0xb4, 2, 0, 0, port(to)),                             // w2 = to
        (0x63, 1, 2, PORT, 0),                                 // user_port = w2
        (0x95, 0, 0, 0, 0),                                    // the end
    ];
    program.iter().flat_map(|&instruction| encode(instruction)).collect()
}

fn encode((code, to, from, offset, value): (u8, u8, u8, i16, i32)) -> [u8; 8] {
    let mut bytes = [code, to | from << 4, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..].copy_from_slice(&value.to_ne_bytes());
    bytes
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
                0xb7 | 0xb4 => registers[to] = value,
                0x61 => {
                    assert_eq!(from, 1, "only the context is read");
                    registers[to] = context[word];
                }
                0x56 if registers[to] != value => at += usize::try_from(offset).unwrap(),
                0x56 => {}
                0x63 => context[word] = registers[from],
                0x95 => return (registers[0], u16::from_be(u16::try_from(context[6]).unwrap())),
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
