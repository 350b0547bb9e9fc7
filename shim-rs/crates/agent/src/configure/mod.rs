// SPDX-License-Identifier: Apache-2.0
//! Makes this guest its own: a clone of a template wakes up with the clock, random numbers and names of another.
//!
//! Order: memory, clock, entropy, names, settings and share by [`apply`]; the network by [`Cards::connect`], when the engine
//! has built it.

mod cards;
mod identity;
mod link;
mod memory;
mod network;
mod nics;
mod settings;
mod trunk;

pub(crate) use cards::Cards;
pub(crate) use identity::set_clock;
pub(crate) use memory::allow as allow_memory;
pub(crate) use settings::{Refusal, take};

use std::path::{Path, PathBuf};

use boxlite_protocol::agent::ConfigureRequest;
use boxlite_protocol::plan::Sysctl;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::error::{Fault, Trying};

/// Carries out the request, but for the sysctls that are there already. Which of the host's settings were refused.
pub(crate) fn apply(request: &ConfigureRequest, ready: &[Sysctl]) -> Result<Vec<Refusal>, Fault> {
    memory::allow(request.memory_limit)?;
    identity::set_clock(request.realtime_ns)?;
    identity::add_entropy(&request.entropy)?;
    identity::set_hostname(&request.hostname)?;
    for sysctl in request.sysctls.iter().filter(|sysctl| !ready.contains(sysctl)) {
        set(sysctl)?;
    }
    let refused = settings::take(&request.settings);
    if !request.share_tag.is_empty() {
        mount_share(&request.share_tag, Path::new(&request.share_path))?;
    }
    Ok(refused)
}

/// Writes one of the guest's own settings.
pub(crate) fn set(sysctl: &Sysctl) -> Result<(), Fault> {
    let path = format!("/proc/sys/{}", sysctl.path);
    std::fs::write(&path, &sysctl.value).trying(|| format!("write {path}"))
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
