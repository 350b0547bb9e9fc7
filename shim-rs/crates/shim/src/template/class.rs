// SPDX-License-Identifier: Apache-2.0
//! Sizes of machines that templates exist for, written "1x512": virtual processors and MiB.

use std::{fmt, str::FromStr};

/// One size. Ordered by what it costs the host: memory first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class {
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

impl Class {
    /// Whether a machine of this class can stand for one of `size`. The container's limits are held by its cgroup in
    /// the guest; whoever has no limits, or said how large the machine is to be, gets that size and no other.
    #[must_use]
    pub fn fits(self, size: Self, exactly: bool) -> bool {
        if exactly { self == size } else { self.vcpus >= size.vcpus && self.memory_mib >= size.memory_mib }
    }

    /// For sorting: the smallest that fits is taken.
    #[must_use]
    pub fn cost(self) -> (u32, u32) {
        (self.memory_mib, self.vcpus)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.vcpus, self.memory_mib)
    }
}

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no size; write CPUSxMIB, for example 1x512")]
pub struct NoClass {
    text: String,
}

impl FromStr for Class {
    type Err = NoClass;

    fn from_str(text: &str) -> Result<Self, NoClass> {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
            text.parse::<u32>().ok().filter(|number| digits && *number > 0)
        };
        text.split_once('x')
            .and_then(|(vcpus, memory)| Some(Self { vcpus: number(vcpus)?, memory_mib: number(memory)? }))
            .ok_or_else(|| NoClass { text: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Class {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["1x512", "64x1048576"] {
            assert_eq!(class(text).to_string(), text);
        }
        for text in
            ["", "1", "x", "1x", "0x512", "01x512", "+1x512", "1x512M", "1x5x12", "-1x512", "1x99999999999"]
        {
            assert!(text.parse::<Class>().is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_met_by_anything_as_large() {
        assert!(class("2x1024").fits(class("1x576"), false));
        assert!(class("1x512").fits(class("1x512"), false));
        assert!(!class("1x512").fits(class("1x576"), false));
        assert!(!class("1x1024").fits(class("2x256"), false));
    }

    #[test]
    fn a_size_that_was_chosen_is_met_by_itself_alone() {
        assert!(class("1x512").fits(class("1x512"), true));
        assert!(!class("2x512").fits(class("1x512"), true));
        assert!(!class("1x1024").fits(class("1x512"), true));
    }
}
