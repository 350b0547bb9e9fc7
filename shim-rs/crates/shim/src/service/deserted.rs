// SPDX-License-Identifier: Apache-2.0
//! When a shim ends by itself: nobody has given it a task, or nobody will come for the one it has.
//!
//! An engine that went for good, with its state, leaves shims whose tasks have ended and which nobody deletes. Such a task
//! is known by its bundle: containerd finds the shims of its last life by their bundles, so that one without is beyond
//! its reach, also when it comes back. A task that has not ended is never given up: containers outlive their engine.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::UnixStream;

use super::Service;

/// What a shim knows of those who might still come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// Each task has ended, and nothing is left of it on the host.
    ended: bool,
    /// A task's bundle is there.
    bundle: bool,
    /// Since somebody last asked for a task.
    quiet: Duration,
    /// Somebody listens where the engine is called.
    engine: bool,
}

impl Look {
    /// Nobody will come.
    fn is_orphan(self, patience: Duration) -> bool {
        self.ended && !self.bundle && self.quiet >= patience && !self.engine
    }
}

impl Service {
    /// Resolves when nobody has given this shim a task, or has one here, at the end of some stretch of `patience`.
    pub async fn forgotten(&self, patience: Duration) {
        loop {
            tokio::time::sleep(patience).await;
            if self.is_idle() {
                return;
            }
        }
    }

    /// Resolves when nobody will come for the task: it has ended, its bundle is gone, nobody has asked for it for as long
    /// as `patience`, and none of the sockets by which the engine is called answers.
    pub async fn orphaned(&self, patience: Duration, engine: &[&str]) {
        loop {
            tokio::time::sleep(patience).await;
            if self.look(engine).await.is_orphan(patience) {
                return;
            }
        }
    }

    async fn look(&self, engine: &[&str]) -> Look {
        let mut answers = false;
        for socket in engine.iter().filter(|socket| !socket.is_empty()) {
            answers |= answered(socket).await;
        }
        let tasks: Vec<_> = self.lock().values().cloned().collect();
        Look {
            ended: !tasks.is_empty()
                && tasks.iter().all(|task| task.as_ref().is_some_and(|task| task.is_unmade())),
            bundle: tasks.iter().flatten().any(|task| task.bundle.try_exists().unwrap_or(true)),
            quiet: self.asked.borrow().elapsed(),
            engine: answers,
        }
    }
}

/// Whether somebody may listen on a socket: a path, or a URI of one. What cannot be told counts as an answer.
async fn answered(socket: &str) -> bool {
    match UnixStream::connect(socket.trim_start_matches("unix://")).await {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn only_what_nobody_can_reach_any_more_is_an_orphan() {
        let orphan = Look { ended: true, bundle: false, quiet: MINUTE, engine: false };
        assert!(orphan.is_orphan(MINUTE));
        for kept in [
            Look { ended: false, ..orphan },
            Look { bundle: true, ..orphan },
            Look { quiet: MINUTE - Duration::from_millis(1), ..orphan },
            Look { engine: true, ..orphan },
        ] {
            assert!(!kept.is_orphan(MINUTE), "{kept:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_answers_while_somebody_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.sock");
        let uri = format!("unix://{}", path.display());
        assert!(!answered(&uri).await);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(answered(&uri).await);
        assert!(answered(path.to_str().unwrap()).await);
        drop(listener);
        assert!(!answered(&uri).await, "the socket of one that was killed");
        assert!(answered(&"x".repeat(200)).await, "no path of a socket");
    }
}
