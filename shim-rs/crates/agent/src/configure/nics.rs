// SPDX-License-Identifier: Apache-2.0
//! The machine's spare NICs: without a driver until an interface needs one, so that a container sees the interfaces
//! the engine made for it and no others. The first keeps its driver, for nearly every container needs one, and giving
//! it one takes an emulated guest 40 ms.
//!
//! Order: [`park`] all but the first once at boot; [`parked`] and [`bind`], or [`park`] all, when the network is known;
//! [`release`] and the same again when it changes.

use std::fs;

use boxlite_protocol::NIC_MAC_PREFIX;

use crate::error::{Fault, Trying};

const DEVICES: &str = "/sys/bus/virtio/devices";
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_net";
/// `VIRTIO_ID_NET`; linux/virtio_ids.h.
const NETWORK: &[u8] = b"0x0001";

/// Takes the driver off every NIC but the one with this number, if any.
pub(super) fn park(but: Option<u8>) -> Result<(), Fault> {
    for name in all()? {
        let bound = fs::exists(format!("{DRIVER}/{name}")).unwrap_or(false);
        if bound && (but.is_none() || number(&name) != but) {
            unbind(&name)?;
        }
    }
    Ok(())
}

/// The number of a NIC that has its driver, and still the address it came with.
fn number(name: &str) -> Option<u8> {
    let interface = fs::read_dir(format!("{DEVICES}/{name}/net")).ok()?.next()?.ok()?;
    let address = fs::read_to_string(interface.path().join("address")).ok()?;
    let byte = |text: &str| u8::from_str_radix(text, 16).ok();
    let bytes: Vec<u8> = address.trim_end().split(':').map(byte).collect::<Option<_>>()?;
    let &[number] = bytes.strip_prefix(&NIC_MAC_PREFIX)? else { return None };
    Some(number)
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

/// Takes the driver off the NIC an interface stands for, which goes with it.
pub(super) fn release(interface: &str) -> Result<(), Fault> {
    let device = fs::read_link(format!("/sys/class/net/{interface}/device"));
    let device = device.trying(|| format!("find the NIC of {interface}"))?;
    unbind(&device.file_name().unwrap_or_default().to_string_lossy())
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
