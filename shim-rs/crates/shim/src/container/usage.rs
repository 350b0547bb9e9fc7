// SPDX-License-Identifier: Apache-2.0
//! What a container uses, asked of its guest once however many want to know, and remembered for when it cannot answer.
//!
//! A guest that stands still or hangs is not asked again: the one question stays on its way until it is answered or the
//! channel ends, and who wants to know meanwhile has the last answer. Turning files into metrics is
//! [`super::stats`]'s.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use containerd_shim_protos::cgroups_v2::metrics::Metrics;
use tokio::sync::watch;

use super::{Container, lock, stats};
use crate::error::{TaskError, chain};

/// How long an answer is waited for where an older one will do.
const FRESH: Duration = Duration::from_secs(2);
/// How long it is waited for where there is none yet.
const FIRST: Duration = Duration::from_secs(10);
/// How long a pause is put off for the figures that will stand for it.
const BEFORE_PAUSE: Duration = Duration::from_secs(1);

/// An answer, for all who wait for it.
type Answer = Option<Result<Metrics, Arc<TaskError>>>;

/// The last answer, and the question on its way.
#[derive(Debug, Default)]
pub(super) struct Usage {
    last: Mutex<Option<Metrics>>,
    asked: Mutex<Option<watch::Receiver<Answer>>>,
}

impl Container {
    /// The container's usage, as cgroup v2 metrics. While it is paused, or its guest does not answer, the last known.
    ///
    /// # Errors
    /// Not running, a guest that refuses, or one that has not answered yet and does not.
    pub async fn metrics(self: &Arc<Self>) -> Result<Metrics, TaskError> {
        const VERB: &str = "measure";
        self.init.state().running(VERB)?;
        let last = || lock(&self.usage.last).clone();
        let paused = || last().ok_or(TaskError::State { verb: VERB, state: "paused" });
        if self.sandbox.is_paused() {
            return paused();
        }
        let patience = if last().is_some() { FRESH } else { FIRST };
        tokio::select! {
            answer = tokio::time::timeout(patience, self.measured()) => match answer {
                Ok(answer) => answer,
                Err(_) => last().ok_or_else(|| self.sandbox.gone("the guest has not told what it uses".to_owned())),
            },
            () = self.sandbox.stands_still() => paused(),
        }
    }

    /// Has the last answer be one of now, if there is one to be had.
    pub(super) async fn measure_before_pause(self: &Arc<Self>) {
        match tokio::time::timeout(BEFORE_PAUSE, self.measured()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(id = self.id, error = chain(&error), "paused without new statistics");
            }
            Err(_) => tracing::warn!(id = self.id, "paused without new statistics: no answer in time"),
        }
    }

    /// Waits for the answer to the question on its way; asks it if there is none.
    async fn measured(self: &Arc<Self>) -> Result<Metrics, TaskError> {
        let mut asked = self.ask();
        let answer = asked.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        match answer {
            Some(Ok(metrics)) => Ok(metrics),
            Some(Err(error)) => Err(again(&error)),
            // Who asks goes with the runtime alone.
            None => Err(self.sandbox.gone("its usage was not asked for to the end".to_owned())),
        }
    }

    fn ask(self: &Arc<Self>) -> watch::Receiver<Answer> {
        let mut on_its_way = lock(&self.usage.asked);
        if let Some(asked) = &*on_its_way {
            return asked.clone();
        }
        let (answered, asked) = watch::channel(None);
        *on_its_way = Some(asked.clone());
        let container = self.clone();
        tokio::spawn(async move {
            let answer = container.ask_guest().await.map_err(Arc::new);
            if let Ok(metrics) = &answer {
                *lock(&container.usage.last) = Some(metrics.clone());
            }
            *lock(&container.usage.asked) = None;
            answered.send_replace(Some(answer));
        });
        asked
    }

    async fn ask_guest(&self) -> Result<Metrics, TaskError> {
        let answer = self.sandbox.guest().await?.stats(&self.id).await?;
        Ok(stats::metrics(&answer.files))
    }
}

/// The same error for one more who asked.
fn again(error: &TaskError) -> TaskError {
    match error {
        TaskError::Guest { code, message } => TaskError::Guest { code: *code, message: message.clone() },
        TaskError::MachineGone { why, console } => {
            TaskError::MachineGone { why: why.clone(), console: console.clone() }
        }
        other => TaskError::MachineGone { why: chain(other), console: String::new() },
    }
}
