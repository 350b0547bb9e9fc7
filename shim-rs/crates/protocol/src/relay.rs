// SPDX-License-Identifier: Apache-2.0
//! What a stream says first that the guest opened: which way out of the machine it asks for, and for whom.
//!
//! The ways are the host's: it numbers them, and what it has not numbered leads nowhere. A header is three numbers of 4
//! bytes, little-endian: the way, and the user and group of who asks inside.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::stream::StreamError;

/// To the engine's resolver, one datagram there and at most one back: the stream's whole content each way.
pub const RESOLVER_DATAGRAM: u32 = 0;
/// To the engine's resolver, a connection.
pub const RESOLVER_STREAM: u32 = 1;
/// The first that stands for a Unix socket of the host's.
pub const FIRST_SOCKET: u32 = 16;
/// Longest datagram, in bytes: what UDP can carry.
pub const MAX_DATAGRAM: usize = 65_507;

/// Streams of this kind that may be open at once. A guest that opens more waits, and a host is not made to hold more.
pub const MAX_RELAYED: usize = 256;

const LENGTH: usize = 12;

/// Names a stream that the guest opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayName {
    /// Which way.
    pub way: u32,
    /// Effective user of who connected, in the guest.
    pub uid: u32,
    /// Effective group of who connected.
    pub gid: u32,
}

impl RelayName {
    /// Writes the header.
    ///
    /// # Errors
    /// A broken channel.
    pub async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), StreamError> {
        let mut bytes = Vec::with_capacity(LENGTH);
        for number in [self.way, self.uid, self.gid] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        Ok(())
    }

    /// Reads a header. Any 12 bytes are one: whether its way exists is for the reader to say.
    ///
    /// # Errors
    /// A broken channel.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, StreamError> {
        Ok(Self {
            way: stream.read_u32_le().await?,
            uid: stream.read_u32_le().await?,
            gid: stream.read_u32_le().await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn header_survives_the_wire() {
        let name = RelayName { way: FIRST_SOCKET, uid: 1000, gid: 4_294_967_294 };
        let mut wire = Vec::new();
        name.write(&mut wire).await.unwrap();
        assert_eq!(wire.len(), LENGTH);
        assert_eq!(RelayName::read(&mut wire.as_slice()).await.unwrap(), name);
    }

    #[tokio::test]
    async fn truncated_header_is_a_broken_channel() {
        let error = RelayName::read(&mut [0u8; LENGTH - 1].as_slice()).await.unwrap_err();
        assert!(matches!(error, StreamError::Channel(_)));
    }
}
