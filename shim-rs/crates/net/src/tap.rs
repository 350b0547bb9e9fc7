// SPDX-License-Identifier: Apache-2.0
//! A machine's taps. What joins them to the engine's links is in `redirect`.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::error::NetError;
use crate::namespace::Namespace;
use crate::netlink::{self, Socket};
use crate::sys;

const WHAT: &str = "make a tap device";

/// The name of tap `index` of a namespace.
#[must_use]
pub fn tap_name(index: u32) -> String {
    format!("boxlite{index}")
}

/// True for names [`tap_name`] gives.
pub(crate) fn is_tap_name(name: &str) -> bool {
    name.strip_prefix("boxlite")
        .is_some_and(|digits| digits.parse::<u32>().is_ok_and(|index| tap_name(index) == name))
}

/// Makes tap `index` in the namespace and returns its queue for the VMM.
///
/// In a namespace of others the device goes with the last copy of the descriptor; in one of ours with the namespace.
/// The kernel removes a device in some 15 ms, most of which it waits: the VMM that closes the descriptor as it ends would
/// wait so for each of them, and removes nothing that a namespace's end does not remove at once and in the background.
///
/// Frames carry a virtio-net header. Offloads start off, so that
/// the kernel completes checksums and splits segments for a guest that has not asked; the VMM turns on, through the same
/// descriptor (TUNSETOFFLOAD needs no privilege), what its guest accepts. The link stays down until `redirect`: until
/// then whatever a guest sends would reach the namespace's own IP stack, which forwards on a Docker host.
pub fn open_tap(ns: &Namespace, index: u32) -> Result<OwnedFd, NetError> {
    ns.run(|| {
        let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(no_tun)?;
        let name = tap_name(index);
        let mut padded = [0; sys::NAME_SIZE];
        // One byte stays zero. "boxlite" and ten digits would be one too many.
        let Some(space) = padded[..sys::NAME_SIZE - 1].get_mut(..name.len()) else {
            return Err(NetError::from_errno(WHAT, Errno::NAMETOOLONG));
        };
        space.copy_from_slice(name.as_bytes());
        sys::attach_tap(tun.as_fd(), padded).map_err(|errno| NetError::from_errno(WHAT, errno))?;
        silence(&name)?;
        if ns.is_own() {
            sys::keep_tap(tun.as_fd()).map_err(|errno| NetError::from_errno(WHAT, errno))?;
        }
        Ok(tun.into())
    })?
}

/// Keeps the host's kernel from speaking IPv6 on the tap: the guest would hear its solicitations.
fn silence(name: &str) -> Result<(), NetError> {
    let what = "turn off IPv6 on a tap device";
    match Socket::open()?.batch(what, &[netlink::no_ipv6_address(name)])?.as_slice() {
        // A kernel without IPv6 has nothing to say.
        [Ok(()) | Err(Errno::AFNOSUPPORT | Errno::OPNOTSUPP)] => Ok(()),
        [Err(errno)] => Err(NetError::from_errno(what, *errno)),
        _ => Err(NetError::Malformed { what }),
    }
}

fn no_tun(source: std::io::Error) -> NetError {
    match Errno::from_io_error(&source) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => NetError::NoTun { source },
        _ => NetError::from_io("open /dev/net/tun", source),
    }
}
