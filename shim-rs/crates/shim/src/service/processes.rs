// SPDX-License-Identifier: Apache-2.0
//! What runs in a container, for `boxlite ps`: the one call of the agent's service that the shim answers itself.
//!
//! containerd's Pids cannot carry it. Engines look those numbers up in the host's /proc, and they are answered without
//! the guest, which may hang. So it is a service beside the Task API, on the same socket, which is root's alone; its
//! other calls are not supported. `boxlite` finds the socket by a link in the task's run directory.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use boxlite_protocol::agent::{ContainerRef, ProcessesResponse};
use boxlite_protocol::agent_ttrpc::{Agent, create_agent};
use boxlite_protocol::ttrpc::asynchronous::{Service as TtrpcService, TtrpcContext};

use super::{Reply, Service, answer};

struct Processes(Service);

impl Service {
    /// The call, under the service's name.
    #[must_use]
    pub fn processes(&self) -> HashMap<String, TtrpcService> {
        create_agent(Arc::new(Processes(self.clone())))
    }
}

#[async_trait]
impl Agent for Processes {
    async fn processes(&self, _: &TtrpcContext, request: ContainerRef) -> Reply<ProcessesResponse> {
        let listed = match self.0.task(&request.container_id) {
            Ok(task) => task.guest_processes().await,
            Err(error) => Err(error),
        };
        answer("processes", &request.container_id, listed)
    }
}
