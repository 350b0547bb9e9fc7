// SPDX-License-Identifier: Apache-2.0
//! Takes in every child that ends: those somebody waits for, and as PID 1 also orphans nobody knows.
//!
//! Owns the only wait(2) of the agent. A child is watched in the same breath as it is started, before the one
//! thread can come here, so no exit is missed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{WaitOptions, WaitStatus};
use tokio::sync::oneshot;

use crate::descriptor::read_some;
use crate::sys;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// 0-255; 128 + signal for a killed one.
    pub(crate) status: u32,
    /// Nanoseconds since 1970.
    pub(crate) at: i64,
}

/// Who waits for which child.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    waiting: Mutex<BTreeMap<i32, oneshot::Sender<Exit>>>,
}

impl Reaper {
    /// Starts taking in children. Call once, before the first child.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let signals = sys::watched(sys::child_signals()?)?;
        let reaper = Arc::new(Self::default());
        let runner = Arc::clone(&reaper);
        tokio::spawn(async move {
            let mut information = [0; 128 * 4];
            while read_some(&signals, &mut information).await.is_ok() {
                runner.take_in();
            }
        });
        Ok(reaper)
    }

    /// Resolves when child `pid` has ended. Call right after starting it.
    pub(crate) fn watch(&self, pid: i32) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, sender);
        receiver
    }

    fn take_in(&self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let waiting = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&pid.as_raw_nonzero().get());
            if let Some(waiting) = waiting {
                // Nobody may wait any more; the child is taken in all the same.
                let _ = waiting.send(Exit { status: code(status), at: now() });
            }
        }
    }
}

fn code(status: WaitStatus) -> u32 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u32::try_from(code).ok()).unwrap_or(255)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
