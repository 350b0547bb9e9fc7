// SPDX-License-Identifier: Apache-2.0
//! What a template depends on, and the key that names all of it.
//!
//! A saved machine goes on only under the same hypervisor, with the same guest inside, on the same kind of processor, and
//! with the same devices. The *identity* is a text that lists these, one a line; the *key* is its SHA-256. Programs
//! and images are in it by digest. Digesting 40 MB takes longer than restoring, so a build notes the digests beside
//! what the file system says of each file ([`Digests`]); a start believes them as long as that has not changed, and
//! takes a file it has no digest of for a changed one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use boxlite_linux::text::hex;
use boxlite_vmm::MachineConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{host_facts, machine};

/// Counts up when the files or the identity change their meaning.
pub(super) const FORMAT: u32 = 2;

/// Digests of files, each with what tells a changed file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digests(BTreeMap<PathBuf, Digested>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Digested {
    sha256: String,
    marks: Marks,
}

/// What the file system says of a file; changing the file changes this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marks {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Marks {
    fn of(path: &Path) -> io::Result<Self> {
        let data = std::fs::metadata(path)?;
        Ok(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

impl Digests {
    /// Digests every file of `paths`.
    pub(super) fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let digest = |path: &Path| {
            // Before the content: a change in between shows as one.
            let marks = Marks::of(path)?;
            Ok((path.to_owned(), Digested { sha256: sha256_of(&mut File::open(path)?)?, marks }))
        };
        paths.into_iter().map(digest).collect::<io::Result<_>>().map(Self)
    }

    /// With what `others` know of further files that have not changed since.
    pub(super) fn and(mut self, others: Self) -> Self {
        let others = others.0.into_iter();
        let unchanged =
            others.filter(|(path, known)| Marks::of(path).is_ok_and(|marks| marks == known.marks));
        for (path, known) in unchanged {
            self.0.entry(path).or_insert(known);
        }
        self
    }

    /// The digest of a file; none when it was not digested, or has changed since.
    fn of(&self, path: &Path) -> Option<&str> {
        let known = self.0.get(path)?;
        (Marks::of(path).ok()? == known.marks).then_some(known.sha256.as_str())
    }
}

/// The files whose content matters, in the identity's order.
pub(super) fn ingredients<'a>(
    machine: &'a MachineConfig,
    virtiofsd: &'a Path,
) -> [(&'static str, &'a Path); 4] {
    [
        ("hypervisor", &machine.qemu),
        // Its state is part of the machine's stream.
        ("virtiofsd", virtiofsd),
        ("kernel", &machine.kernel),
        ("initrd", &machine.initrd),
    ]
}

/// The identity of a template for `machine`, or which ingredient has no known digest.
pub(super) fn identity(
    wanted: &MachineConfig,
    virtiofsd: &Path,
    digests: &Digests,
    host: &str,
) -> Result<String, PathBuf> {
    let mut text = format!("boxlite template {FORMAT}\nprotocol {}\n", boxlite_protocol::GENERATION);
    for (name, path) in ingredients(wanted, virtiofsd) {
        let digest = digests.of(path).ok_or_else(|| path.to_owned())?;
        text.push_str(&format!("{name} {digest}\n"));
    }
    text.push_str(host);
    text.push_str(&machine::shape(wanted));
    Ok(text)
}

/// The host's kernel, which decides what taps and /dev/kvm can do, and processor, for [`identity`].
pub(super) fn host() -> io::Result<String> {
    Ok(format!("host {}\n{}", host_facts::kernel()?, host_facts::processor()?))
}

/// The key of an identity.
pub(super) fn key(identity: &str) -> String {
    hex(&Sha256::digest(identity.as_bytes()))
}

/// The digest of what is left of a file.
pub(super) fn sha256_of(file: &mut impl Read) -> io::Result<String> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&sum.finalize())),
            Ok(count) => sum.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[path = "identity/tests.rs"]
mod tests;
