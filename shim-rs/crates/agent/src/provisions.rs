// SPDX-License-Identifier: Apache-2.0
//! What the first container will need and is the same for all: made before a machine is saved, for each machine that
//! starts from the template to find.
//!
//! A container that needs something else, and the second of a machine, make their own: nothing depends on what is
//! here. A machine that boots has none of it, for it would only be made a moment earlier.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use boxlite_protocol::plan;

use crate::cgroup::Cgroup;
use crate::configure::{self, Refusal};
use crate::error::{Fault, Trying};
use crate::sys;

/// The name of the cgroup; no container's id, for those are longer or chosen by people who see no reason for this.
const SPARE: &str = "boxlite-spare";

/// What is ready.
#[derive(Debug, Default)]
pub(crate) struct Provisions {
    /// A cgroup, and the device program that decides for it.
    cgroup: Mutex<Option<(Cgroup, Vec<u8>)>>,
    /// The guest's own sysctls that were asked for.
    pub(crate) sysctls: Vec<plan::Sysctl>,
    /// The host's settings that were asked for, and refused.
    pub(crate) refused: Vec<Refusal>,
}

impl Provisions {
    pub(crate) fn make(
        cgroups: Option<&Path>,
        wanted: boxlite_protocol::agent::Provisions,
    ) -> Result<Self, Fault> {
        wanted.sysctls.iter().try_for_each(configure::set)?;
        let refused = configure::take(&wanted.settings);
        let cgroup = match cgroups {
            Some(parent) => {
                let cgroup = Cgroup::create(parent, SPARE)?;
                decide(&cgroup, &wanted.device_program)?;
                Some((cgroup, wanted.device_program))
            }
            None => None,
        };
        Ok(Self { cgroup: Mutex::new(cgroup), sysctls: wanted.sysctls, refused })
    }

    /// A cgroup as the plan wants it: the one that is ready for the first who wants its device program.
    pub(crate) fn cgroup(&self, parent: &Path, id: &str, wanted: &plan::Cgroup) -> Result<Cgroup, Fault> {
        let ready = self.cgroup.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ready = ready.filter(|(_, program)| *program == wanted.device_program);
        let (cgroup, decided) = match ready {
            Some((cgroup, _)) => (cgroup, Ok(())),
            None => {
                let cgroup = Cgroup::create(parent, id)?;
                let decided = decide(&cgroup, &wanted.device_program);
                (cgroup, decided)
            }
        };
        match decided.and_then(|()| cgroup.write(&wanted.files)) {
            Ok(()) => Ok(cgroup),
            Err(fault) => {
                // The first failure is the one to tell; an empty directory goes with the machine.
                let _ = cgroup.remove();
                Err(fault)
            }
        }
    }
}

/// Has a device program decide for a cgroup; without one everything is allowed.
fn decide(cgroup: &Cgroup, program: &[u8]) -> Result<(), Fault> {
    if program.is_empty() {
        return Ok(());
    }
    let loaded = sys::load_device_program(program).trying(|| "load device program".to_owned())?;
    cgroup.attach(loaded.as_fd())
}
