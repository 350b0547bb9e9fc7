// SPDX-License-Identifier: Apache-2.0
//! The host side of one container's network: the namespace, what the engine built in it, the taps, the redirect.
//!
//! The engine builds the container's network as it does for any container: a veth (or macvlan, ...) with addresses
//! and routes in a network namespace. The VMM lives in that namespace and holds a tap. This crate joins the two below
//! the namespace's own IP stack, and tells what the guest has to take over. The engine's addresses stay where it put
//! them: its statistics and its `inspect` keep working.
//!
//! Not here: anything inside the guest, the VMM, OCI, containerd. Nothing here polls or executes another program.
//!
//! Order of calls:
//! 1. [`Namespace::create`] or [`Namespace::open`]
//! 2. [`open_tap`] for each card of the machine; the descriptors go to the VMM
//! 3. a thread calls [`Namespace::enter`] and starts the VMM, so that `/proc/<vmm>/ns/net` is the container's
//! 4. the engine builds its network
//! 5. [`scan`], once; then [`redirect`] for each link found by its [`Lane`], and [`let_answers_in`] where an engine's
//!    resolver was
//! 6. [`Changes`] tells when to scan again: an engine may attach networks to a container that runs
//!
//! Nothing has to be undone: a tap goes with its descriptors or with a namespace of ours, and that with its last user.

mod changes;
mod error;
mod layout;
mod namespace;
mod netlink;
mod redirect;
mod resolver;
mod scan;
mod sys;
mod tap;
mod trunk;

pub use changes::Changes;
pub use error::NetError;
pub use layout::{Address, Lane, Layout, Link, Neighbor, Route};
pub use namespace::Namespace;
pub use redirect::redirect;
pub use resolver::let_answers_in;
#[cfg(feature = "fuzzing")]
pub use scan::layout_of;
pub use scan::scan;
pub use tap::{open_tap, tap_name};
