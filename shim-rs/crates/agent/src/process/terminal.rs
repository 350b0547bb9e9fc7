// SPDX-License-Identifier: Apache-2.0
//! A process's terminal, made in the container's own devpts.
//!
//! Owns the pair and the cover of /dev/console. The terminal's other end is reached by its descriptor, never by a
//! path the container could have changed.

use std::os::fd::OwnedFd;
use std::path::Path;

use boxlite_linux::mount::{attach, clone_tree};
use boxlite_protocol::plan::Process;
use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::error::{Fault, Trying};
use crate::root::{Leaf, Root};

const DEVPTS_SUPER_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// Both ends of a terminal.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

/// Makes a terminal of the size the plan says.
pub(crate) fn open(root: &Root, process: &Process) -> Result<Pair, Fault> {
    let what = || "open /dev/pts/ptmx".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = root.open("/dev/pts/ptmx", flags).trying(what)?;
    if rustix::fs::fstatfs(&master).trying(what)?.f_type != DEVPTS_SUPER_MAGIC {
        return Err(Fault::refused("the container's /dev/pts is not of type devpts".to_owned()));
    }
    rustix::pty::unlockpt(&master).trying(what)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).trying(|| "open terminal".to_owned())?;
    if process.rows != 0 && process.columns != 0 {
        resize(&master, process.rows, process.columns)?;
    }
    Ok(Pair { master, slave })
}

/// Shows the terminal as the container's /dev/console.
pub(crate) fn cover_console(root: &Root, pair: &Pair) -> Result<(), Fault> {
    let what = || "mount /dev/console".to_owned();
    let console = root.ensure("/dev/console", Leaf::File)?;
    let tree = clone_tree(&pair.slave, Path::new(""), false).trying(what)?;
    attach(&tree, &console).trying(what)
}

/// Sets the size; the kernel tells the foreground processes.
pub(crate) fn resize(master: &OwnedFd, rows: u32, columns: u32) -> Result<(), Fault> {
    let cells = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    let size = Winsize { ws_row: cells(rows), ws_col: cells(columns), ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size).trying(|| "resize terminal".to_owned())
}
