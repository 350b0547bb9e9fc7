// SPDX-License-Identifier: Apache-2.0
//! containerd's shim for containers in machines of their own.
//!
//! Joins what knows nothing of each other: the Task API ([`service`]), the pure plan ([`plan`]), the host's network,
//! cgroup and share, the VMM, and the guest's agent ([`guest`]). The rooms:
//!
//! - [`bootstrap`]: how containerd starts, describes and cleans up a shim
//! - [`service`]: requests in, answers out
//! - [`sandbox`]: one machine and its life; [`container`]: one container in it, which containerd calls a task;
//!   `double`: the process of the host that stands for a container
//! - [`template`]: machines saved once, for others to start from; `trial`: machines that are no container's
//! - `accel`: which accelerator machines run with on this host, and why
//! - [`plan`]: from an OCI spec to what is to be done; decides everything, does nothing
//! - `given_limits`, [`settings`]: what a container has of this process and of the host's kernel
//! - [`share`], [`host_cgroup`], [`hooks`]: what is done on the host
//! - [`stdio`], [`events`]: what flows back; `relay`: what a container reaches of the host by this program

mod accel;
pub mod bootstrap;
pub mod config;
pub mod container;
mod double;
pub mod error;
pub mod events;
mod given_limits;
pub mod guest;
pub mod hooks;
pub mod host_cgroup;
mod host_facts;
mod machine;
mod memory;
pub mod options;
mod own_thread;
pub mod plan;
mod relay;
pub mod sandbox;
pub mod service;
pub mod settings;
pub mod share;
pub mod stdio;
mod sweep;
pub mod template;
mod trial;
