// SPDX-License-Identifier: Apache-2.0
//! What several modules ask of a mount they have a descriptor of. How mounts are copied and attached is
//! [`boxlite_linux::mount`]; which and where is the callers' affair.

use std::os::fd::{AsFd, OwnedFd};

use boxlite_linux::mount::{Attributes, RDONLY, set_attributes};

use crate::error::{Fault, Trying};

/// Makes one mount read-only, and none below it.
pub(crate) fn seal(mount: &OwnedFd) -> Result<(), Fault> {
    let attributes = Attributes { set: RDONLY, ..Attributes::default() };
    set_attributes(mount.as_fd(), false, attributes).trying(|| "remount read-only".to_owned())
}
