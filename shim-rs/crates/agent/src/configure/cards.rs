// SPDX-License-Identifier: Apache-2.0
//! The guest's network devices: which have a driver, which stands for which interface, and what they are called.
//!
//! Device n is the one whose permanent address ends in n. Order: [`Cards::prepare`] at boot; [`Cards::connect`] gives
//! drivers to the cards that are needed and none to others, makes devices on the shared one ([`trunk`]), frees names,
//! and has [`network`] do the rest. It may be called again when the engine's network has changed: what is as it was is
//! left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use boxlite_linux::netlink::Socket;
use boxlite_linux::netlink::numbers::LOOPBACK;
use boxlite_protocol::network::{Interface, Network};

use super::link::{Device, Place, cards, raise, rename};
use super::trunk::{self, Trunk};
use super::{network, nics};
use crate::error::{Fault, Trying};

/// The guest's network devices, and the socket they are set up by.
#[derive(Debug)]
pub(crate) struct Cards(Mutex<Held>);

#[derive(Debug)]
struct Held {
    socket: Socket,
    /// Those an interface may take: cards that have a driver, and what there is on the shared one.
    known: BTreeMap<Place, Device>,
    /// The shared card, once it was needed.
    trunk: Option<Trunk>,
}

impl Cards {
    /// Raises lo, which every guest has, and the first card, which nearly every container takes over; the others wait
    /// without a driver. The card is silent: without IPv6 and addresses it has nothing to say.
    pub(crate) fn prepare() -> Result<Self, Fault> {
        let mut socket = Socket::open().trying(|| "open netlink".to_owned())?;
        raise(&mut socket, LOOPBACK).trying(|| "raise lo".to_owned())?;
        nics::park(Some(0))?;
        let mut known: BTreeMap<_, _> = cards(&mut socket)?.into_iter().collect();
        for (place, device) in &mut known {
            device.allow_ipv6(false)?;
            raise(&mut socket, device.index).trying(|| format!("raise NIC {}", place.nic))?;
        }
        Ok(Self(Mutex::new(Held { socket, known, trunk: None })))
    }

    /// Everything in `network`.
    pub(crate) fn connect(&self, network: &Network) -> Result<(), Fault> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if network.interfaces.is_empty() {
            held.known.clear();
            // What is on the shared card goes with its driver, and only then may its namespace go.
            nics::park(None)?;
            held.trunk = None;
            return Ok(());
        }
        held.release(network)?;
        held.bind(network)?;
        held.tag(network)?;
        let Held { socket, known, .. } = &mut *held;
        free_names(socket, network, known)?;
        network::apply(socket, network, known)
    }
}

impl Held {
    /// Takes the driver off each card that no interface needs any more, and devices off the shared one.
    fn release(&mut self, network: &Network) -> Result<(), Fault> {
        let wanted =
            |place: &Place| network.interfaces.iter().any(|interface| Place::of(interface) == *place);
        let idle: Vec<Place> = self.known.keys().copied().filter(|place| !wanted(place)).collect();
        for place in idle {
            match self.known.remove(&place) {
                Some(device) if place.tag == 0 => nics::release(&device.name)?,
                Some(device) => trunk::remove(&mut self.socket, &device)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Gives a driver to each card that an interface needs, its own or the shared one.
    fn bind(&mut self, network: &Network) -> Result<(), Fault> {
        let shared = self.trunk.as_ref().map(Trunk::nic);
        let needed = network.interfaces.iter().map(|interface| interface.nic);
        let mut missing: BTreeSet<u32> = needed
            .filter(|nic| Some(*nic) != shared && !self.known.contains_key(&Place::card(*nic)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        for name in nics::parked()? {
            nics::bind(&name)?;
            let mut fresh = cards(&mut self.socket)?;
            fresh.retain(|(place, _)| !self.known.contains_key(place));
            if fresh.iter().all(|(place, _)| missing.remove(&place.nic)) {
                self.known.extend(fresh);
            } else {
                nics::unbind(&name)?;
            }
            if missing.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Has a device on the shared card for each interface that has a tag there.
    fn tag(&mut self, network: &Network) -> Result<(), Fault> {
        let tagged = network.interfaces.iter().filter(|interface| interface.tag != 0);
        for interface in tagged {
            let place = Place::of(interface);
            let trunk = match &mut self.trunk {
                Some(trunk) if trunk.nic() == place.nic => trunk,
                Some(_) => return Err(Fault::refused(format!("a second shared NIC for {}", interface.name))),
                none => none.insert(Trunk::take(&mut self.socket, place.nic, &mut self.known)?),
            };
            if !self.known.contains_key(&place) {
                let device = trunk.add(&mut self.socket, place)?;
                self.known.insert(place, device);
            }
        }
        Ok(())
    }
}

/// Takes names out of the way that the kernel gave to one device and the engine to another.
fn free_names(
    socket: &mut Socket,
    network: &Network,
    devices: &mut BTreeMap<Place, Device>,
) -> Result<(), Fault> {
    let taken = |interface: &Interface| {
        let holder = devices.iter().find(|(_, device)| device.name == interface.name);
        holder.is_some_and(|(place, _)| *place != Place::of(interface))
    };
    if !network.interfaces.iter().any(taken) {
        return Ok(());
    }
    for (place, device) in devices {
        rename(socket, device, &place.name())?;
    }
    Ok(())
}
