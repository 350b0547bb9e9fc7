// SPDX-License-Identifier: Apache-2.0
//! How long a process was kept from running by others: its threads were ready, and no processor took them.
//!
//! A limit that must tell a process that hangs from one that is starved counts the time that the process could have
//! used. Order of calls: [`waited`] when the count begins, and whenever it is looked at.

use std::time::Duration;

/// How long threads of `pid` have waited for a processor since they began: of all threads together, so that it may be
/// more than has passed. Zero for a process that is gone, and on a kernel that does not count (CONFIG_SCHED_INFO).
#[must_use]
pub fn waited(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    texts.filter_map(|text| of(&text)).sum()
}

/// The second field of `/proc/PID/task/TID/schedstat`, in nanoseconds (Documentation/scheduler/sched-stats.rst).
fn of(text: &str) -> Option<Duration> {
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_field_is_the_time_waited() {
        assert_eq!(of("69303432 1250 7\n"), Some(Duration::from_nanos(1250)));
        for nonsense in ["", "1", "1 x 3"] {
            assert_eq!(of(nonsense), None);
        }
    }

    #[test]
    fn who_is_gone_waits_for_nothing() {
        assert_eq!(waited(u32::MAX), Duration::ZERO);
    }

    #[test]
    fn of_more_threads_than_processors_some_wait() {
        let threads = std::thread::available_parallelism().unwrap().get() * 4;
        let before = waited(std::process::id());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let began = std::time::Instant::now();
                    while began.elapsed() < Duration::from_millis(200) {
                        std::hint::spin_loop();
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(150));
            assert!(waited(std::process::id()) > before, "nobody waited");
        });
    }
}
