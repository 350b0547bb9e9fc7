// SPDX-License-Identifier: Apache-2.0
//! What a stream says first: which it is.
//!
//! A header is `kind` (1 byte), the length of the container id (1 byte) and of the exec id (1 byte), then both
//! ids. The control stream's ids are empty. Ids are at most 255 bytes, which containerd's own limit (76) keeps.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What flows on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// ttrpc.
    Control = 0,
    /// Host to guest. The host's half-close is the process's end of file.
    Stdin = 1,
    /// Guest to host; a terminal's whole output.
    Stdout = 2,
    /// Guest to host.
    Stderr = 3,
}

/// Names a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName {
    /// What flows.
    pub kind: Kind,
    /// Whose; empty on the control stream.
    pub container_id: String,
    /// Empty: the container's first process.
    pub exec_id: String,
}

/// Why a header could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer is not to be believed: the stream is dropped.
    #[error("stream header is malformed: {0}")]
    Malformed(&'static str),
    /// The channel broke.
    #[error("channel failed")]
    Channel(#[from] std::io::Error),
}

impl StreamName {
    /// The control stream.
    #[must_use]
    pub fn control() -> Self {
        Self { kind: Kind::Control, container_id: String::new(), exec_id: String::new() }
    }

    /// A stdio stream of one process.
    #[must_use]
    pub fn stdio(kind: Kind, container_id: &str, exec_id: &str) -> Self {
        Self { kind, container_id: container_id.to_owned(), exec_id: exec_id.to_owned() }
    }

    /// Writes the header.
    ///
    /// # Errors
    /// An id longer than 255 bytes, or a broken channel.
    pub async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), StreamError> {
        let length = |id: &str| u8::try_from(id.len()).map_err(|_| StreamError::Malformed("id too long"));
        let mut bytes = vec![self.kind as u8, length(&self.container_id)?, length(&self.exec_id)?];
        bytes.extend_from_slice(self.container_id.as_bytes());
        bytes.extend_from_slice(self.exec_id.as_bytes());
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        Ok(())
    }

    /// Reads a header.
    ///
    /// # Errors
    /// An unknown kind, ids that are not UTF-8, or a broken channel.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, StreamError> {
        let mut head = [0; 3];
        stream.read_exact(&mut head).await?;
        let kind = match head[0] {
            0 => Kind::Control,
            1 => Kind::Stdin,
            2 => Kind::Stdout,
            3 => Kind::Stderr,
            _ => return Err(StreamError::Malformed("unknown kind")),
        };
        let mut id = async |length: u8| {
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await?;
            String::from_utf8(bytes).map_err(|_| StreamError::Malformed("id is not UTF-8"))
        };
        Ok(Self { kind, container_id: id(head[1]).await?, exec_id: id(head[2]).await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn header_survives_the_wire() {
        let name = StreamName::stdio(Kind::Stderr, "c0ffee", "exec-1");
        let mut wire = Vec::new();
        name.write(&mut wire).await.unwrap();
        assert_eq!(StreamName::read(&mut wire.as_slice()).await.unwrap(), name);
    }

    #[tokio::test]
    async fn unknown_kind_is_malformed() {
        let error = StreamName::read(&mut [9u8, 0, 0].as_slice()).await.unwrap_err();
        assert!(matches!(error, StreamError::Malformed("unknown kind")));
    }

    #[tokio::test]
    async fn truncated_header_is_a_broken_channel() {
        let error = StreamName::read(&mut [1u8, 5, 0, b'a'].as_slice()).await.unwrap_err();
        assert!(matches!(error, StreamError::Channel(_)));
    }

    #[tokio::test]
    async fn too_long_an_id_is_refused() {
        let name = StreamName::stdio(Kind::Stdin, &"x".repeat(256), "");
        assert!(name.write(&mut Vec::new()).await.is_err());
    }
}
