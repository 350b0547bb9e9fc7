// SPDX-License-Identifier: Apache-2.0
//! The server: the Task API on the socket `start` made, until Shutdown.

use std::collections::HashMap;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boxlite_protocol::ttrpc::asynchronous::transport::Listener;
use boxlite_protocol::ttrpc::asynchronous::{Server, Service as TtrpcService};
use containerd_shim::Flags;
use containerd_shim_protos::shim_async::{Task as TaskService, create_task};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::log;
use crate::config::Config;
use crate::container::Surroundings;
use crate::error::{TaskError, chain};
use crate::events::Publisher;
use crate::sandbox::RealHost;
use crate::service::Service;
use crate::{given_limits, host_cgroup, memory, plan, settings, sweep};

/// Where `start` put the listening socket.
pub(super) const LISTENER_FD: i32 = 3;
/// Files a shim may have open, where it may.
const OPEN_FILES: u64 = 8192;
/// A shim nobody gave a task to by then was forgotten (containerd's own deadline for Create is shorter).
const FORGOTTEN: Duration = Duration::from_secs(60);
/// One whose task is over and whom nobody can ask for it any more is not kept for longer.
const ORPHANED: Duration = Duration::from_secs(60);

pub(super) fn serve(flags: &Flags) -> Result<(), TaskError> {
    if flags.socket.is_empty() {
        return Err(TaskError::Invalid { what: "this program is started by containerd".to_owned() });
    }
    memory::share_arena();
    given_limits::remember();
    let open_files = allow_open_files();
    let origin = host_cgroup::remember_origin();
    let ahead = [begin("cgroup", expect_moves), begin("plan", expect_plan), begin("settings", expect_guest)];
    // The engine names its file only with Create; a wrong one is refused there, with words.
    let level = Config::load(None, None).map(|config| config.log.level);
    log::init(flags.debug, level.ok().as_deref());
    // On this thread alone: another costs memory in every container, and time in each message that goes from one to the
    // other. What blocks has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TaskError::host("starting the runtime"))?;
    if let Err(error) = origin {
        tracing::warn!(error = chain(&error), "this shim will not find back to its cgroup");
    }
    if let Err(error) = open_files {
        tracing::warn!(%error, "this shim carries fewer execs at once than it could");
    }
    for error in ahead.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "nothing is done ahead of Create");
    }
    let served = runtime.block_on(run(flags));
    if let Err(error) = std::fs::remove_file(Path::new(&flags.socket)) {
        tracing::debug!(%error, "socket was gone");
    }
    // A logger or reader that hangs does not keep the shim.
    runtime.shutdown_background();
    served
}

/// A thousand execs have four files each. containerd of its own gives its shims the host's usual 1024, of the 524288 that
/// they may have.
fn allow_open_files() -> std::io::Result<()> {
    let given = getrlimit(Resource::Nofile);
    let wanted = given.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if given.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: given.maximum })?;
    }
    Ok(())
}

/// Create comes in some milliseconds. What it would wait for is begun now, beside it.
fn begin(name: &str, work: fn()) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Create moves this process.
fn expect_moves() {
    if let Err(error) = host_cgroup::expect_moves() {
        tracing::debug!(error = chain(&error), "Create will wait for its move");
    }
}

/// Create compiles the plan of the container in whose bundle this process was started. What is wrong with its spec is
/// told there.
fn expect_plan() {
    if let Ok(spec) = plan::load(Path::new(".")) {
        plan::compile_ahead(&spec);
    }
}

/// Create gives a guest the host's settings.
fn expect_guest() {
    settings::kernel();
}

async fn run(flags: &Flags) -> Result<(), TaskError> {
    let ttrpc_address = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
    let publisher = Publisher::new(ttrpc_address.clone(), flags.namespace.clone());
    let service = Service::new(Surroundings {
        namespace: flags.namespace.clone(),
        socket: PathBuf::from(&flags.socket),
        host: Arc::new(RealHost),
        events: Arc::new(publisher.clone()),
    });
    let listener = Listener::try_from(inherited_listener()?).map_err(TaskError::host("taking the socket"))?;
    let mut server = Server::new().add_listener(listener).register_service(services(&service));
    server.start().await.map_err(TaskError::host("serving the socket"))?;
    tracing::info!(id = flags.id, namespace = flags.namespace, "serving");

    sweep::in_background();
    let engine = [flags.address.as_str(), ttrpc_address.as_str()];
    tokio::select! {
        () = service.ended() => {}
        () = service.forgotten(FORGOTTEN) => tracing::warn!(id = flags.id, "no task, ending"),
        () = service.orphaned(ORPHANED, &engine) => {
            tracing::warn!(id = flags.id, "nobody will come for the task, ending");
        }
    }
    publisher.flush().await;
    server.shutdown().await.map_err(TaskError::host("closing the socket"))
}

/// The same service under the names of Task API 2 and 3, which differ in nothing else, and what `boxlite` asks.
#[must_use]
pub fn services(service: &Service) -> HashMap<String, TtrpcService> {
    const V2: &str = "containerd.task.v2.Task";
    const V3: &str = "containerd.task.v3.Task";
    let make = || {
        let service: Arc<dyn TaskService + Send + Sync> = Arc::new(service.clone());
        create_task(service).into_values()
    };
    let names = [V2, V3];
    let tasks = names.into_iter().flat_map(|name| make().map(move |service| (name.to_owned(), service)));
    tasks.chain(service.processes()).collect()
}

#[allow(unsafe_code)]
fn inherited_listener() -> Result<UnixListener, TaskError> {
    // SAFETY: `start` put the listening socket there and nothing in this process has opened or closed it since.
    let fd = unsafe { OwnedFd::from_raw_fd(LISTENER_FD) };
    let listener = UnixListener::from(fd);
    let prepare = || -> std::io::Result<()> {
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)?;
        listener.set_nonblocking(true)
    };
    prepare().map_err(TaskError::host("taking the inherited socket"))?;
    Ok(listener)
}
