// SPDX-License-Identifier: Apache-2.0
//! Work that enters namespaces, on a thread that ends with it: one of the runtime's pool may not.
//!
//! Does not give the thread a runtime: work that needs one brings its handle.

use std::io;

/// Runs `work` on a thread of this name, and waits for what it gives.
///
/// # Errors
/// There is no such thread to be had, or it panicked.
pub(crate) async fn run<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    let begun = move || {
        // The receiver is gone only if the request was dropped, and the runtime with it.
        let _ = done.send(work());
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(begun)?;
    result.await.map_err(io::Error::other)
}
