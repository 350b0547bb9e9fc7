// SPDX-License-Identifier: Apache-2.0
//! What happens when processes end: output carried, the rest of the container ended, files brought to the host.
//!
//! One task for each process ([`container`], [`exec`]); its last step answers the Wait. [`clear`] empties a
//! container's cgroup before it is removed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::cgroup::Cgroup;
use crate::container::Container;
use crate::descriptor::{Watched, read_some};
use crate::error::{AgentError, Fault, Trying};
use crate::running::{End, Running};
use crate::stdio::{Pumps, Written};
use crate::sys;

/// How long an end waits for its output to go ahead of it. Far more than that takes when somebody reads, and far less
/// than the host gives a container that it kills. When nobody reads, the host cannot know that the rest is all there
/// will be, and make room for it, before it is told of the end.
const OUTPUT_FIRST: Duration = Duration::from_millis(100);

/// Sees a container's first process to its end, and the container with it. `files_home` brings what it wrote to the host.
pub(crate) async fn container(
    container: Arc<Container>,
    pumps: Pumps,
    files_home: impl Future<Output = ()> + Send,
) {
    let exit = container.init.ended().await;
    if !container.has_pid_namespace() {
        // Nobody else ends what the first process has left.
        let _ = signal_all(&container, libc::SIGKILL);
    }
    let execs: Vec<Arc<Running>> = container.execs().values().cloned().collect();
    for exec in execs {
        exec.ended().await;
    }
    first(pumps.whole()).await;
    files_home.await;
    let oom_killed = container.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0);
    container.init.finish(End { exit, oom_killed, written: Written::ALL });
}

/// Sees an exec's process to its end. Others may live on with its pipes and write, as long as the container lives.
pub(crate) async fn exec(container: Arc<Container>, running: Arc<Running>, pumps: Pumps) {
    let exit = running.ended().await;
    let (written, carried) = pumps.written();
    first(carried).await;
    let oom_killed = container.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0);
    running.finish(End { exit, oom_killed, written });
}

/// Waits until the output is in the streams, but not for a reader who does not read: then it is carried on behind.
async fn first(output: impl Future<Output = ()>) {
    // Late, or done. The pumps are tasks of their own.
    let _ = tokio::time::timeout(OUTPUT_FIRST, output).await;
}

/// Signals every process of a container.
pub(crate) fn signal_all(container: &Container, signal: i32) -> Result<(), AgentError> {
    if let Some(cgroup) = container.cgroup.as_ref().filter(|_| signal == libc::SIGKILL) {
        return Ok(cgroup.kill()?);
    }
    for pid in container.members() {
        match sys::kill(pid, signal) {
            // It ended while the others were signalled.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => other.trying(|| format!("signal {pid}"))?,
        }
    }
    Ok(())
}

/// Ends whatever runs in a container and waits until nothing does.
pub(crate) async fn clear(container: &Container) -> Result<(), AgentError> {
    if !container.init.has_ended() {
        match container.init.signal(libc::SIGKILL) {
            Ok(()) | Err(AgentError::Finished) => {}
            Err(error) => return Err(error),
        }
    }
    container.init.ended().await;
    if let Some(cgroup) = &container.cgroup {
        cgroup.kill()?;
        empty(cgroup).await?;
    }
    Ok(())
}

/// Waits until no process is in a cgroup; the kernel tells by changing its events file.
async fn empty(cgroup: &Cgroup) -> Result<(), Fault> {
    let what = || "watch cgroup.events".to_owned();
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).trying(what)?;
    inotify::add_watch(&watch, cgroup.events(), WatchFlags::MODIFY).trying(what)?;
    let watch: Watched = sys::watched(watch).trying(what)?;
    let mut events = [0; 256];
    while cgroup.populated() {
        read_some(&watch, &mut events).await.trying(what)?;
    }
    Ok(())
}
