// SPDX-License-Identifier: Apache-2.0
//! Reading what is there, as a piece of its own size.
//!
//! A thousand execs have three thousand streams, most of which say nothing: none of them holds a buffer while it waits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The largest piece, in bytes: what a pipe holds.
pub(super) const LARGEST: usize = 64 << 10;

thread_local! {
    /// Nothing is in it between two reads.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST]);
}

/// What is there, waiting for the first byte; empty at the end.
pub(super) async fn next(source: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *source).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().to_vec()))
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_piece_is_as_large_as_what_is_there() {
        let (mut near, mut far) = tokio::io::duplex(2 * LARGEST);
        near.write_all(b"a few").await.unwrap();
        let piece = next(&mut far).await.unwrap();
        assert_eq!((piece.as_slice(), piece.capacity()), (b"a few".as_slice(), 5));
        near.write_all(&vec![7; LARGEST + 1]).await.unwrap();
        drop(near);
        assert_eq!(next(&mut far).await.unwrap(), vec![7; LARGEST]);
        assert_eq!(next(&mut far).await.unwrap(), [7]);
        assert!(next(&mut far).await.unwrap().is_empty());
    }
}
