// SPDX-License-Identifier: Apache-2.0
//! Clearing up after shims that died and whose `delete` nobody called (containerd was down, or gave up), and after
//! trials that were killed.
//!
//! Every start sweeps, off the start path. A record is swept only when the shim it names is gone.

use std::path::Path;

use crate::config::Config;
use crate::sandbox::record::Record;
use crate::trial;

/// Sweeps the run directory on a thread of the pool.
pub(crate) fn in_background() {
    tokio::task::spawn_blocking(|| {
        let run = Config::load(None, None).unwrap_or_default().paths.run;
        let swept = sweep(&run);
        if swept > 0 {
            tracing::info!(swept, "cleared up after shims that died");
        }
    });
}

/// Unmakes what dead shims left under `run`; returns of how many.
fn sweep(run: &Path) -> usize {
    let directories = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    for ruin in directories(run).iter().filter(|path| is_ruin(path)) {
        if let Err(error) = std::fs::remove_dir_all(ruin) {
            tracing::warn!(path = %ruin.display(), %error, "something was left behind");
        }
    }
    let mut swept = 0;
    for task in directories(run).iter().flat_map(|namespace| directories(namespace)) {
        let Some(record) = Record::abandoned(&task) else { continue };
        for failure in record.undo_all() {
            tracing::warn!(failure, "something was left behind");
        }
        swept += 1;
    }
    swept
}

fn is_ruin(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(trial::is_ruin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_are_swept() {
        let run = tempfile::tempdir().unwrap();
        let dead = run.path().join("moby/dead");
        let mut record = Record::create(dead.clone()).unwrap();
        record.shim = None;
        record.set_task_pid(1).unwrap();
        let live = run.path().join("moby/live");
        Record::create(live.clone()).unwrap();
        assert_eq!(sweep(run.path()), 1);
        assert!(!dead.exists());
        assert!(live.exists());
    }

    #[test]
    fn the_place_of_a_killed_trial_is_swept() {
        let run = tempfile::tempdir().unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let [dead, live] =
            [dead.id(), std::process::id()].map(|pid| run.path().join(format!(".trial-{pid}")));
        for place in [&dead, &live] {
            std::fs::create_dir_all(place.join("share")).unwrap();
        }
        sweep(run.path());
        assert!(!dead.exists() && live.exists());
    }
}
