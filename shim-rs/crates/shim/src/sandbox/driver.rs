// SPDX-License-Identifier: Apache-2.0
//! The one task that owns a sandbox's state: who is in it, whether its guest is there, and its end.
//!
//! Takes orders one after the other and watches what can happen by itself; publishes [`Life`]. Nobody else writes it.
//! Does not own the containers: it is told when one leaves.
//!
//! ```text
//!  connect to the guest ─▶ Up ─▶ orders: pause, resume, leave
//!        │                        │ the machine ends; or is of no use (its files, its channel) and is ended
//!        ▼                        ▼
//!      Dead: orders are answered, nothing more can be done ─▶ the last has left ─▶ unmake ─▶ Gone
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use boxlite_protocol::mux::Incoming;
use boxlite_vmm::{Machine, MachineExit, Process, ProcessExit};
use tokio::sync::{mpsc, oneshot, watch};

use super::launch::{self, Machinery};
use super::{End, Life, Refused};
use crate::error::chain;
use crate::guest::{Greeting, Guest};
use crate::machine::ended_too;
use crate::relay::Relays;

/// What the driver is told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Stop the processors.
    Pause(oneshot::Sender<Result<(), Refused>>),
    /// Let them go on.
    Resume(oneshot::Sender<Result<(), Refused>>),
    /// A container has ended.
    Leave(String, oneshot::Sender<Left>),
}

/// What a container left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Others are in the sandbox.
    Others,
    /// It was the last: the sandbox goes.
    Last,
}

/// Who is in a sandbox. Pure.
#[derive(Debug)]
struct Members(BTreeSet<String>);

impl Members {
    fn leave(&mut self, container: &str) -> Left {
        self.0.remove(container);
        if self.0.is_empty() { Left::Last } else { Left::Others }
    }
}

/// Where orders are taken.
struct Desk {
    machine: Arc<dyn Machine>,
    members: Members,
    orders: mpsc::UnboundedReceiver<Order>,
}

/// Drives the sandbox of container `id` until nothing is left of it.
pub(super) fn drive(
    id: &str,
    launched: Machinery,
    relays: Arc<Relays>,
    began: Instant,
    life: watch::Sender<Life>,
    orders: mpsc::UnboundedReceiver<Order>,
) {
    let Machinery { machine, virtiofsd, record, connected, .. } = launched;
    let members = Members(BTreeSet::from([id.to_owned()]));
    let mut desk = Desk { machine: machine.clone(), members, orders };
    let id = id.to_owned();
    tokio::spawn(async move {
        let up = come_up(&mut desk, connected).await;
        let was_up = up.is_ok();
        let why = match up {
            Ok((guest, incoming)) => {
                tracing::info!(id, t_boot = ?began.elapsed(), "guest is up");
                tokio::spawn(relays.serve(incoming));
                life.send_replace(Life::Up(guest.clone()));
                desk.work_until(over(&id, &*machine, virtiofsd.as_ref(), &guest)).await
            }
            Err(why) => {
                if !desk.is_deserted() {
                    tracing::error!(id, why, "guest did not come up");
                }
                Some(why)
            }
        };
        let why = why.unwrap_or_else(|| "its last container has ended".to_owned());
        let end = End { why, was_up };
        life.send_replace(Life::Dead(end.clone()));
        while !desk.is_deserted() {
            desk.take_one().await;
        }
        tokio::join!(machine.end(), launch::unmake(record));
        life.send_replace(Life::Gone(end));
    });
}

impl Desk {
    /// Nobody is in the sandbox any more.
    fn is_deserted(&self) -> bool {
        self.members.0.is_empty()
    }

    /// Carries out orders until something has happened, and gives that; nothing when the last container left before.
    async fn work_until<T>(&mut self, happened: impl Future<Output = T>) -> Option<T> {
        let mut happened = std::pin::pin!(happened);
        while !self.is_deserted() {
            tokio::select! {
                what = &mut happened => return Some(what),
                () = self.take_one() => {}
            }
        }
        None
    }

    /// Who gave the order may have gone meanwhile: then nobody hears the answer.
    async fn take_one(&mut self) {
        match self.orders.recv().await {
            Some(Order::Pause(answer)) => drop(answer.send(self.pause().await)),
            Some(Order::Resume(answer)) => drop(answer.send(self.resume().await)),
            Some(Order::Leave(container, answer)) => drop(answer.send(self.members.leave(&container))),
            // Nobody can give orders any more, to leave neither.
            None => self.members.0.clear(),
        }
    }

    async fn pause(&self) -> Result<(), Refused> {
        if !self.runs() {
            return Err(Refused::Already);
        }
        match self.machine.pause().await {
            Err(error) if self.runs() => Err(Refused::Failed(error)),
            _ => Ok(()),
        }
    }

    async fn resume(&self) -> Result<(), Refused> {
        if self.runs() {
            return Err(Refused::Already);
        }
        match self.machine.resume().await {
            Err(error) if !self.runs() => Err(Refused::Failed(error)),
            _ => Ok(()),
        }
    }

    fn runs(&self) -> bool {
        *self.machine.running().borrow()
    }
}

/// Connects to the guest as soon as it is up, or learns that it never will be. One that was restored is `connected`.
async fn come_up(desk: &mut Desk, connected: Option<(Guest, Incoming)>) -> Result<(Guest, Incoming), String> {
    let machine = desk.machine.clone();
    let connecting = async {
        match (connected, machine.take_channel()) {
            (Some(connected), _) => Ok(connected),
            (None, Some(channel)) => match Guest::connect(channel, Greeting::Expected).await {
                Ok(connected) => Ok(connected),
                Err(error) => Err(explained(&*machine, chain(&error)).await),
            },
            (None, None) => Err("its channel was taken before".to_owned()),
        }
    };
    let up = desk.work_until(connecting).await;
    up.unwrap_or_else(|| Err("its last container ended before the guest was up".to_owned()))
}

/// Why a guest did not come up, when `seen` is what the channel told of it: how its machine ended, if it has. Without the
/// console, which the error of whoever needed the machine shows.
pub(super) async fn explained(machine: &dyn Machine, seen: String) -> String {
    match ended_too(machine).await {
        Some(exit) => format!("it ended before the guest was up: {}", without_console(exit)),
        None => seen,
    }
}

fn without_console(exit: MachineExit) -> MachineExit {
    MachineExit { console: String::new(), ..exit }
}

/// Waits for the end of a machine whose guest is up; one that is of no use any more is ended. Says how it came.
async fn over(id: &str, machine: &dyn Machine, virtiofsd: Option<&Process>, guest: &Guest) -> String {
    let exit = tokio::select! {
        exit = machine.exited() => exit,
        why = useless(machine, virtiofsd, guest) => {
            tracing::error!(id, why, "the machine is of no use any more");
            machine.end().await;
            return why;
        }
    };
    if !exit.requested {
        tracing::error!(id, how = %exit, "the machine ended");
    }
    without_console(exit).to_string()
}

/// Resolves with the reason why a machine that runs is not to be kept: whatever touches its files waits for ever, or
/// nobody answers in it.
async fn useless(machine: &dyn Machine, virtiofsd: Option<&Process>, guest: &Guest) -> String {
    tokio::select! {
        why = files_gone(machine, virtiofsd) => why,
        () = channel_gone(machine, guest) => "its guest has closed the channel".to_owned(),
    }
}

/// Resolves with the reason when the share is not served any more. A machine that ends lets go of its file server before
/// it has ended, and that server ends well: this is not meant.
async fn files_gone(machine: &dyn Machine, virtiofsd: Option<&Process>) -> String {
    let Some(virtiofsd) = virtiofsd else { return std::future::pending().await };
    tokio::select! {
        exit = virtiofsd.exited() => {
            if exit == ProcessExit::Code(0) && ended_too(machine).await.is_some() {
                return std::future::pending().await;
            }
            format!("its file server ended: {exit}: {}", virtiofsd.stderr())
        }
        () = virtiofsd.panicked() => format!("its file server panicked: {}", virtiofsd.stderr()),
    }
}

/// Resolves when the guest has left the channel. With the machine goes the channel: that is not meant.
async fn channel_gone(machine: &dyn Machine, guest: &Guest) {
    guest.channel_ended().await;
    if ended_too(machine).await.is_some() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_leave_takes_the_sandbox_along() {
        let mut members = Members(BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(members.leave("a"), Left::Others);
        assert_eq!(members.leave("a"), Left::Others, "it left before");
        assert_eq!(members.leave("stranger"), Left::Others);
        assert_eq!(members.leave("b"), Left::Last);
    }
}
