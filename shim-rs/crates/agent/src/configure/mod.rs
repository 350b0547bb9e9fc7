// SPDX-License-Identifier: Apache-2.0
//! Makes this guest its own: a clone of a template wakes up with the clock, random numbers and names of another.
//!
//! Order: clock, entropy, names and share by [`apply`]; the network by [`connect`], when the engine has built it. As a
//! plain process on a host the agent leaves that host alone and only learns where the share is.

mod cards;
mod identity;
mod netlink;
mod network;
mod nics;

pub(crate) use cards::Cards;

use std::path::{Path, PathBuf};

use boxlite_protocol::agent::ConfigureRequest;
use boxlite_protocol::network::Network;
use boxlite_protocol::plan::Sysctl;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::container::Share;
use crate::containers::Containers;
use crate::error::{Fault, Trying};

/// Carries out the request.
pub(crate) fn apply(containers: &Containers, request: &ConfigureRequest) -> Result<(), Fault> {
    let path = PathBuf::from(&request.share_path);
    if containers.guest {
        identity::set_clock(request.realtime_ns)?;
        identity::add_entropy(&request.entropy)?;
        identity::set_hostname(&request.hostname)?;
        let ready = &containers.provisions.made;
        for sysctl in request.sysctls.iter().filter(|sysctl| !ready.sysctls.contains(sysctl)) {
            set(sysctl)?;
        }
        if !request.share_tag.is_empty() {
            mount_share(&request.share_tag, &path)?;
        }
    }
    if !request.share_path.is_empty() {
        containers.set_share(Share { path, mounted: containers.guest && !request.share_tag.is_empty() });
    }
    Ok(())
}

/// Sets the clock again, now that calls arrive quickly; not for 0.
pub(crate) fn correct_clock(containers: &Containers, realtime_ns: i64) -> Result<(), Fault> {
    if containers.guest && realtime_ns != 0 { identity::set_clock(realtime_ns) } else { Ok(()) }
}

/// Writes one of the guest's own settings.
pub(crate) fn set(sysctl: &Sysctl) -> Result<(), Fault> {
    let path = format!("/proc/sys/{}", sysctl.path);
    std::fs::write(&path, &sysctl.value).trying(|| format!("write {path}"))
}

/// Repeats the engine's network, and relays its resolver.
pub(crate) fn connect(containers: &Containers, wanted: &Network) -> Result<(), Fault> {
    let (Some(cards), Some(cgroups)) = (&containers.cards, &containers.cgroups) else { return Ok(()) };
    cards.connect(wanted)?;
    match <[u8; 4]>::try_from(wanted.resolver.as_slice()) {
        Ok(address) => containers.relays.resolve_at(address.into(), cgroups),
        Err(_) if wanted.resolver.is_empty() => Ok(()),
        Err(_) => Err(Fault::refused("the resolver's address is not one".to_owned())),
    }
}

fn mount_share(tag: &str, path: &Path) -> Result<(), Fault> {
    let mut made = PathBuf::new();
    for part in path.components() {
        made.push(part);
        match rustix::fs::mkdir(&made, rustix::fs::Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Fault::system("mkdir share", error)),
        }
    }
    rustix::mount::mount(tag, path, "virtiofs", MountFlags::empty(), None)
        .trying(|| format!("mount virtiofs {tag:?}"))
}
