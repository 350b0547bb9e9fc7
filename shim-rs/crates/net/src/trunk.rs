// SPDX-License-Identifier: Apache-2.0
//! Joins several links to one tap, where a VLAN tag says whose a frame is.
//!
//! A machine has few cards, and an engine may attach many networks. What comes in on a link gets the link's tag and
//! leaves by the tap; what comes in on the tap loses its tag and leaves by the link of that tag, and by none where there
//! is no such link. So a guest reaches the links of its own machine and no others, whatever it writes; and a tag that
//! a frame of the network's has already goes below ours, so that no peer can pass for one of another network. Tags are
//! kept beside the frame by the kernel, which copies nothing, and segments and checksums are left to the hardware as
//! without them.
//!
//! Programs do it ([`program`]) rather than the kernel's action for VLANs, which kernels made small leave out.

pub(crate) mod program;

use std::io;
use std::num::NonZeroU8;
use std::os::fd::{AsRawFd, OwnedFd};

use boxlite_linux::bpf::Instruction;
use rustix::io::Errno;

use crate::error::NetError;
use crate::layout::Link;
use crate::namespace::Namespace;
use crate::netlink::{IFF_UP, IFLA_MTU, Message, NLM_F_CREATE, NLM_F_EXCL, RTM_NEWLINK, Socket, link_header};
use crate::redirect::{
    ETH_P_ALL, LAST_PRIORITY, RTM_NEWTFILTER, TCA_KIND, TCA_OPTIONS, clearing, index_of, ingress,
    tc_filter_header,
};
use crate::sys;
use crate::tap::tap_name;

/// linux/pkt_cls.h: the program's number of a descriptor, and flags: what the program returns is what happens.
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
/// Of the filters on the tap, one for each tag; what none of them knows is for the last.
const TAG_PRIORITY: u16 = 1;
/// The only filter of its priority.
const ONLY: u32 = 1;
/// As large as a tap's can be: whose network allows how much is for the guest's devices.
const LARGEST_MTU: u32 = 65_521;

pub(crate) const WHAT: &str = "carry a network by a shared tap";

/// Joins `link` to tap `tap_index` of the namespace, where its frames bear `tag`, and brings the tap up.
///
/// A link that had the tag before has it no more.
pub(crate) fn join(ns: &Namespace, link: &Link, tap_index: u32, tag: NonZeroU8) -> Result<(), NetError> {
    ns.run(|| {
        let mut socket = Socket::open()?;
        let tap = index_of(&mut socket, &tap_name(tap_index))?;
        let (enter, leave) = (load(&program::enter(tag, tap))?, load(&program::leave(tag, link.index))?);
        let drop = load(&program::drop_all())?;
        // Whatever an earlier machine in this namespace left on the link; mostly nothing.
        socket.batch(WHAT, &[clearing(link.index)])?;
        let steps = [
            Step::must(ingress(link.index)),
            Step::once(ingress(tap)),
            Step::once(filter(tap, LAST_PRIORITY, ONLY, NLM_F_EXCL, &drop)),
            Step::must(filter(tap, TAG_PRIORITY, u32::from(tag.get()), 0, &leave)),
            Step::must(filter(link.index, LAST_PRIORITY, ONLY, 0, &enter)),
            Step::must(Message::new(RTM_NEWLINK, 0, &link_header(tap, 0, 0)).word(IFLA_MTU, LARGEST_MTU)),
        ];
        carry_out(&mut socket, &steps, link)?;
        // Only now: before, the guest's frames would reach the namespace's IP stack.
        socket.apply(WHAT, &[Message::new(RTM_NEWLINK, 0, &link_header(tap, IFF_UP, IFF_UP))])
    })?
}

/// A change to make.
struct Step {
    message: Message,
    /// The first link of the tap has made it for all.
    once: bool,
}

impl Step {
    fn must(message: Message) -> Self {
        Self { message, once: false }
    }

    fn once(message: Message) -> Self {
        Self { message, once: true }
    }
}

fn carry_out(socket: &mut Socket, steps: &[Step], link: &Link) -> Result<(), NetError> {
    let messages: Vec<Message> = steps.iter().map(|step| step.message.clone()).collect();
    for (step, answer) in steps.iter().zip(socket.batch(WHAT, &messages)?) {
        match answer {
            Ok(()) => {}
            Err(Errno::EXIST) if step.once => {}
            Err(errno) => return Err(failed(errno, link)),
        }
    }
    Ok(())
}

fn failed(errno: Errno, link: &Link) -> NetError {
    match errno {
        Errno::NODEV => NetError::LinkGone { link: link.name.clone() },
        Errno::NOENT | Errno::OPNOTSUPP => unsupported(errno.into()),
        errno => NetError::from_errno(WHAT, errno),
    }
}

fn unsupported(source: io::Error) -> NetError {
    NetError::Unsupported {
        what: "carry several networks by one tap; it needs CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF and \
               CONFIG_BPF_SYSCALL",
        source,
    }
}

pub(crate) fn load(program: &[Instruction]) -> Result<OwnedFd, NetError> {
    sys::load_classifier(program).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOSYS) => unsupported(error),
        _ => NetError::from_io(WHAT, error),
    })
}

/// A filter on what comes in on a device, that does what the program says. One of the same number is replaced.
fn filter(device: u32, priority: u16, number: u32, flags: u16, program: &OwnedFd) -> Message {
    filter_on(&tc_filter_header(device, number, priority, ETH_P_ALL), flags, program)
}

/// As [`filter`], on the frames of a header.
pub(crate) fn filter_on(header: &[u8], flags: u16, program: &OwnedFd) -> Message {
    // An open descriptor's number is never negative.
    let descriptor = program.as_raw_fd().unsigned_abs();
    Message::new(RTM_NEWTFILTER, NLM_F_CREATE | flags, header)
        .text(TCA_KIND, "bpf")
        .nest(TCA_OPTIONS, |options| {
            options.word(TCA_BPF_FD, descriptor).word(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT)
        })
}
