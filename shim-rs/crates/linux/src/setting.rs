// SPDX-License-Identifier: Apache-2.0
//! Settings of the kernel, which are files.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Writes one value. A setting that the kernel lacks is ENOENT: nobody tries to make the file.
///
/// # Errors
/// open(2)'s and write(2)'s.
pub fn write(path: impl Arg, value: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value).map(drop)
}
