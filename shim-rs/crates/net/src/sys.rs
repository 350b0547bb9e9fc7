// SPDX-License-Identifier: Apache-2.0
//! The system calls that have no safe wrapper: `unshare(CLONE_NEWNET)`, the ioctls of a tap, and bpf(2). Nothing else.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use boxlite_linux::bpf::Instruction;
use rustix::io;
use rustix::ioctl::{self, Opcode};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// `_IOW('T', 202, int)` of linux/if_tun.h.
const TUNSETIFF: Opcode = ioctl::opcode::write::<i32>(b'T', 202);
/// `_IOW('T', 203, int)` of linux/if_tun.h.
const TUNSETPERSIST: Opcode = ioctl::opcode::write::<i32>(b'T', 203);
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
/// `IFNAMSIZ`, with the terminating zero.
pub(crate) const NAME_SIZE: usize = 16;

/// `struct ifreq` as TUNSETIFF reads it: a name, flags, and the rest of the union.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_SIZE],
    flags: u16,
    rest: [u8; 22],
}

/// Moves the calling thread into a new network namespace.
pub(crate) fn leave_network_namespace() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET gives the calling thread another network namespace; it neither closes nor unshares descriptors,
    // which is what makes other flags of `unshare` unsafe.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Makes `tun` (an open /dev/net/tun) a tap with virtio-net headers and no packet-information header.
///
/// `name` is zero-terminated. An existing device of that name that is not ours gives EBUSY.
pub(crate) fn attach_tap(tun: BorrowedFd<'_>, name: [u8; NAME_SIZE]) -> io::Result<()> {
    let request = InterfaceRequest { name, flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, rest: [0; 22] };
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which is 40 bytes on 64-bit Linux, as `InterfaceRequest` is
    // (asserted below), and the kernel keeps no pointer to it. The name it writes back is not read: it has no `%d`.
    unsafe { ioctl::ioctl(tun, ioctl::Updater::<TUNSETIFF, _>::new(&mut { request })) }
}

/// Has the device of `tun` outlive its descriptors.
pub(crate) fn keep_tap(tun: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes a number for an argument, which `IntegerSetter` passes; no memory is read or written.
    unsafe { ioctl::ioctl(tun, ioctl::IntegerSetter::<TUNSETPERSIST>::new_usize(1)) }
}

/// `union bpf_attr` as BPF_PROG_LOAD reads it, up to what is not zero.
#[repr(C)]
struct LoadProgram {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
}

/// Loads a program that looks at frames (BPF_PROG_TYPE_SCHED_CLS).
pub(crate) fn load_classifier(program: &[Instruction]) -> std::io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    // The kernel wants them where a `struct bpf_insn` may lie.
    let program: Vec<u64> = program.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect();
    let load = LoadProgram {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        instructions: u32::try_from(program.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?,
        program: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
    };
    // SAFETY: the kernel copies the program and the licence, both alive, and reads no more than the size says.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<LoadProgram>()) };
    match RawFd::try_from(fd) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40);
