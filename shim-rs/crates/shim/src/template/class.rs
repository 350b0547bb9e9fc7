// SPDX-License-Identifier: Apache-2.0
//! Sizes of machines that templates exist for, written "2x8192": virtual processors, and MiB that there is room for. One
//! size fits nearly every container of a host: how much of the room a machine may take is told to each clone.

use std::{fmt, str::FromStr};

use crate::plan::MachineSize;

/// One size. Ordered by what it costs the host: memory first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class {
    /// Virtual processors.
    pub vcpus: u32,
    /// Room for memory in MiB.
    pub memory_mib: u32,
}

impl Class {
    /// That of a machine of this size.
    #[must_use]
    pub fn of(size: MachineSize) -> Self {
        Self { vcpus: size.vcpus, memory_mib: size.room_mib }
    }

    /// The size of a machine of this class that may take all it has room for.
    #[must_use]
    pub fn whole(self) -> MachineSize {
        MachineSize { vcpus: self.vcpus, memory_mib: self.memory_mib, room_mib: self.memory_mib }
    }

    /// Whether a machine of this class can stand for one of `size`: CPUs are seen, room is not.
    #[must_use]
    pub fn fits(self, size: Self) -> bool {
        self.vcpus == size.vcpus && self.memory_mib >= size.memory_mib
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
#[error("{text:?} is no size; write CPUSxMIB, for example 2x8192")]
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
    fn as_many_cpus_and_no_less_room_will_do() {
        assert!(class("2x2048").fits(class("2x1024")));
        assert!(class("1x1024").fits(class("1x1024")));
        assert!(!class("1x1024").fits(class("1x2048")));
        assert!(!class("2x1024").fits(class("1x1024")));
        assert!(!class("1x4096").fits(class("2x1024")));
    }
}
