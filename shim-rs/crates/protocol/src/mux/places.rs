// SPDX-License-Identifier: Apache-2.0
//! How many streams one side may have open, counted before the multiplexer does: at its own bound it drops them all.
//!
//! A place is taken before its stream is opened, or when the peer's arrives, and is free again once the multiplexer has
//! let go of the stream. That is later than its user has: what was dropped stays in the multiplexer's table until its
//! turn to be written comes, which a peer that reads nothing puts off.
//!
//! ```text
//!  free ──take──▶ taken ──its stream was dropped──▶ left ──the multiplexer has seen to it──▶ free
//!    ▲              └──────── never used ─────┐
//!    └────────────────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The places of one side.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    /// Taken and left ones.
    occupied: Mutex<usize>,
    left: AtomicUsize,
}

/// One of them, held by a stream, or by who is about to open one.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    used: bool,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, occupied: Mutex::new(0), left: AtomicUsize::new(0) })
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes so many, or none.
    pub(super) fn take(self: &Arc<Self>, count: usize) -> Option<Vec<Place>> {
        self.occupy(|occupied| occupied.checked_add(count).filter(|wanted| *wanted <= self.limit))?;
        let place = || Place { places: Arc::clone(self), used: false };
        Some(std::iter::repeat_with(place).take(count).collect())
    }

    /// Counts a stream that is there and finds no place: it was dropped at once.
    pub(super) fn turn_away(&self) {
        self.occupy(|occupied| Some(occupied + 1));
        self.left.fetch_add(1, Ordering::SeqCst);
    }

    /// Streams that were dropped and may still be in the multiplexer's table.
    pub(super) fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    /// The multiplexer has seen to so many of those that were left.
    pub(super) fn clear(&self, count: usize) {
        self.left.fetch_sub(count, Ordering::SeqCst);
        self.occupy(|occupied| Some(occupied.saturating_sub(count)));
    }

    fn occupy(&self, change: impl FnOnce(usize) -> Option<usize>) -> Option<()> {
        let mut occupied = self.occupied.lock().unwrap_or_else(PoisonError::into_inner);
        *occupied = change(*occupied)?;
        Some(())
    }
}

impl Place {
    /// Its stream is there.
    pub(super) fn used(mut self) -> Self {
        self.used = true;
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.used {
            self.places.left.fetch_add(1, Ordering::SeqCst);
        } else {
            self.places.occupy(|occupied| Some(occupied.saturating_sub(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_none_are_taken() {
        let places = Places::new(3);
        let two = places.take(2).unwrap();
        assert!(places.take(2).is_none());
        let one = places.take(1).unwrap();
        assert!(places.take(1).is_none());
        drop((one, two));
        assert!(places.take(3).is_some(), "no stream was ever there");
    }

    #[test]
    fn a_place_is_free_once_the_multiplexer_has_let_go_of_its_stream() {
        let places = Places::new(1);
        let place = places.take(1).unwrap().remove(0).used();
        drop(place);
        assert!(places.take(1).is_none());
        places.clear(places.left());
        assert!(places.take(1).is_some());
    }

    #[test]
    fn who_was_turned_away_is_there_for_a_while() {
        let places = Places::new(1);
        places.turn_away();
        assert_eq!((places.left(), places.take(1).is_none()), (1, true));
        places.clear(1);
        assert!(places.take(1).is_some());
    }
}
