// SPDX-License-Identifier: Apache-2.0
//! Which of the machine's cards a link takes. Pure.
//!
//! The last card is the one that all links share for which there is no card of their own, told apart by tags; the others
//! carry one link each. So a machine needs no card for a network it may get some day. Why: docs/adr/0024.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use boxlite_net::{Lane, Layout};

use crate::error::TaskError;

/// How each link reaches the machine, by the link's index.
pub(super) type Lanes = BTreeMap<u32, Lane>;

/// How many links share a card at most. Each is one more program that a frame out of the machine may meet.
const TAGS: u8 = 63;

/// Each link keeps the lane it has; a new one gets the first that is free.
pub(super) fn assign(known: &Lanes, layout: &Layout, cards: u32) -> Result<Lanes, TaskError> {
    let wanted = layout.links.len();
    if wanted > all(cards).count() {
        return Err(TaskError::Invalid { what: too_many(wanted, cards) });
    }
    let indices: Vec<u32> = layout.links.iter().map(|link| link.index).collect();
    let mut lanes: Lanes = known
        .iter()
        .filter(|(index, _)| indices.contains(index))
        .map(|(index, lane)| (*index, *lane))
        .collect();
    for index in indices {
        if !lanes.contains_key(&index) {
            let free = all(cards).find(|lane| !lanes.values().any(|taken| taken == lane));
            lanes.extend(free.map(|lane| (index, lane)));
        }
    }
    Ok(lanes)
}

/// The lanes of a machine with so many cards, the best first. With one card there is none to share.
fn all(cards: u32) -> impl Iterator<Item = Lane> {
    let shared = cards.saturating_sub(1);
    let own = (0..shared.max(1).min(cards)).map(|tap| Lane { tap, tag: None });
    let tags = if shared == 0 { 0 } else { TAGS };
    own.chain((1..=tags).filter_map(NonZeroU8::new).map(move |tag| Lane { tap: shared, tag: Some(tag) }))
}

fn too_many(wanted: usize, cards: u32) -> String {
    let room = all(cards).count();
    let instead = if cards < 2 {
        "set machine.nics = 2 in /etc/boxlite/config.toml".to_owned()
    } else {
        "attach fewer networks".to_owned()
    };
    format!("the container has {wanted} network interfaces and its machine room for {room}; {instead}")
}

#[cfg(test)]
mod tests {
    use boxlite_net::Link;

    use super::*;

    fn layout(indices: impl IntoIterator<Item = u32>) -> Layout {
        let link = |index| Link {
            index,
            name: format!("eth{index}"),
            mac: [2; 6],
            mtu: 1500,
            ipv6: false,
            addresses: Vec::new(),
        };
        Layout { links: indices.into_iter().map(link).collect(), ..Layout::default() }
    }

    const FIRST: Lane = Lane { tap: 0, tag: None };

    fn tagged(tap: u32, tag: u8) -> Lane {
        Lane { tap, tag: NonZeroU8::new(tag) }
    }

    #[test]
    fn a_link_keeps_its_lane_whatever_comes_and_goes() {
        let first = assign(&Lanes::new(), &layout([7]), 2).unwrap();
        assert_eq!(first, Lanes::from([(7, FIRST)]));
        let three = assign(&first, &layout([5, 6, 7]), 2).unwrap();
        assert_eq!(three, Lanes::from([(7, FIRST), (5, tagged(1, 1)), (6, tagged(1, 2))]));
        let two = assign(&three, &layout([5, 6]), 2).unwrap();
        assert_eq!(two, Lanes::from([(5, tagged(1, 1)), (6, tagged(1, 2))]));
        assert_eq!(assign(&two, &layout([6, 9]), 2).unwrap(), Lanes::from([(6, tagged(1, 2)), (9, FIRST)]));
    }

    #[test]
    fn the_last_card_is_shared_and_the_others_are_not() {
        let lanes = assign(&Lanes::new(), &layout(0..5), 4).unwrap();
        let own = |tap| Lane { tap, tag: None };
        let wanted = [own(0), own(1), own(2), tagged(3, 1), tagged(3, 2)];
        assert_eq!(lanes.into_values().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn more_links_than_there_is_room_for_are_refused_with_what_to_do() {
        assert_eq!(assign(&Lanes::new(), &layout(0..64), 2).unwrap().len(), 64);
        let error = assign(&Lanes::new(), &layout(0..65), 2).unwrap_err().to_string();
        assert!(error.contains("65 network interfaces") && error.contains("room for 64"), "{error}");
        let error = assign(&Lanes::new(), &layout(0..2), 1).unwrap_err().to_string();
        assert!(error.contains("machine.nics = 2"), "{error}");
        assert!(assign(&Lanes::new(), &layout(0..1), 0).is_err());
    }
}
