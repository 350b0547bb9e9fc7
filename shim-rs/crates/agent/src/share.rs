// SPDX-License-Identifier: Apache-2.0
//! The share: what the guest sees of the host.

use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use crate::reaper::Reaper;
use crate::sys;

/// Where the agent found the share.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) path: PathBuf,
    /// A virtiofs of the guest's own, and not a directory of the host the agent runs on.
    pub(crate) mounted: bool,
}

impl Share {
    /// Has the kernel send what is still on its way to the share, pages written by mmap for one, before the host
    /// hears that the container ended. In a child unless `alone`: the agent has the others' streams to serve meanwhile.
    pub(crate) async fn bring_files_home(&self, alone: bool, reaper: &Reaper) {
        if !self.mounted {
            return;
        }
        let synchronise = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let synced = rustix::fs::open(&self.path, flags, Mode::empty()).and_then(rustix::fs::syncfs);
            i32::from(synced.is_err())
        };
        // A share that cannot be synchronised has a host that is gone: it will not read the answer either.
        if alone {
            synchronise();
        } else if let Ok((pid, _pidfd)) = sys::spawn(0, None, synchronise) {
            let _ = reaper.watch(pid).await;
        }
    }
}
