// SPDX-License-Identifier: Apache-2.0
//! Asking: a guest is booted as a container's is, by the same command line and with every device, until its agent has taken
//! the first call. A `/dev/kvm` that opens proves nothing, and a lesser machine may come up where that one does not.
//!
//! The calling thread is in a network namespace of its own from then on, and its end is the machine's ([`crate::trial`]).

use std::time::{Duration, Instant};

use boxlite_vmm::{Accel, Machine, Start};

use super::facts::Facts;
use super::judge::{self, Outcome, Verdict};
use super::said::Said;
use crate::config::{AccelChoice, Config};
use crate::error::{TaskError, chain};
use crate::guest::Greeting;
use crate::machine::{ended_too, usual};
use crate::plan::MachineSize;
use crate::trial::{Scratch, Trial};

/// What a guest may take to come up. All hosts are busy at times, and a KVM under which guests hang costs this once.
const KVM: Duration = Duration::from_secs(30);
/// The same in a host that is a machine itself. In an emulated one it takes seven seconds, and thirteen if that is busy.
const NESTED: Duration = Duration::from_secs(60);
/// A guest that is translated takes about a second on a quiet host, and several on a busy one.
const TCG: Duration = Duration::from_secs(60);

/// Most room of a machine that is asked with, in MiB.
const ROOM_MIB: u32 = 1024;

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Guests come up with this accelerator.
    Answer(Verdict),
    /// They come up with none: it is the guest's fault, and says nothing about this host.
    Nowhere(String),
}

/// Which accelerator guests come up with here. A guest that does not under KVM must under TCG; `thorough`: also where there
/// is no KVM to try. `most`: how long it may take, at most.
///
/// # Errors
/// It could not be found out: no machine was started.
pub(crate) async fn ask(config: &Config, thorough: bool, most: Option<Duration>) -> Result<Found, TaskError> {
    let facts = Facts::observe();
    let verdict = match judge::without_boot(&facts) {
        Some(verdict) if thorough => verdict,
        Some(verdict) => return Ok(Found::Answer(verdict)),
        None => {
            let usual = if facts.processor.outer.is_some() { NESTED } else { KVM };
            judge::after_boot(&facts, &boot(config, Accel::Kvm, most.unwrap_or(usual)).await?)
        }
    };
    if verdict.accel == Accel::Kvm {
        return Ok(Found::Answer(verdict));
    }
    Ok(match boot(config, Accel::Tcg, most.unwrap_or(TCG)).await? {
        Outcome::Up(_) => Found::Answer(verdict),
        failure => Found::Nowhere(judge::failed(&failure)),
    })
}

async fn boot(config: &Config, accel: Accel, patience: Duration) -> Result<Outcome, TaskError> {
    let mut config = config.clone();
    config.machine.accel = AccelChoice::of(accel);
    let scratch =
        Scratch::create(&config.paths.run).map_err(TaskError::host("making a place for the machine"))?;
    // Whether guests come up does not depend on the room, and where they do not, mapping it can take a minute.
    let usual = usual(&config);
    let size = MachineSize { room_mib: usual.room_mib.min(ROOM_MIB), ..usual };
    let began = Instant::now();
    let trial = Trial::launch(&config, "boxlite-probe", size, scratch.path(), (Start::Boot, ""))?;
    let machine = &*trial.machine;
    let answered = tokio::select! {
        answered = tokio::time::timeout(patience, trial.first_call(Greeting::Expected)) => Some(answered),
        () = stopped(machine) => None,
    };
    let took = began.elapsed();
    let ended = match answered {
        Some(Ok(Err(_))) => ended_too(machine).await.is_some(),
        Some(_) => false,
        None => true,
    };
    machine.end().await;
    let exit = machine.exited().await;
    let said = Said { qemu: exit.stderr, console: exit.console };
    Ok(match answered {
        Some(Ok(Ok(()))) => Outcome::Up(took),
        Some(Ok(Err(error))) if !ended => Outcome::Misunderstood(chain(&error)),
        Some(Err(_)) => Outcome::Late(patience, said),
        None | Some(Ok(Err(_))) => Outcome::Ended(said),
    })
}

/// Resolves when the machine stands still without having been told to: its hypervisor cannot go on, and QEMU stays.
async fn stopped(machine: &dyn Machine) {
    if machine.running().wait_for(|running| !running).await.is_err() {
        std::future::pending::<()>().await;
    }
}
