// SPDX-License-Identifier: Apache-2.0
//! The card that several networks share, and the device of each on it.
//!
//! The card is in a network namespace where nothing else is: a container sees the interfaces the engine made for it, not
//! what carries them. Each device bears one VLAN tag, by which the host tells its frames from those of others, and has
//! its own address and size. Order: [`Trunk::take`] when the first is needed; [`Trunk::add`], [`remove`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};

use boxlite_linux::netlink::numbers::{
    IFF_UP, IFLA_IFNAME, IFLA_MTU, NLM_F_CREATE, NLM_F_EXCL, RTM_GETLINK, RTM_NEWLINK,
};
use boxlite_linux::netlink::{Message, Socket, link_header, number};
use libc::{
    IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_NET_NS_PID, RTM_DELLINK,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::link::{Device, Place, cards};
use crate::error::{Fault, Trying};
use crate::sys;

const OWN_NAMESPACE: &str = "/proc/self/ns/net";
/// Frames of the machine's own would be of no network: the card is to have nothing to say.
const NO_IPV6: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
/// The largest there is: how large a frame may be is for each network's device.
const LARGEST_MTU: u32 = 65_535;
/// linux/if_link.h
const IFLA_VLAN_ID: u16 = 1;

/// The shared card.
#[derive(Debug)]
pub(super) struct Trunk {
    nic: u32,
    /// Its index in its namespace.
    card: u32,
    /// Of the card's namespace, which is there as long as this is.
    socket: Socket,
}

impl Trunk {
    /// Takes a card that has its driver out of those an interface may take, and hides it.
    pub(super) fn take(
        socket: &mut Socket,
        nic: u32,
        known: &mut BTreeMap<Place, Device>,
    ) -> Result<Self, Fault> {
        let what = || format!("share NIC {nic}");
        let card = known.remove(&Place::card(nic));
        let card = card.ok_or_else(|| Fault::refused(format!("the machine has no NIC {nic}")))?;
        let (namespace, mut inside) = hidden_namespace().trying(what)?;
        let there = namespace.as_raw_fd().unsigned_abs();
        let moved = Message::new(RTM_NEWLINK, 0, &link_header(card.index, 0, 0)).word(IFLA_NET_NS_FD, there);
        socket.apply(&[moved]).trying(what)?;
        let (_, card) = cards(&mut inside)?
            .pop()
            .ok_or_else(|| Fault::refused(format!("NIC {nic} is not where it was put")))?;
        let up = Message::new(RTM_NEWLINK, 0, &link_header(card.index, IFF_UP, IFF_UP));
        inside.apply(&[up.word(IFLA_MTU, LARGEST_MTU)]).trying(what)?;
        Ok(Self { nic, card: card.index, socket: inside })
    }

    pub(super) fn nic(&self) -> u32 {
        self.nic
    }

    /// Makes a device in the guest's own namespace whose frames bear the place's tag on the card.
    pub(super) fn add(&mut self, socket: &mut Socket, place: Place) -> Result<Device, Fault> {
        let what = || format!("make a network device of tag {}", place.tag);
        let tag = u16::try_from(place.tag)
            .map_err(|_| Fault::refused(format!("tag {} is too large", place.tag)))?;
        let name = place.name();
        let made = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_header(0, 0, 0))
            .text(IFLA_IFNAME, &name)
            .word(IFLA_LINK, self.card)
            .word(IFLA_NET_NS_PID, std::process::id())
            .nest(IFLA_LINKINFO, |info| {
                info.text(IFLA_INFO_KIND, "vlan")
                    .nest(IFLA_INFO_DATA, |vlan| vlan.bytes(IFLA_VLAN_ID, &tag.to_ne_bytes()))
            });
        self.socket.apply(&[made]).trying(what)?;
        let asked = Message::new(RTM_GETLINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, &name);
        let answer = socket.ask(&asked).trying(what)?;
        let index = number(answer.get(4..8));
        let index = index.ok_or_else(|| Fault::refused(format!("the kernel does not tell of {name}")))?;
        Ok(Device { index, name, ipv6: true })
    }
}

/// Takes away a device that [`Trunk::add`] made.
pub(super) fn remove(socket: &mut Socket, device: &Device) -> Result<(), Fault> {
    let gone = Message::new(RTM_DELLINK, 0, &link_header(device.index, 0, 0));
    socket.apply(&[gone]).trying(|| format!("remove {}", device.name))
}

/// A network namespace of nobody's, and a socket of it. The caller's thread is in it meanwhile.
fn hidden_namespace() -> std::io::Result<(File, Socket)> {
    let home = File::open(OWN_NAMESPACE)?;
    sys::unshare_network()?;
    let inside = fill();
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
    inside
}

fn fill() -> std::io::Result<(File, Socket)> {
    fs::write(NO_IPV6, "1")?;
    Ok((File::open(OWN_NAMESPACE)?, Socket::open()?))
}
