// SPDX-License-Identifier: Apache-2.0
//! The host's settings. A guest's kernel may lack one or take other values: that is no reason not to start.

use std::path::Path;

use boxlite_linux::setting;
use boxlite_protocol::plan::Sysctl;
use rustix::io::Errno;

use crate::error::errno_words;

const SYSCTLS: &str = "/proc/sys";

/// A setting that the kernel did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) path: String,
    /// In words, with the value.
    pub(crate) text: String,
}

/// Writes each, in order.
pub(crate) fn take(settings: &[Sysctl]) -> Vec<Refusal> {
    settings.iter().filter_map(|setting| write(Path::new(SYSCTLS), setting)).collect()
}

fn write(root: &Path, sysctl: &Sysctl) -> Option<Refusal> {
    let Sysctl { path, value, .. } = sysctl;
    // With the end of the line even an empty value is one.
    match setting::write(root.join(path), format!("{value}\n").as_bytes()) {
        // Not only the setting: a congestion control, too, may be one this kernel has not.
        Ok(()) | Err(Errno::NOENT) => None,
        Err(error) => {
            let text = format!("write {value:?} to {path}: {}", errno_words(error));
            Some(Refusal { path: path.clone(), text })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_passed_over_and_what_is_refused_is_told() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("has"), "1\n").unwrap();
        std::fs::create_dir(root.path().join("refuses")).unwrap();
        let write = |path: &str| {
            write(root.path(), &Sysctl { path: path.into(), value: "2".into(), ..Sysctl::default() })
        };
        assert_eq!(write("has"), None);
        assert_eq!(std::fs::read_to_string(root.path().join("has")).unwrap(), "2\n");
        assert_eq!(write("has-not"), None);
        let refusal = write("refuses").unwrap();
        assert_eq!(refusal.path, "refuses");
        assert!(refusal.text.starts_with("write \"2\" to refuses: "), "{}", refusal.text);
    }
}
