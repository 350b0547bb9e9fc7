// SPDX-License-Identifier: Apache-2.0
//! The remembered answer: a file, and whether it is to be believed.
//!
//! It holds for one host as it was: its kernel, its processor with the microcode, its KVM, and QEMU ([`Host`]). Where one of
//! them is another by now, the answer is stale, and so is one that cannot be read. A reader never sees half of one.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use boxlite_linux::text::hex;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::facts;
use super::judge::Verdict;
use crate::host_facts;

/// Everybody's, for there is nothing secret in it. Its directory is root's.
const MODE: u32 = 0o644;

/// What an answer holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// The kernel's release.
    kernel: String,
    /// A digest of model, microcode and flags.
    processor: String,
    /// QEMU's program: path, size, time of change.
    qemu: String,
    /// The device and the modules behind it.
    kvm: String,
}

impl Host {
    /// Reads it. Some files and no other program: every start does.
    pub(crate) fn observe(qemu: &Path) -> io::Result<Self> {
        let program = std::fs::metadata(qemu)?;
        let (path, size) = (qemu.display(), program.size());
        let digest = Sha256::digest(host_facts::processor()?.as_bytes());
        Ok(Self {
            kernel: host_facts::kernel()?,
            processor: hex(&digest),
            qemu: format!("{path}, {size} bytes of {}.{:09}", program.mtime(), program.mtime_nsec()),
            kvm: facts::mark(),
        })
    }

    /// What is another by `now`, in words; none when nothing is.
    fn changed(&self, now: &Self) -> Option<String> {
        let told = |what: &str, then: &str, now: &str| {
            (then != now).then(|| format!("{what} is another: {then} then, {now} now"))
        };
        told("the host's kernel", &self.kernel, &now.kernel)
            .or_else(|| {
                let changed = self.processor != now.processor;
                changed.then(|| "the host's processor or its microcode is another".to_owned())
            })
            .or_else(|| told("QEMU", &self.qemu, &now.qemu))
            .or_else(|| told("the host's KVM", &self.kvm, &now.kvm))
    }
}

/// What accel.json says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    /// When, in seconds since 1970.
    asked: u64,
    host: Host,
}

impl Answer {
    /// A verdict found now, on `host`.
    pub(crate) fn new(verdict: Verdict, host: Host) -> Self {
        let asked = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { verdict, asked, host }
    }
}

/// What there is of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// It holds.
    Fresh(Answer),
    /// It does not any more: why.
    Stale(Answer, String),
    /// There is none to read: why.
    None(String),
}

/// Reads the answer for `host`.
///
/// # Errors
/// It is there and this process may not read it.
pub(crate) fn read(path: &Path, host: &Host) -> io::Result<Remembered> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Remembered::None("no guest was booted here yet to choose one".to_owned()));
        }
        Err(error) => return Err(error),
    };
    Ok(match serde_json::from_slice::<Answer>(&text) {
        Ok(answer) => match answer.host.changed(host) {
            None => Remembered::Fresh(answer),
            Some(why) => Remembered::Stale(answer, why),
        },
        Err(error) => {
            let path = path.display();
            Remembered::None(format!("{path} is damaged, or of another release ({error})"))
        }
    })
}

/// Held by who asks, so that one does and the others have the answer of that one.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: File,
}

/// Takes the lock of the answer at `path`, in whose directory, made where it is not there, the answer will be. Blocks until
/// whoever asks at the moment has done so.
pub(crate) fn lock(path: &Path) -> io::Result<Lock> {
    let directory = directory(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let held = File::open(directory)?;
    flock(&held, FlockOperation::LockExclusive)?;
    Ok(Lock { _held: held })
}

/// Replaces the answer in one step.
pub(crate) fn write(path: &Path, answer: &Answer, _lock: &Lock) -> io::Result<()> {
    // One name will do: whoever writes holds the lock, and what a killed one left is written over.
    let fresh = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(MODE).open(&fresh)?;
    serde_json::to_writer_pretty(&file, answer)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
pub(super) mod tests {
    use boxlite_vmm::Accel;

    use super::*;
    use crate::accel::judge::Kind;

    pub(in crate::accel) fn host() -> Host {
        let text = str::to_owned;
        Host { kernel: text("6.1"), processor: text("p"), qemu: text("q"), kvm: text("k") }
    }

    pub(in crate::accel) fn verdict(accel: Accel) -> Verdict {
        Verdict { accel, kind: Kind::Hardware, message: "m".to_owned(), hint: None, detail: None }
    }

    #[test]
    fn an_answer_is_believed_on_the_host_it_was_found_on() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state/accel.json");
        let answer = Answer::new(verdict(Accel::Kvm), host());
        write(&path, &answer, &lock(&path).unwrap()).unwrap();
        assert_eq!(read(&path, &host()).unwrap(), Remembered::Fresh(answer));
    }

    #[test]
    fn an_answer_is_stale_once_kernel_processor_qemu_or_kvm_is_another() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("accel.json");
        let answer = Answer::new(verdict(Accel::Kvm), host());
        write(&path, &answer, &lock(&path).unwrap()).unwrap();
        let other = || "other".to_owned();
        let table = [
            (Host { kernel: other(), ..host() }, "the host's kernel is another: 6.1 then, other now"),
            (Host { processor: other(), ..host() }, "the host's processor or its microcode is another"),
            (Host { qemu: other(), ..host() }, "QEMU is another: q then, other now"),
            (Host { kvm: other(), ..host() }, "the host's KVM is another: k then, other now"),
        ];
        for (now, why) in table {
            assert_eq!(read(&path, &now).unwrap(), Remembered::Stale(answer.clone(), why.to_owned()));
        }
    }

    #[test]
    fn what_is_no_answer_counts_as_none() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("accel.json");
        assert!(matches!(read(&path, &host()).unwrap(), Remembered::None(_)));
        // The last is an answer of a release that did not say what it holds for.
        for text in ["", "{", "{}", r#"{"accel":"kvm","reason":"booted","qemu":"10.0.13","probed_at":"x"}"#] {
            std::fs::write(&path, text).unwrap();
            let Remembered::None(why) = read(&path, &host()).unwrap() else { panic!("{text}") };
            assert!(why.contains("of another release"), "{why}");
        }
    }

    #[test]
    fn another_qemu_at_the_same_path_is_another_host() {
        let scratch = tempfile::tempdir().unwrap();
        let qemu = scratch.path().join("qemu");
        std::fs::write(&qemu, "one").unwrap();
        let before = Host::observe(&qemu).unwrap();
        assert_eq!(before.changed(&Host::observe(&qemu).unwrap()), None);
        std::fs::write(&qemu, "longer").unwrap();
        assert!(before.changed(&Host::observe(&qemu).unwrap()).unwrap().starts_with("QEMU is another"));
    }

    #[test]
    fn the_file_has_the_words_that_programs_read() {
        let text = serde_json::to_value(Answer::new(verdict(Accel::Tcg), host())).unwrap();
        assert_eq!((&text["accel"], &text["kind"]), (&"tcg".into(), &"hardware".into()));
        assert_eq!((&text["message"], &text["hint"]), (&"m".into(), &serde_json::Value::Null));
    }
}
