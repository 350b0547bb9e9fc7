// SPDX-License-Identifier: Apache-2.0
//! The copy of a saved memory into a new machine's own, on a thread, while QEMU starts.

use std::{fs::File, io, thread};

use tokio::sync::oneshot;

use super::memory::{self, MemoryError, Pages};
use crate::error::VmmError;

/// A copy under way.
#[derive(Debug)]
pub(crate) struct Copying {
    done: oneshot::Receiver<Result<(), MemoryError>>,
}

impl Copying {
    /// Begins to copy. The thread ends by itself, also when nobody waits for it.
    pub(crate) fn begin(saved: File, into: File, pages: Pages) -> Result<Self, VmmError> {
        let (tell, done) = oneshot::channel();
        thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || {
                // Nobody is told when the machine was given up meanwhile.
                let _ = tell.send(memory::unpack(&saved, &into, pages));
            })
            .map_err(|source| VmmError::Host { action: "start the thread that copies memory", source })?;
        Ok(Self { done })
    }

    /// Waits until every byte is there and the checksum was right.
    pub(crate) async fn complete(self) -> Result<(), VmmError> {
        let gone = |_| MemoryError::Io(io::Error::other("the copying thread ended early"));
        self.done.await.map_err(gone).and_then(|copied| copied).map_err(VmmError::SavedMemory)
    }
}
