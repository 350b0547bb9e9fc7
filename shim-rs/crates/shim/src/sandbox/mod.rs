// SPDX-License-Identifier: Apache-2.0
//! One sandbox: a machine, what it is put into, and its life.
//!
//! Owns the machine, the channel, the share, the network, the relays, the record of what was made, and their end. Knows
//! its containers by their ids alone: what a container does in it goes through this door ([`Sandbox::guest`] and the
//! verbs here). [`launch`] makes it, [`driver`] is the one task that owns its state and takes messages.
//!
//! ```text
//!            hello, or restored          the machine, its files or its channel end
//!  Booting ─────────────────────▶ Up ────────────────────┐
//!     │                                                  ▼
//!     └──────────── never came up ───────────────────▶ Dead ──▶ Gone: nothing is left on the host
//!                                       the last container left ─┘
//! ```
//! Whether the machine stands still is the machine's to say, not a state here. Killing it is an act that any caller may
//! take at any time; what came of it the driver sees.

mod driver;
mod host;
pub(crate) mod launch;
mod network;
pub mod record;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use boxlite_net::{Changes, Namespace};
use boxlite_vmm::{Accel, Machine, VmmError};
use tokio::sync::{mpsc, oneshot, watch};

use self::driver::Order;
pub use self::host::{Host, HostShare, RealHost};
use self::network::Joined;
use crate::error::TaskError;
use crate::guest::Guest;
use crate::relay::Relays;
use crate::settings::Setting;

/// Where a sandbox is in its life.
#[derive(Debug, Clone)]
enum Life {
    /// The guest is not there yet.
    Booting,
    /// It answers.
    Up(Guest),
    /// It never came up, or is not there any more.
    Dead(End),
    /// Nothing is left of the sandbox on the host.
    Gone(End),
}

/// How a sandbox ended.
#[derive(Debug, Clone)]
struct End {
    why: String,
    /// The guest had been there.
    was_up: bool,
}

/// A machine and what it is put into.
pub(crate) struct Sandbox {
    /// Its first container's id, which names it.
    id: String,
    machine: Arc<dyn Machine>,
    accel: Accel,
    /// How many links the machine has cards for.
    nics: u32,
    /// How much memory the machine may take, in MiB.
    memory_mib: Mutex<u32>,
    network: Arc<Namespace>,
    relays: Arc<Relays>,
    /// The host's, which the guest has not been given yet.
    settings: Vec<Setting>,
    /// As the guest finds the share: tag and path.
    share: (String, String),
    life: watch::Receiver<Life>,
    orders: mpsc::UnboundedSender<Order>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sandbox").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a launch leaves to the sandbox.
pub(crate) struct Parts {
    pub(crate) launched: launch::Machinery,
    pub(crate) relays: Arc<Relays>,
    pub(crate) accel: Accel,
    pub(crate) nics: u32,
    pub(crate) memory_mib: u32,
    pub(crate) share: (String, String),
    /// When its making began.
    pub(crate) began: Instant,
}

impl Sandbox {
    /// Takes over what was launched for container `id`, its first, and has it live.
    pub(crate) fn begin(id: &str, parts: Parts) -> Arc<Self> {
        let Parts { mut launched, relays, accel, nics, memory_mib, share, began } = parts;
        let settings = std::mem::take(&mut launched.settings);
        let (machine, network) = (launched.machine.clone(), launched.namespace.clone());
        let (tell, life) = watch::channel(Life::Booting);
        let (orders, taken) = mpsc::unbounded_channel();
        driver::drive(id, launched, relays.clone(), began, tell, taken);
        let (id, memory_mib) = (id.to_owned(), Mutex::new(memory_mib));
        Arc::new(Self {
            id,
            machine,
            accel,
            nics,
            memory_mib,
            network,
            relays,
            settings,
            share,
            life,
            orders,
        })
    }

    pub(crate) fn accel(&self) -> Accel {
        self.accel
    }

    /// Lets the machine take so much memory, if it may not take more already, and returns in bytes what the guest is to be
    /// told. What it has taken it keeps.
    ///
    /// # Errors
    /// The bound cannot be moved.
    pub(crate) fn allow_memory(&self, mib: u32) -> Result<u64, TaskError> {
        let mut allowed = self.memory_mib.lock().unwrap_or_else(PoisonError::into_inner);
        *allowed = mib.max(*allowed);
        self.machine.bound_memory(*allowed).map_err(TaskError::machine("bounding the machine's memory"))?;
        Ok(u64::from(*allowed) << 20)
    }

    /// What of the host's settings the guest is to be given with its first call.
    pub(crate) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The virtio tag of the share and the path it is mounted at in the guest.
    pub(crate) fn share(&self) -> (String, String) {
        self.share.clone()
    }

    /// Waits for the guest to be up.
    ///
    /// # Errors
    /// [`TaskError::MachineGone`] with the reason why it is not, or not any more.
    pub(crate) async fn guest(&self) -> Result<Guest, TaskError> {
        let mut life = self.life.clone();
        let seen = life.wait_for(|life| !matches!(life, Life::Booting)).await.map(|life| life.clone());
        match seen {
            Ok(Life::Up(guest)) => Ok(guest),
            Ok(Life::Dead(end) | Life::Gone(end)) => Err(self.gone(end.why)),
            Ok(Life::Booting) | Err(_) => Err(self.gone("the guest never came up".to_owned())),
        }
    }

    /// Resolves when there is no machine any more, or never was one of use.
    pub(crate) async fn dead(&self) {
        // An error is the driver gone with its runtime.
        let _ = self.life.clone().wait_for(|life| matches!(life, Life::Dead(_) | Life::Gone(_))).await;
    }

    /// The error of who needed the machine, with the guest's last words.
    pub(crate) fn gone(&self, why: String) -> TaskError {
        TaskError::MachineGone { why, console: self.machine.console_tail() }
    }

    /// The error of a start for which there never was a guest, if that is so.
    pub(crate) fn never_up(&self) -> Option<TaskError> {
        match &*self.life.borrow() {
            Life::Dead(end) | Life::Gone(end) if !end.was_up => Some(self.gone(end.why.clone())),
            _ => None,
        }
    }

    /// Adds the console to what a dead machine left behind.
    pub(crate) fn with_console(&self, error: TaskError) -> TaskError {
        match error {
            TaskError::MachineGone { why, console } if console.is_empty() => self.gone(why),
            other => other,
        }
    }

    /// Whether the machine stands still.
    pub(crate) fn is_paused(&self) -> bool {
        !*self.machine.running().borrow()
    }

    /// Resolves when the machine stands still.
    pub(crate) async fn stands_still(&self) {
        // An error is a machine that has ended: that is told elsewhere.
        if self.machine.running().wait_for(|running| !running).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when the machine's processors run; at once if they do.
    async fn runs(&self) {
        if self.machine.running().wait_for(|running| *running).await.is_err() {
            // It has ended as it stood.
            std::future::pending::<()>().await;
        }
    }

    /// Stops the machine: nothing in it runs.
    ///
    /// # Errors
    /// It stands still already, or cannot be stopped.
    pub(crate) async fn pause(&self) -> Result<(), TaskError> {
        self.ask(Order::Pause).await?.map_err(|refused| refused.of("pause", "paused", "pausing the machine"))
    }

    /// Lets the machine go on.
    ///
    /// # Errors
    /// It runs, or cannot be let go on.
    pub(crate) async fn resume(&self) -> Result<(), TaskError> {
        self.ask(Order::Resume)
            .await?
            .map_err(|refused| refused.of("resume", "running", "resuming the machine"))
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, TaskError> {
        let (answer, answered) = oneshot::channel();
        // Fails only without the driver, and then so does the answer.
        let _ = self.orders.send(order(answer));
        answered.await.map_err(|_| self.gone("it is not driven any more".to_owned()))
    }

    /// Kills the machine, whatever it is at, and waits until it is gone.
    pub(crate) async fn kill(&self) {
        self.machine.end().await;
    }

    /// Says that a container has ended. The last one takes the sandbox with it: then this waits until nothing of it is left
    /// on the host.
    pub(crate) async fn leave(&self, container: &str) {
        let left = self.ask(|answer| Order::Leave(container.to_owned(), answer)).await;
        if matches!(left, Ok(driver::Left::Last)) {
            let _ = self.life.clone().wait_for(|life| matches!(life, Life::Gone(_))).await;
        }
    }

    /// Joins the network as the engine has made it, and from before that watches for what it changes later.
    ///
    /// # Errors
    /// The network cannot be read or joined, or has more links than the machine has cards.
    pub(crate) async fn join_network(&self) -> Result<(Changes, Joined), TaskError> {
        let (namespace, nics) = (self.network.clone(), self.nics);
        let joining = tokio::task::spawn_blocking(move || {
            let watched = Changes::watch(&namespace).map_err(TaskError::network("watching the network"))?;
            network::join(&namespace, nics, None).map(|joined| joined.map(|joined| (watched, joined)))
        });
        let joined = joining.await.map_err(TaskError::network("the network thread"))??;
        let (changes, joined) =
            joined.ok_or_else(|| self.gone("its network was joined before".to_owned()))?;
        if let Some(address) = joined.resolver() {
            self.relays.resolve_in(self.network.clone(), address);
        }
        Ok((changes, joined))
    }

    /// Has the guest follow what the engine changes in the network, until the machine ends.
    pub(crate) fn follow_network(self: &Arc<Self>, changes: Changes, joined: Joined) {
        network::follow(self, changes, joined);
    }
}

/// Why a machine was not stopped, or not let go on.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is so already.
    Already,
    /// The machine's own answer.
    Failed(VmmError),
}

impl Refused {
    fn of(self, verb: &'static str, state: &'static str, step: &'static str) -> TaskError {
        match self {
            Self::Already => TaskError::State { verb, state },
            Self::Failed(error) => TaskError::machine(step)(error),
        }
    }
}
