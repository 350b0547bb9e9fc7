// SPDX-License-Identifier: Apache-2.0
//! What happens to a container that nobody asked for: the kernel killing in it for want of memory.
//!
//! Owns one inotify with a watch on each container's memory.events. Nothing is polled by time.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::cgroup::{self, Cgroup};
use crate::descriptor::{Watched, read_some};
use crate::error::{Fault, Trying};
use crate::sys;

/// The watches.
#[derive(Debug)]
pub(crate) struct MemoryEvents {
    inotify: Watched,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    containers: BTreeMap<String, Counted>,
    killed: VecDeque<String>,
}

#[derive(Debug)]
struct Counted {
    watch: i32,
    file: PathBuf,
    kills: u64,
}

impl MemoryEvents {
    pub(crate) fn new() -> Result<Self, Fault> {
        let what = || "inotify_init".to_owned();
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).trying(what)?;
        Ok(Self { inotify: sys::watched(inotify).trying(what)?, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a container that was just made. Without the memory controller there is nothing to watch.
    pub(crate) fn watch(&self, id: &str, cgroup: &Cgroup) {
        let file = cgroup.memory_events();
        if let Ok(watch) = inotify::add_watch(&self.inotify, &file, WatchFlags::MODIFY) {
            self.state().containers.insert(id.to_owned(), Counted { watch, file, kills: 0 });
        }
    }

    pub(crate) fn forget(&self, id: &str) {
        if let Some(watched) = self.state().containers.remove(id) {
            // Removing the cgroup removes the watch as well.
            let _ = inotify::remove_watch(&self.inotify, watched.watch);
        }
    }

    /// The next container the kernel killed in.
    pub(crate) async fn next(&self) -> Result<String, Fault> {
        let mut buffer = [0; 1024];
        loop {
            if let Some(id) = self.state().killed.pop_front() {
                return Ok(id);
            }
            // Which file changed matters less than which counter did: all are looked at.
            read_some(&self.inotify, &mut buffer).await.trying(|| "read memory events".to_owned())?;
            self.state().look();
        }
    }
}

impl State {
    fn look(&mut self) {
        for (id, watched) in &mut self.containers {
            let kills = cgroup::oom_kills(&watched.file);
            if kills > watched.kills {
                watched.kills = kills;
                self.killed.push_back(id.clone());
            }
        }
    }
}
