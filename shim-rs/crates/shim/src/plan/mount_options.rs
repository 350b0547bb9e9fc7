// SPDX-License-Identifier: Apache-2.0
//! The words of a mount's `options`, as mount(8) and the OCI runtime specification define them, in the kernel's terms.

use boxlite_linux::mount::{
    ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME,
};

use super::refusal::Refusal;

// linux/mount.h
pub(super) const MS_RDONLY: u64 = 1;
const MS_NOSUID: u64 = 1 << 1;
const MS_NODEV: u64 = 1 << 2;
const MS_NOEXEC: u64 = 1 << 3;
const MS_SYNCHRONOUS: u64 = 1 << 4;
const MS_REMOUNT: u64 = 1 << 5;
const MS_MANDLOCK: u64 = 1 << 6;
const MS_DIRSYNC: u64 = 1 << 7;
const MS_NOSYMFOLLOW: u64 = 1 << 8;
const MS_NOATIME: u64 = 1 << 10;
const MS_NODIRATIME: u64 = 1 << 11;
pub(super) const MS_BIND: u64 = 1 << 12;
pub(super) const MS_REC: u64 = 1 << 14;
const MS_SILENT: u64 = 1 << 15;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;
const MS_RELATIME: u64 = 1 << 21;
const MS_I_VERSION: u64 = 1 << 23;
const MS_STRICTATIME: u64 = 1 << 24;
const MS_LAZYTIME: u64 = 1 << 25;

/// A flag that a word sets (true) or clears.
const FLAGS: &[(&str, bool, u64)] = &[
    ("async", false, MS_SYNCHRONOUS),
    ("atime", false, MS_NOATIME),
    ("bind", true, MS_BIND),
    ("defaults", true, 0),
    ("dev", false, MS_NODEV),
    ("diratime", false, MS_NODIRATIME),
    ("dirsync", true, MS_DIRSYNC),
    ("exec", false, MS_NOEXEC),
    ("iversion", true, MS_I_VERSION),
    ("lazytime", true, MS_LAZYTIME),
    ("loud", false, MS_SILENT),
    ("mand", true, MS_MANDLOCK),
    ("noatime", true, MS_NOATIME),
    ("nodev", true, MS_NODEV),
    ("nodiratime", true, MS_NODIRATIME),
    ("noexec", true, MS_NOEXEC),
    ("noiversion", false, MS_I_VERSION),
    ("nolazytime", false, MS_LAZYTIME),
    ("nomand", false, MS_MANDLOCK),
    ("norelatime", false, MS_RELATIME),
    ("nostrictatime", false, MS_STRICTATIME),
    ("nosuid", true, MS_NOSUID),
    ("nosymfollow", true, MS_NOSYMFOLLOW),
    ("rbind", true, MS_BIND | MS_REC),
    ("relatime", true, MS_RELATIME),
    ("remount", true, MS_REMOUNT),
    ("ro", true, MS_RDONLY),
    ("rw", false, MS_RDONLY),
    ("silent", true, MS_SILENT),
    ("strictatime", true, MS_STRICTATIME),
    ("suid", false, MS_NOSUID),
    ("symfollow", false, MS_NOSYMFOLLOW),
    ("sync", true, MS_SYNCHRONOUS),
];

/// A recursive attribute that a word puts in place of the bits of the mask.
const ATTRIBUTES: &[(&str, u64, u64)] = &[
    ("ratime", ATIME, 0),
    ("rdev", NODEV, 0),
    ("rdiratime", NODIRATIME, 0),
    ("rexec", NOEXEC, 0),
    ("rnoatime", ATIME, NOATIME),
    ("rnodev", NODEV, NODEV),
    ("rnodiratime", NODIRATIME, NODIRATIME),
    ("rnoexec", NOEXEC, NOEXEC),
    ("rnorelatime", ATIME, 0),
    ("rnostrictatime", ATIME, 0),
    ("rnosuid", NOSUID, NOSUID),
    ("rnosymfollow", NOSYMFOLLOW, NOSYMFOLLOW),
    ("rrelatime", ATIME, 0),
    ("rro", RDONLY, RDONLY),
    ("rrw", RDONLY, 0),
    ("rstrictatime", ATIME, STRICTATIME),
    ("rsuid", NOSUID, 0),
    ("rsymfollow", NOSYMFOLLOW, 0),
];

/// What the options of one mount come to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) flags: u64,
    pub(super) propagation: Vec<u64>,
    pub(super) recursive_attr: u64,
    pub(super) copy_up: bool,
    /// Words that are the file system's own.
    pub(super) data: Vec<String>,
}

impl Options {
    /// Propagation between the container and what is outside was asked for.
    pub(super) fn propagates(&self) -> bool {
        self.propagation.iter().any(|flags| flags & (MS_SHARED | MS_SLAVE) != 0)
    }
}

/// Reads the options of the mount at `destination`.
pub(super) fn parse(destination: &str, words: Option<&Vec<String>>) -> Result<Options, Refusal> {
    let mut options = Options::default();
    for word in words.into_iter().flatten() {
        super::spec::check_text("mounts.options", word)?;
        if let Some((_, set, flags)) = FLAGS.iter().find(|(name, ..)| name == word) {
            options.flags = if *set { options.flags | flags } else { options.flags & !flags };
        } else if let Some((_, mask, value)) = ATTRIBUTES.iter().find(|(name, ..)| name == word) {
            options.recursive_attr = (options.recursive_attr & !mask) | value;
        } else if let Some(flags) = propagation(word) {
            options.propagation.push(flags);
        } else if word == "tmpcopyup" {
            options.copy_up = true;
        } else if word == "idmap" || word == "ridmap" {
            return Err(id_mapped(destination));
        } else if !word.is_empty() {
            options.data.push(word.clone());
        }
    }
    if options.flags & MS_REMOUNT != 0 {
        return Err(Refusal::invalid(
            format!("mounts[{destination}].options"),
            "remount has no place in a spec",
        ));
    }
    Ok(options)
}

pub(super) fn id_mapped(destination: &str) -> Refusal {
    Refusal::unsupported(
        format!("an id-mapped mount at {destination}"),
        "the share carries the host's ids as they are",
        "change the owner of the files instead",
    )
}

/// A word for mount propagation as flags.
pub(super) fn propagation(word: &str) -> Option<u64> {
    Some(match word {
        "private" => MS_PRIVATE,
        "rprivate" => MS_PRIVATE | MS_REC,
        "shared" => MS_SHARED,
        "rshared" => MS_SHARED | MS_REC,
        "slave" => MS_SLAVE,
        "rslave" => MS_SLAVE | MS_REC,
        "unbindable" => MS_UNBINDABLE,
        "runbindable" => MS_UNBINDABLE | MS_REC,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Options, Refusal> {
        parse("/x", Some(&words.iter().map(|word| (*word).to_owned()).collect()))
    }

    #[test]
    fn later_words_win() {
        assert_eq!(words(&["ro", "rw"]).unwrap().flags, 0);
        assert_eq!(words(&["rw", "ro", "nosuid"]).unwrap().flags, MS_RDONLY | MS_NOSUID);
        assert_eq!(words(&["rro", "rrw"]).unwrap().recursive_attr, 0);
        assert_eq!(words(&["rnoatime", "rstrictatime"]).unwrap().recursive_attr, STRICTATIME);
    }

    #[test]
    fn unknown_words_are_data() {
        let options = words(&["mode=755", "nodev", "size=64k", "tmpcopyup"]).unwrap();
        assert_eq!(options.data, ["mode=755", "size=64k"]);
        assert!(options.copy_up);
    }

    #[test]
    fn propagation_is_kept_in_order() {
        let options = words(&["rbind", "rslave", "shared"]).unwrap();
        assert_eq!(options.propagation, [MS_SLAVE | MS_REC, MS_SHARED]);
        assert!(options.propagates());
        assert!(!words(&["rprivate"]).unwrap().propagates());
    }

    #[test]
    fn impossible_ones_are_refused() {
        assert!(words(&["idmap"]).is_err());
        assert!(words(&["remount"]).is_err());
        assert!(words(&["a\0b"]).is_err());
    }
}
