// SPDX-License-Identifier: Apache-2.0
//! The control stream: calls to the agent, how many may be unanswered at a time, and how long each is waited for.
//!
//! ttrpc gives up the whole stream when a call is given up while it is being written, and a guest that stands still takes
//! nothing. So a call that was asked stays asked: who waits gives up alone, and what is on its way is bounded.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use boxlite_protocol::agent_ttrpc::AgentClient;
use boxlite_protocol::mux::Stream;
use boxlite_protocol::ttrpc;
use boxlite_protocol::ttrpc::asynchronous::Client;
use boxlite_protocol::ttrpc::asynchronous::transport::Socket;
use containerd_shim_protos::ttrpc::Code;
use tokio::sync::Semaphore;

use super::clean;
use crate::error::TaskError;

/// Calls that may be unanswered at once; further ones wait their turn. An agent of ours answers each within moments.
const UNANSWERED: usize = 64;

/// Clones share the stream.
#[derive(Clone)]
pub(super) struct Control {
    agent: AgentClient,
    room: Arc<Semaphore>,
}

impl Control {
    pub(super) fn over(stream: Stream) -> Self {
        let agent = AgentClient::new(Client::new(Socket::new(stream)));
        Self { agent, room: Arc::new(Semaphore::new(UNANSWERED)) }
    }

    /// Asks, and waits for the answer for `patience` at most.
    pub(super) async fn ask<T, F>(
        &self,
        patience: Duration,
        call: impl FnOnce(AgentClient) -> F,
    ) -> Result<T, TaskError>
    where
        T: Send + 'static,
        F: Future<Output = ttrpc::Result<T>> + Send + 'static,
    {
        let asked = async {
            // It is never closed.
            let room = self.room.clone().acquire_owned().await;
            let call = call(self.agent.clone());
            let held = async move {
                let answer = call.await;
                drop(room);
                answer
            };
            asked(held).await
        };
        match tokio::time::timeout(patience, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(gone(format!("the guest did not answer within {} s", patience.as_secs()))),
        }
    }

    /// Asks what is answered when something happens: no deadline, and no part of the bound. For questions of which there
    /// is one at a time.
    pub(super) async fn follow<T, F>(&self, call: impl FnOnce(AgentClient) -> F) -> Result<T, TaskError>
    where
        T: Send + 'static,
        F: Future<Output = ttrpc::Result<T>> + Send + 'static,
    {
        asked(call(self.agent.clone())).await
    }
}

/// In a task of its own, which goes on when nobody waits any more.
async fn asked<T: Send + 'static>(
    call: impl Future<Output = ttrpc::Result<T>> + Send + 'static,
) -> Result<T, TaskError> {
    match tokio::spawn(call).await {
        Ok(answer) => answer.map_err(|error| failed(&error)),
        Err(error) => Err(gone(format!("a call was lost: {error}"))),
    }
}

fn gone(why: String) -> TaskError {
    TaskError::MachineGone { why, console: String::new() }
}

fn failed(error: &ttrpc::Error) -> TaskError {
    match error {
        ttrpc::Error::RpcStatus(status) => {
            let code = match status.code() {
                code @ (Code::INVALID_ARGUMENT
                | Code::NOT_FOUND
                | Code::ALREADY_EXISTS
                | Code::FAILED_PRECONDITION
                | Code::UNIMPLEMENTED) => code,
                _ => Code::UNKNOWN,
            };
            TaskError::Guest { code, message: clean(status.message()) }
        }
        other => TaskError::MachineGone {
            why: format!("the control stream failed: {other}"),
            console: String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_choose_any_code() {
        for code in [Code::CANCELLED, Code::DEADLINE_EXCEEDED, Code::UNAVAILABLE] {
            let status = ttrpc::get_status(code, "x");
            let TaskError::Guest { code, .. } = failed(&ttrpc::Error::RpcStatus(status)) else {
                panic!("not the guest's")
            };
            assert_eq!(code, Code::UNKNOWN);
        }
    }
}
