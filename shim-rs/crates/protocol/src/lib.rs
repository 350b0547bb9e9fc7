// SPDX-License-Identifier: Apache-2.0
//! The contract between host and guest.
//!
//! Owns the messages (`proto/`), how the one byte channel between shim and agent is split into streams
//! ([`mux`]), what the first bytes of a stream say ([`stream`], [`relay`] for the guest's), what the guest says when it is up ([`hello`]) and what a
//! guest that will be saved reads before that ([`provisions`]).
//! Owns no socket, no device and no policy: both sides hand in the byte channel they have.
//!
//! Order on a channel: the agent writes [`hello`] once; the shim answers by speaking yamux; its first stream is
//! the control stream (ttrpc, the shim is the client), each further one carries the stdio of one process. Streams the
//! agent opens are connections out of the machine.

pub mod hello;
pub mod mux;
pub mod provisions;
pub mod relay;
pub mod stream;

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated/mod.rs"));
}

pub use generated::{agent, agent_ttrpc, network, plan};
pub use {async_trait, protobuf, ttrpc};

/// Goes up by one when host and guest of different builds would misunderstand each other. The agent says it in
/// [`hello`]; the shim refuses another one.
pub const GENERATION: u32 = 3;

/// Largest message either side accepts on the control stream, in bytes.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Name of the virtio-serial port that is the channel.
pub const PORT_NAME: &str = "org.boxlite.agent";

/// virtiofs tag of the share.
pub const SHARE_TAG: &str = "boxlite";

/// The NICs' permanent addresses begin so; the sixth byte is the NIC's number. The guest tells its devices apart by
/// it, whatever order they were found in, and then gives each the address of the interface it stands for.
pub const NIC_MAC_PREFIX: [u8; 5] = [0x52, 0x58, 0x4c, 0x00, 0x00];

/// What the agent prints on the console when it is ready for its first byte: for people who boot a guest by hand.
pub const READY_LINE: &str = "boxlite-agent: ready";

/// On the kernel's command line of a machine that will be saved: the agent leaves as little in memory as it can.
pub const SAVE_ARGUMENT: &str = "boxlite.save";
