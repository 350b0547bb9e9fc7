// SPDX-License-Identifier: Apache-2.0
//! Making a template, and proving one by starting a machine from it.
//!
//! ```text
//! lock ─ digests ─ key ─┬─ there and whole: done
//!                       └─ boot ─ hello ─ save ─ pack ─ prove with a first clone ─ publish ─ bound the number
//! ```
//! The machine that is saved has an empty share, attached and not mounted, and network cards that lead nowhere: no
//! tenant's file or packet was ever in its memory. It is saved when its agent waits for the first byte from a host.
//!
//! A build that is killed takes its machine along ([`crate::trial`]); one that is dropped half-way is undone.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boxlite_protocol::agent::Provisions;
use boxlite_protocol::{SAVE_ARGUMENT, hello, provisions};
use boxlite_vmm::template::{Image, Saving, memory};
use boxlite_vmm::{Machine, Start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::class::Class;
use super::identity::{self, Digests};
use super::manifest::{self, Manifest, Part};
use super::saved::{MEMORY, STATE};
use super::store::{Entry, Lock, Store, Workspace};
use crate::config::Config;
use crate::error::TaskError;
use crate::guest::Greeting;
use crate::plan;
use crate::settings::{self, Setting};
use crate::trial::{Scratch, Trial};
use crate::{given_limits, machine};

/// A boot under emulation on a busy host, with room to spare.
const BOOT: Duration = Duration::from_secs(120);
/// What a clone may take to answer; it does nothing else.
const ANSWER: Duration = Duration::from_secs(30);
/// Templates that are kept. One more, and the one that was not used for the longest time goes.
const KEEP: usize = 8;

/// What a build is at, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Another build or removal goes first.
    Waiting,
    /// The machine boots.
    Booting,
    /// It is written down.
    Saving,
    /// A first clone is started from it.
    Proving,
}

/// What a build led to.
#[derive(Debug)]
pub struct Built {
    /// The template.
    pub entry: Entry,
    /// It was there before.
    pub already: bool,
    /// What it says of itself.
    pub manifest: Manifest,
}

/// Builds the template of one size, unless a whole one is there and `force` is not set.
///
/// Needs a tokio runtime of the calling thread's, and takes that thread into a network namespace of its own, for good.
/// The thread's end is the machine's.
///
/// # Errors
/// Whatever failed; nothing is left behind then, nor when this is dropped.
pub async fn build(
    config: &Config,
    class: Class,
    force: bool,
    watch: &(dyn Fn(Phase) + Sync),
) -> Result<Built, TaskError> {
    let directory = &config.template.directory;
    let store =
        Store::create(directory).map_err(TaskError::template("opening the directory of templates"))?;
    let lock = store
        .lock(|| watch(Phase::Waiting))
        .map_err(TaskError::template("locking the directory of templates"))?;
    let (entry, text) = identify(config, class, &store, &lock)?;
    if !force
        && let Ok(template) = store.template(&entry)
        && template.check_memory().is_ok()
    {
        return Ok(Built { entry, already: true, manifest: template.manifest });
    }
    let workspace = store.workspace(&lock).map_err(TaskError::template("making a place to build in"))?;
    let place = workspace.path().join("machine");
    let making = TaskError::template::<std::io::Error>;
    std::fs::create_dir(&place).map_err(making("making a place for the machine"))?;
    let (settings, parts) = save(config, class, &workspace, &place, watch).await?;
    watch(Phase::Proving);
    prove(config, class, &place, open(&workspace)?).await?;
    std::fs::remove_dir_all(&place).map_err(making("clearing the machine's place"))?;
    let manifest = Manifest {
        format: identity::FORMAT,
        vcpus: class.vcpus,
        memory_mib: class.memory_mib,
        key: entry.key.clone(),
        identity: text,
        settings_sha256: manifest::digest(&settings).map_err(making("writing the manifest"))?,
        settings,
        created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        memory: parts.0,
        state: parts.1,
    };
    store.publish(workspace, &manifest, &lock).map_err(TaskError::template("publishing the template"))?;
    bound(&store, &entry, &lock).map_err(TaskError::template("removing the oldest template"))?;
    Ok(Built { entry, already: false, manifest })
}

/// Starts a clone of a template that is there, and has it answer.
///
/// # Errors
/// It did not.
pub async fn try_out(config: &Config, class: Class, image: Image) -> Result<(), TaskError> {
    let scratch =
        Scratch::create(&config.paths.run).map_err(TaskError::template("making a place for the machine"))?;
    prove(config, class, scratch.path(), image).await
}

fn identify(config: &Config, class: Class, store: &Store, lock: &Lock) -> Result<(Entry, String), TaskError> {
    let machine = super::outline(config, class)?;
    let virtiofsd = &config.paths.virtiofsd;
    let paths = identity::ingredients(&machine, virtiofsd).map(|(_, path)| path);
    let digests = Digests::read(paths)
        .map_err(TaskError::template("digesting the programs and images"))?
        // Another configuration's templates may lie beside ours.
        .and(store.digests().unwrap_or_default());
    store.note(&digests, lock).map_err(TaskError::template("noting the digests"))?;
    let host = identity::host().map_err(TaskError::template("reading the host's processor"))?;
    let text = identity::identity(&machine, virtiofsd, &digests, &host).map_err(|path| {
        TaskError::Invalid { what: format!("{} changes while it is read", path.display()) }
    })?;
    Ok((Entry { class, key: identity::key(&text) }, text))
}

/// Boots a machine in `place` and leaves what is saved of it in `workspace`: the memory's part, and the state's. Also
/// tells the settings its guest was given.
async fn save(
    config: &Config,
    class: Class,
    workspace: &Workspace,
    place: &Path,
    watch: &(dyn Fn(Phase) + Sync),
) -> Result<(Vec<Setting>, (Part, Part)), TaskError> {
    watch(Phase::Booting);
    let failed = TaskError::template::<std::io::Error>;
    let file = |name: &str| {
        File::options().read(true).write(true).create_new(true).open(workspace.path().join(name))
    };
    let ram = memory::anonymous(u64::from(class.memory_mib) << 20).map_err(failed("making the memory"))?;
    let mut state = file(STATE).map_err(failed("making the state's file"))?;
    let saving = Saving {
        memory: ram.try_clone().map_err(failed("making the memory"))?,
        state: state.try_clone().map_err(failed("making the state's file"))?,
    };
    let kernel = settings::kernel();
    let trial = launch(config, class, place, Start::BootToSave(saving))?;
    // This thread is in a network namespace as a container's begins.
    let settings = settings::for_guest(kernel, &settings::network(), given_limits::all());
    let machine = &trial.machine;
    // Held until it is saved: the end of it would be a message to the guest, first thing in each clone, that its host has
    // gone, and the next that one has come; whoever looked between the two would end.
    let channel = await_hello(&**machine, &provisions(config, &settings)).await?;
    watch(Phase::Saving);
    machine.save().await.map_err(TaskError::template("saving the machine"))?;
    machine.end().await;
    drop(channel);
    let mut packed = file(MEMORY).map_err(failed("making the memory's file"))?;
    memory::pack(&ram, &mut packed).map_err(failed("packing the memory"))?;
    Ok((settings, (part(&mut packed)?, part(&mut state)?)))
}

fn part(file: &mut File) -> Result<Part, TaskError> {
    let digest = |file: &mut File| -> std::io::Result<Part> {
        std::io::Seek::rewind(file)?;
        Ok(Part { size: file.metadata()?.len(), sha256: identity::sha256_of(file)? })
    };
    digest(file).map_err(TaskError::template("digesting the template"))
}

/// What each container from this configuration will ask for.
fn provisions(config: &Config, settings: &[Setting]) -> Provisions {
    Provisions {
        device_program: plan::usual_device_program(),
        sysctls: machine::guest_sysctls(config.accel()),
        settings: settings.iter().map(Into::into).collect(),
        ..Provisions::default()
    }
}

async fn await_hello(machine: &dyn Machine, provisions: &Provisions) -> Result<UnixStream, TaskError> {
    let failed = TaskError::template::<std::io::Error>;
    let channel = machine.take_channel().ok_or_else(|| gone(machine, "its channel was taken".to_owned()))?;
    let mut channel = UnixStream::from_std(channel).map_err(failed("preparing the channel"))?;
    // A machine that will be saved listens first.
    let provisions =
        provisions::encode(provisions).map_err(TaskError::template("packing the guest's provisions"))?;
    channel.write_all(&provisions).await.map_err(failed("sending the guest's provisions"))?;
    let mut bytes = [0; hello::LENGTH];
    match tokio::time::timeout(BOOT, channel.read_exact(&mut bytes)).await {
        Ok(Ok(_)) => {}
        // Only a machine that ends closes its channel.
        Ok(Err(_)) => {
            let exit = machine.exited().await;
            return Err(gone(machine, format!("it ended before the guest was up: {}", exit.process)));
        }
        Err(_) => return Err(gone(machine, format!("the guest was not up within {} s", BOOT.as_secs()))),
    }
    hello::check(bytes).map_err(TaskError::template("greeting the guest's agent"))?;
    Ok(channel)
}

fn open(workspace: &Workspace) -> Result<Image, TaskError> {
    let open = |name: &str| File::open(workspace.path().join(name));
    let image = || Ok(Image { memory: open(MEMORY)?, state: open(STATE)? });
    image().map_err(TaskError::template::<std::io::Error>("opening the template"))
}

/// Has a machine go on from `image` and take its first call.
async fn prove(config: &Config, class: Class, directory: &Path, image: Image) -> Result<(), TaskError> {
    let trial = launch(config, class, directory, Start::Restore(image))?;
    let machine = &trial.machine;
    let answered = tokio::time::timeout(ANSWER, trial.first_call(Greeting::SaidBefore)).await;
    machine.end().await;
    let late = || gone(&**machine, format!("a clone did not answer within {} s", ANSWER.as_secs()));
    answered.unwrap_or_else(|_| Err(late()))
}

/// Starts a machine of this size that is no container's.
fn launch(config: &Config, class: Class, directory: &Path, start: Start) -> Result<Trial, TaskError> {
    // The argument is read by the guest alone, while it boots: no part of what a clone must be like.
    Trial::launch(config, "boxlite-template", class.whole(), directory, (start, SAVE_ARGUMENT))
}

fn gone(machine: &dyn Machine, why: String) -> TaskError {
    TaskError::MachineGone { why, console: machine.console_tail() }
}

/// Takes away what was used least recently, until no more than [`KEEP`] are left. Never `fresh`.
fn bound(store: &Store, fresh: &Entry, lock: &Lock) -> std::io::Result<()> {
    let others = store.entries()?.into_iter().filter(|entry| entry != fresh);
    // What cannot be opened was never used by anybody.
    let used = |entry: &Entry| store.template(entry).map_or(UNIX_EPOCH, |template| template.used);
    let mut others: Vec<(SystemTime, Entry)> = others.map(|entry| (used(&entry), entry)).collect();
    others.sort_by_key(|(used, _)| *used);
    let excess = (others.len() + 1).saturating_sub(KEEP);
    others.iter().take(excess).try_for_each(|(_, entry)| store.remove(entry, lock))
}
