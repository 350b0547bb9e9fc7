// SPDX-License-Identifier: Apache-2.0
//! The place of a machine that only tries something out: a directory beside the tasks', named after its maker.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::sandbox::record::ProcessRecord;

const PREFIX: &str = ".trial-";

/// The directory. It goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it in the run directory.
    pub(crate) fn create(run: &Path) -> io::Result<Self> {
        let path = run.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a machine's place was left behind");
        }
    }
}

/// Whether a directory of this name was left by a process that was killed. Its machine has ended with it.
pub(crate) fn is_ruin(name: &str) -> bool {
    let maker = name.strip_prefix(PREFIX).and_then(|pid| pid.parse().ok());
    maker.is_some_and(|pid| ProcessRecord::of(pid).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_with_its_trial_and_a_ruin_is_told_by_its_dead_maker() {
        let run = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(run.path()).unwrap();
        let name = scratch.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!is_ruin(&name));
        drop(scratch);
        assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 0);

        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        assert!(is_ruin(&format!("{PREFIX}{}", dead.id())));
        for name in ["moby", ".trial-", ".trial-x", ".trial-1"] {
            assert!(!is_ruin(name), "{name}");
        }
    }
}
