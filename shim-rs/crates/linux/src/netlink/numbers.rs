// SPDX-License-Identifier: Apache-2.0
//! rtnetlink's numbers that host and guest both name, under the kernel's names: linux/netlink.h, rtnetlink.h, if.h,
//! if_link.h, if_addr.h, neighbour.h. What one of them needs alone is where it is used.
#![allow(missing_docs, reason = "the kernel's headers say what they mean")]

pub use libc::{
    IFA_ADDRESS, IFA_BROADCAST, IFA_FLAGS, IFA_LOCAL, IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, NDA_DST,
    NDA_LLADDR, NUD_PERMANENT, RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY,
    RTM_GETLINK, RTM_NEWLINK, RTN_UNICAST,
};

pub const NLM_F_REPLACE: u16 = 0x100;
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;

/// A family as messages name it: in one byte.
pub const AF_INET: u8 = 2;
pub const AF_INET6: u8 = 10;

pub const IFF_UP: u32 = 1;
/// The loopback is the first device of every namespace (`LOOPBACK_IFINDEX`).
pub const LOOPBACK: u32 = 1;

pub const RTNH_F_ONLINK: u32 = 4;
