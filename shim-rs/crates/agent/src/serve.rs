// SPDX-License-Identifier: Apache-2.0
//! Runs the agent on its channel until the channel ends.

use std::io::Error;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use boxlite_protocol::agent_ttrpc::create_agent;
use boxlite_protocol::mux::{self, Incoming};
use boxlite_protocol::ttrpc::r#async::transport::Listener;
use boxlite_protocol::ttrpc::asynchronous::Server;
use rustix::fs::{Mode as FileMode, OFlags};
use rustix::system::RebootCommand;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::channel::Channel;
use crate::configure::Cards;
use crate::containers::Containers;
use crate::error::{Fault, Trying};
use crate::events::MemoryEvents;
use crate::mode::{self, Mode};
use crate::process::limits;
use crate::provisions::Provisions;
use crate::reaper::Reaper;
use crate::relay::Relays;
use crate::service::Service;
use crate::share::Share;
use crate::streams::Streams;
use crate::{boot, hygiene, settle, sys};

const CGROUPS: &str = "/sys/fs/cgroup";
/// How often tasks that have been started get their turn before the host is let in.
const FIRST_STEPS: usize = 4;

/// As PID 1. The machine ends with the agent, whatever the reason.
pub(crate) fn guest() -> ExitCode {
    let result = boot::prepare().and_then(|()| {
        let channel = boot::open_port()?;
        run(channel, true, None, Some(PathBuf::from(CGROUPS)))
    });
    if let Err(fault) = result {
        mode::say(&format!("boxlite-agent: {fault}"));
    }
    // QEMU is told not to restart a machine. Should even this fail, the kernel panics when PID 1 ends.
    let _ = rustix::system::reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

/// As a plain process on a host.
pub(crate) fn process(mode: Mode) -> ExitCode {
    sys::notice_all_signals();
    let channel = sys::inherited(mode.channel).trying(|| "open channel".to_owned());
    let share = Share { path: mode.share, mounted: false };
    match channel.and_then(|channel| run(channel, false, Some(share), mode.cgroups)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            mode::say(&format!("boxlite-agent: {fault}"));
            ExitCode::FAILURE
        }
    }
}

fn run(fd: OwnedFd, guest: bool, share: Option<Share>, cgroups: Option<PathBuf>) -> Result<(), Fault> {
    limits::allow_open_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime: Runtime = runtime.trying(|| "start runtime".to_owned())?;
    runtime.block_on(async {
        let channel = Channel::open(fd).trying(|| "open channel".to_owned())?;
        let door = channel.door().trying(|| "open channel".to_owned())?;
        let saved = guest && hygiene::will_be_saved()?;
        let provisions = if saved {
            let wanted = door.provisions().trying(|| "read provisions".to_owned())?;
            Provisions::make(cgroups.as_deref(), wanted)?
        } else {
            Provisions::default()
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let (opener, incoming, driver) = mux::server(channel);
        let containers = Arc::new(Containers {
            streams: Arc::default(),
            relays: Relays::new(opener, guest),
            events: MemoryEvents::new()?,
            reaper: Reaper::start().trying(|| "watch children".to_owned())?,
            provisions,
            cards: guest.then(Cards::prepare).transpose()?,
            cgroups,
            guest,
            own_pids: rustix::fs::open("/proc/self/ns/pid", flags, FileMode::empty())
                .trying(|| "open pid namespace".to_owned())?,
            share: Mutex::new(share),
            table: Mutex::default(),
        });
        let _server = serve(incoming, Arc::clone(&containers)).await?;
        // Each task gets to where it waits: a machine that is saved has that behind it. Not the driver, which writes.
        for _ in 0..FIRST_STEPS {
            tokio::task::yield_now().await;
        }
        if saved {
            hygiene::tidy()?;
        }
        if guest {
            mode::say(boxlite_protocol::READY_LINE);
        }
        // The last thing before it waits: whoever saves this machine goes by it.
        door.greet().trying(|| "say hello".to_owned())?;
        // Nothing else is to run before the host has spoken: this blocks the one thread.
        door.await_host().trying(|| "wait for the host".to_owned())?;
        // Its end, however it came, is the end of the host.
        let _ = driver.await;
        if !guest {
            end_all(&containers).await;
        }
        Ok(())
    })
}

/// Makes all that answers calls; to be kept until the channel has ended.
async fn serve(streams: Incoming, containers: Arc<Containers>) -> Result<Server, Fault> {
    let (control, mut controls) = mpsc::unbounded_channel();
    tokio::spawn(Streams::accept(Arc::clone(&containers.streams), streams, control));
    let incoming = futures::stream::poll_fn(move |context| {
        controls.poll_recv(context).map(|stream| stream.map(Ok::<_, Error>))
    });
    let mut server = Server::new()
        .add_listener(Listener::new(incoming))
        .register_service(create_agent(Arc::new(Service(containers))));
    server.start().await.map_err(|error| Fault::refused(error.to_string()))?;
    Ok(server)
}

/// There is no machine that would take the containers with it.
async fn end_all(containers: &Arc<Containers>) {
    for container in containers.all() {
        // What cannot be ended here was never more than a process of this host: who started the agent sees it.
        if settle::clear(&container).await.is_ok()
            && let Some(cgroup) = &container.cgroup
        {
            let _ = cgroup.remove();
        }
    }
    containers.relays.clear();
}
