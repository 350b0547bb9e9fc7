// SPDX-License-Identifier: Apache-2.0
//! Damages JSON at random places, the same way in each run.

use serde_json::{Map, Value, json};

/// Damaged copies of each spec.
pub(crate) const ROUNDS: usize = 150;

/// Values that programs trip over.
fn nasty() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("/"),
        json!(".."),
        json!("../../etc"),
        json!("/proc/1/ns/net"),
        json!("/proc/self"),
        json!("/absent"),
        json!("a\u{0}b"),
        json!("ä/ö"),
        json!("x".repeat(5000)),
        json!([]),
        json!({}),
        json!([[]]),
        json!("rwm"),
        json!("bind"),
        json!("SCMP_ACT_KILL"),
    ]
}

/// A small deterministic generator (xorshift64).
pub(crate) struct Random(u64);

impl Random {
    /// Seeds must not be zero.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, or zero when that is zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }
}

/// Changes one place: replaces, removes or doubles what is there.
pub(crate) fn once(value: &mut Value, random: &mut Random) {
    // Go down with three chances in four, so that whole sections are hit as well as leaves.
    if random.below(4) != 0 {
        match value {
            Value::Object(map) if !map.is_empty() => return in_object(map, random),
            Value::Array(list) if !list.is_empty() => return in_array(list, random),
            _ => {}
        }
    }
    let mut values = nasty();
    *value = values.swap_remove(random.below(values.len()));
}

fn in_object(map: &mut Map<String, Value>, random: &mut Random) {
    let key = map.keys().nth(random.below(map.len())).cloned().unwrap_or_default();
    if random.below(8) == 0 {
        map.remove(&key);
    } else if let Some(value) = map.get_mut(&key) {
        once(value, random);
    }
}

fn in_array(list: &mut Vec<Value>, random: &mut Random) {
    let at = random.below(list.len());
    match random.below(8) {
        0 => drop(list.remove(at)),
        1 => list.push(list[at].clone()),
        _ => once(&mut list[at], random),
    }
}
