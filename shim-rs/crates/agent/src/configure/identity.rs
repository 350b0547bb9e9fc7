// SPDX-License-Identifier: Apache-2.0
//! What two clones of one template must not share: time, random numbers, names.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, Timespec};

use crate::error::{Fault, Trying};
use crate::sys;

/// Entropy a clone is given at least, in bytes.
const MIN_ENTROPY: usize = 32;

pub(crate) fn set_clock(realtime_ns: i64) -> Result<(), Fault> {
    let time = Timespec {
        tv_sec: realtime_ns.div_euclid(1_000_000_000),
        tv_nsec: realtime_ns.rem_euclid(1_000_000_000),
    };
    rustix::time::clock_settime(ClockId::Realtime, time).trying(|| "set the clock".to_owned())
}

pub(crate) fn add_entropy(seed: &[u8]) -> Result<(), Fault> {
    if seed.len() < MIN_ENTROPY {
        return Err(Fault::refused(format!(
            "{} bytes of entropy, at least {MIN_ENTROPY} wanted",
            seed.len()
        )));
    }
    let what = || "add entropy".to_owned();
    let random =
        rustix::fs::open("/dev/urandom", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).trying(what)?;
    sys::add_entropy(random.as_fd(), seed).trying(what)
}

pub(crate) fn set_hostname(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Ok(());
    }
    rustix::system::sethostname(name.as_bytes()).trying(|| "set hostname".to_owned())
}
