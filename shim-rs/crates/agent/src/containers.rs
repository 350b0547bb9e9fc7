// SPDX-License-Identifier: Apache-2.0
//! The containers of this machine, and what can be asked of them.
//!
//! Owns the table and the supervision of each process's end. No lock is held across a wait: a container that is
//! being built holds its name with an empty entry.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boxlite_protocol::agent::ConfigureRequest;
use boxlite_protocol::network::Network;
use boxlite_protocol::plan::{CgroupFile, LaunchPlan, Process};

use crate::configure::{self, Cards};
use crate::container::child::ContainerBirth;
use crate::container::{self, Container};
use crate::error::{AgentError, Fault, Trying};
use crate::events::MemoryEvents;
use crate::exec::{self, ExecBirth};
use crate::process::{Birth, report};
use crate::provisions::Provisions;
use crate::reaper::Reaper;
use crate::relay::Relays;
use crate::running::{Born, End, release_pipe};
use crate::settle;
use crate::share::Share;
use crate::stdio::{self, Pumps};
use crate::streams::Streams;

/// The agent's state.
#[derive(Debug)]
pub(crate) struct Containers {
    pub(crate) streams: Arc<Streams>,
    pub(crate) relays: Relays,
    pub(crate) events: MemoryEvents,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) provisions: Provisions,
    /// None: the agent is not in charge of the network.
    pub(crate) cards: Option<Cards>,
    /// Where containers' cgroups go; none: the agent is not in charge of cgroups.
    pub(crate) cgroups: Option<PathBuf>,
    /// The agent is PID 1 of a machine of its own.
    pub(crate) guest: bool,
    pub(crate) own_pids: OwnedFd,
    pub(crate) share: Mutex<Option<Share>>,
    pub(crate) table: Mutex<BTreeMap<String, Option<Arc<Container>>>>,
}

impl Containers {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<Container>>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this guest its own. As a plain process on a host the agent leaves that host alone and only learns where the
    /// share is. The host's settings that this guest's kernel refuses.
    pub(crate) fn configure(&self, request: &ConfigureRequest) -> Result<Vec<String>, Fault> {
        let mut refused = Vec::new();
        if self.guest {
            // What was refused before may have been asked for anew.
            let anew = |path: &str| request.settings.iter().any(|setting| setting.path == path);
            refused.extend(self.provisions.refused.iter().filter(|refusal| !anew(&refusal.path)).cloned());
            refused.extend(configure::apply(request, &self.provisions.sysctls)?);
        }
        if !request.share_path.is_empty() {
            let (path, mounted) = (PathBuf::from(&request.share_path), !request.share_tag.is_empty());
            *self.lock_share() = Some(Share { path, mounted: self.guest && mounted });
        }
        Ok(refused.into_iter().map(|refusal| refusal.text).collect())
    }

    /// Sets the clock again, now that calls arrive quickly; not for 0.
    pub(crate) fn correct_clock(&self, realtime_ns: i64) -> Result<(), Fault> {
        if self.guest && realtime_ns != 0 { configure::set_clock(realtime_ns) } else { Ok(()) }
    }

    /// Repeats the engine's network, and relays its resolver.
    pub(crate) fn connect(&self, wanted: &Network) -> Result<(), Fault> {
        let (Some(cards), Some(cgroups)) = (&self.cards, &self.cgroups) else { return Ok(()) };
        cards.connect(wanted)?;
        match <[u8; 4]>::try_from(wanted.resolver.as_slice()) {
            Ok(address) => self.relays.resolve_at(address.into(), cgroups),
            Err(_) if wanted.resolver.is_empty() => Ok(()),
            Err(_) => Err(Fault::refused("the resolver's address is not one".to_owned())),
        }
    }

    fn lock_share(&self) -> MutexGuard<'_, Option<Share>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(&self) -> Result<Share, AgentError> {
        self.lock_share().clone().ok_or(AgentError::Plan("the machine has no share: configure it first"))
    }

    async fn bring_files_home(&self) {
        let share = self.lock_share().clone();
        if let Some(share) = share {
            share.bring_files_home(self.all().len() == 1, &self.reaper).await;
        }
    }

    pub(crate) fn find(&self, id: &str) -> Result<Arc<Container>, AgentError> {
        let found = self.table().get(id).cloned().flatten();
        found.ok_or_else(|| AgentError::UnknownContainer(id.to_owned()))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.table().values().flatten().cloned().collect()
    }

    /// Builds a container up to its first process, which waits. Its pid.
    pub(crate) async fn create(self: Arc<Self>, plan: LaunchPlan) -> Result<i32, AgentError> {
        container::check(&plan)?;
        let id = plan.container_id.clone();
        if self.table().contains_key(&id) {
            return Err(AgentError::Exists(id));
        }
        self.table().insert(id.clone(), None);
        let built = self.build(plan).await;
        match built {
            Ok((container, pumps)) => {
                self.table().insert(id, Some(Arc::clone(&container)));
                let pid = container.init.pid;
                let files_home = async move { self.bring_files_home().await };
                tokio::spawn(settle::container(container, pumps, files_home));
                Ok(pid)
            }
            Err(error) => {
                self.table().remove(&id);
                Err(error)
            }
        }
    }

    async fn build(&self, plan: LaunchPlan) -> Result<(Arc<Container>, Pumps), AgentError> {
        let share = self.share()?;
        let Some(process) = plan.process.as_ref() else { return Err(AgentError::Plan("no process")) };
        let streams = self.streams.take(&plan.container_id, "", process).await?;
        let cgroup = match &self.cgroups {
            Some(parent) => Some(self.provisions.cgroup(parent, &plan.container_id, &plan.cgroup)?),
            None => None,
        };
        let built = async {
            let listening = self.relays.listen(&plan.relays)?;
            let (stdio, ends) = stdio::connect(process)?;
            let (reporter, reports) = report::channel()?;
            let (release, our_release) = release_pipe()?;
            let birth = ContainerBirth {
                plan: &plan,
                share: &share.path,
                relays: self.relays.directory(),
                keep_network: !self.guest,
                process: Birth { process, stdio, reporter, release, follow_agent: !self.guest },
            };
            let child = container::start_child(birth, cgroup.as_ref()).trying(|| "clone3".to_owned())?;
            let born = Born::new(child, &self.reaper, reports, our_release);
            let (running, pumps) = born.ready(ends, streams).await?;
            Ok::<_, AgentError>((running, pumps, listening))
        };
        match built.await {
            Ok((running, pumps, listening)) => {
                if let Some(cgroup) = &cgroup {
                    self.events.watch(&plan.container_id, cgroup);
                }
                let container = Container::new(&plan, cgroup, Arc::new(running), listening);
                Ok((Arc::new(container), pumps))
            }
            Err(error) => {
                if let Some(cgroup) = cgroup {
                    // The child is gone; a directory that stays all the same goes with the machine.
                    let _ = cgroup.remove();
                }
                Err(error)
            }
        }
    }

    /// Runs a further process in a container. Its pid.
    pub(crate) async fn exec(
        self: Arc<Self>,
        id: String,
        exec: String,
        process: Process,
    ) -> Result<i32, AgentError> {
        let container = self.find(&id)?;
        if exec.is_empty() {
            return Err(AgentError::Plan("exec without a name"));
        }
        if container.execs().contains_key(&exec) {
            return Err(AgentError::Exists(exec));
        }
        let streams = self.streams.take(&id, &exec, &process).await?;
        if container.init.has_ended() {
            return Err(AgentError::NotRunning(id));
        }
        if container.frozen() {
            return Err(AgentError::Paused(id));
        }
        let (stdio, ends) = stdio::connect(&process)?;
        let (reporter, reports) = report::channel()?;
        let (release, our_release) = release_pipe()?;
        let birth = ExecBirth {
            init: container.init.pidfd().as_fd(),
            init_pid: container.init.pid,
            namespaces: container.namespaces,
            process: Birth { process: &process, stdio, reporter, release, follow_agent: !self.guest },
        };
        let child = exec::start_child(birth, &self.own_pids, container.cgroup.as_ref())?;
        let born = Born::new(child, &self.reaper, reports, our_release);
        let (running, pumps) = born.ready(ends, streams).await?;
        let running = Arc::new(running);
        container.execs().insert(exec.clone(), Arc::clone(&running));
        tokio::spawn(settle::exec(Arc::clone(&container), Arc::clone(&running), pumps));
        if let Err(error) = running.start().await {
            container.execs().remove(&exec);
            return Err(error);
        }
        Ok(running.pid)
    }

    /// The end of a process. An exec is forgotten with it.
    pub(crate) async fn wait(&self, id: &str, exec: &str) -> Result<End, AgentError> {
        let container = self.find(id)?;
        let end = container.process(exec)?.done().await;
        container.execs().remove(exec);
        Ok(end)
    }

    pub(crate) fn signal(&self, id: &str, exec: &str, signal: u32, all: bool) -> Result<(), AgentError> {
        let container = self.find(id)?;
        let signal = i32::try_from(signal).map_err(|_| AgentError::Plan("signal out of range"))?;
        if !all {
            return container.process(exec)?.signal(signal);
        }
        settle::signal_all(&container, signal)
    }

    pub(crate) fn update(&self, id: &str, files: &[CgroupFile]) -> Result<(), AgentError> {
        let container = self.find(id)?;
        let Some(cgroup) = &container.cgroup else {
            return Err(Fault::refused("container has no cgroup".to_owned()).into());
        };
        cgroup.write(files)?;
        for file in files.iter().filter(|file| file.name == "cgroup.freeze") {
            container.set_frozen(file.value.trim() == "1");
        }
        Ok(())
    }

    /// Ends what is left of a container and forgets it.
    pub(crate) async fn remove(self: Arc<Self>, id: String) -> Result<(), AgentError> {
        let container = self.find(&id)?;
        settle::clear(&container).await?;
        container.init.done().await;
        if let Some(cgroup) = &container.cgroup {
            self.events.forget(&id);
            cgroup.remove()?;
        }
        self.streams.forget(&id);
        self.table().remove(&id);
        Ok(())
    }
}
