// SPDX-License-Identifier: Apache-2.0
//! The rate of the host's time stamp counter, which is the counter an emulated guest reads.
//!
//! On a busy host a guest cannot measure it, and one that gave up counts time in ticks of 4 ms. Here it costs nothing:
//! [`begin`] takes a reading when the program starts, [`khz`] another when a machine is launched some milliseconds
//! later. Under KVM the guest is told by the kernel, and none of this is used.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Shorter intervals are not exact enough: reading both clocks takes about 0.1 µs, so this is good to 50 ppm.
const SHORTEST: Duration = Duration::from_millis(2);

static FIRST: OnceLock<(Instant, u64)> = OnceLock::new();

/// Takes the first reading; later calls do nothing.
pub fn begin() {
    FIRST.get_or_init(now);
}

/// Counts in a millisecond; none without a first reading, or too soon after it.
#[must_use]
pub fn khz() -> Option<u64> {
    let (began, first) = *FIRST.get()?;
    let (ended, second) = now();
    rate(ended.duration_since(began), second.checked_sub(first)?)
}

fn rate(elapsed: Duration, counts: u64) -> Option<u64> {
    if elapsed < SHORTEST {
        return None;
    }
    let khz = u128::from(counts) * 1_000_000 / elapsed.as_nanos();
    // A counter that stands still, or runs at a rate no processor has, is not worth telling.
    u64::try_from(khz).ok().filter(|khz| (100_000..20_000_000).contains(khz))
}

fn now() -> (Instant, u64) {
    (Instant::now(), counter())
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the instruction has no safe form")]
fn counter() -> u64 {
    // SAFETY: RDTSC is part of x86_64 and touches two registers.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_over_time_is_the_rate() {
        assert_eq!(rate(Duration::from_millis(10), 26_000_000), Some(2_600_000));
    }

    #[test]
    fn what_cannot_be_true_is_not_told() {
        assert_eq!(rate(Duration::from_millis(1), 2_600_000), None);
        assert_eq!(rate(Duration::from_millis(10), 0), None);
        assert_eq!(rate(Duration::from_millis(10), u64::MAX), None);
    }
}
