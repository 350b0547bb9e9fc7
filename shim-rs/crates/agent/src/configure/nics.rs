// SPDX-License-Identifier: Apache-2.0
//! The machine's spare NICs: without a driver until an interface needs one, so that a container sees the interfaces
//! the engine made for it and no others.
//!
//! Order: [`park`] once at boot, [`parked`] and [`bind`] when the network is known.

use std::fs;

use crate::error::{Fault, Trying};

const DEVICES: &str = "/sys/bus/virtio/devices";
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_net";
/// `VIRTIO_ID_NET`; linux/virtio_ids.h.
const NETWORK: &[u8] = b"0x0001";

/// Takes the driver off every NIC.
pub(super) fn park() -> Result<(), Fault> {
    for name in all()? {
        if fs::exists(format!("{DRIVER}/{name}")).unwrap_or(false) {
            unbind(&name)?;
        }
    }
    Ok(())
}

/// The NICs without a driver, in the order of their numbers on the bus.
pub(super) fn parked() -> Result<Vec<String>, Fault> {
    let mut names = all()?;
    names.retain(|name| !fs::exists(format!("{DRIVER}/{name}")).unwrap_or(false));
    Ok(names)
}

/// Gives a NIC its driver; its interface is there when this returns.
pub(super) fn bind(name: &str) -> Result<(), Fault> {
    fs::write(format!("{DRIVER}/bind"), name).trying(|| format!("bind NIC {name}"))
}

/// Takes a NIC's driver off.
pub(super) fn unbind(name: &str) -> Result<(), Fault> {
    fs::write(format!("{DRIVER}/unbind"), name).trying(|| format!("unbind NIC {name}"))
}

fn all() -> Result<Vec<String>, Fault> {
    let what = || "list virtio devices".to_owned();
    let mut names = Vec::new();
    for entry in fs::read_dir(DEVICES).trying(what)? {
        let name = entry.trying(what)?.file_name().into_string().unwrap_or_default();
        let kind = fs::read(format!("{DEVICES}/{name}/device")).trying(what)?;
        if kind.trim_ascii_end() == NETWORK {
            names.push(name);
        }
    }
    // virtio2 before virtio10.
    names.sort_by_key(|name| (name.len(), name.clone()));
    Ok(names)
}
