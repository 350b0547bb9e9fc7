// SPDX-License-Identifier: Apache-2.0
//! Who a process is and what it may do: groups, user, capabilities.
//!
//! The order is the kernel's: the bounding set and the groups need privilege, changing the user takes the effective
//! set away (the permitted one stays, as asked), and ambient ones need the permitted and inheritable sets in place.

use boxlite_protocol::plan::Process;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use crate::error::{Fault, Trying};

/// Becomes who the plan says.
pub(crate) fn take(process: &Process) -> Result<(), Fault> {
    drop_bounding(process.cap_bounding)?;
    rustix::thread::set_keep_capabilities(true).trying(|| "set keepcaps".to_owned())?;
    let groups: Vec<Gid> = process.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).trying(|| "setgroups".to_owned())?;
    let (user, group) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    rustix::thread::set_thread_res_gid(group, group, group).trying(|| format!("setgid {}", process.gid))?;
    rustix::thread::set_thread_res_uid(user, user, user).trying(|| format!("setuid {}", process.uid))?;
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(process.cap_effective),
        permitted: CapabilitySet::from_bits_retain(process.cap_permitted),
        inheritable: CapabilitySet::from_bits_retain(process.cap_inheritable),
    };
    rustix::thread::set_capabilities(None, sets).trying(|| "capset".to_owned())?;
    rustix::thread::set_keep_capabilities(false).trying(|| "clear keepcaps".to_owned())?;
    for bit in bits(process.cap_ambient) {
        rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(bit), true)
            .trying(|| "raise ambient capabilities".to_owned())?;
    }
    Ok(())
}

fn drop_bounding(keep: u64) -> Result<(), Fault> {
    for bit in bits(!keep) {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)) {
            Ok(()) => {}
            // Past the last capability this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(Fault::system("drop bounding capabilities", error)),
        }
    }
    Ok(())
}

fn bits(mask: u64) -> impl Iterator<Item = u64> {
    (0..64).map(|bit| 1 << bit).filter(move |bit| mask & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_lowest_first() {
        assert_eq!(bits(0b1010_0001).collect::<Vec<_>>(), [1, 32, 128]);
        assert_eq!(bits(0).count(), 0);
        assert_eq!(bits(u64::MAX).count(), 64);
    }
}
