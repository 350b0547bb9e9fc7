// SPDX-License-Identifier: Apache-2.0
//! Socket pairs between this process and a child: our end non-blocking, the child's end blocking.

use std::os::{fd::OwnedFd, unix::net::UnixStream};

use crate::error::VmmError;

/// Two ends of one connection.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Stays here. Non-blocking.
    pub(crate) ours: UnixStream,
    /// Goes to the child. Blocking, as QEMU expects; it sets the mode it wants.
    pub(crate) theirs: OwnedFd,
}

/// Makes a connected stream pair, both ends closed on exec.
pub(crate) fn pair(action: &'static str) -> Result<Pair, VmmError> {
    let make = || {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok(Pair { ours, theirs: theirs.into() })
    };
    make().map_err(|source| VmmError::Host { action, source })
}
