// SPDX-License-Identifier: Apache-2.0
//! What the kernel answers when a namespace is scanned, in which a user may have put anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// A namespace with one interface, in which nothing of what is read may be missing.
const SEED: &[u8] = include_bytes!("../corpus/netlink/veth");

fn seed_is_read() {
    let layout = boxlite_net::layout_of(SEED).expect("read");
    assert!(!layout.links.is_empty() && !layout.routes.is_empty() && !layout.neighbors.is_empty());
}

fuzz_target!(init: seed_is_read(), |data: &[u8]| {
    if let Ok(layout) = boxlite_net::layout_of(data) {
        let known = |name: &str| layout.links.iter().any(|link| link.name == name);
        assert!(layout.routes.iter().all(|route| route.link.is_empty() || known(&route.link)));
        assert!(layout.neighbors.iter().all(|neighbor| known(&neighbor.link)));
    }
});
