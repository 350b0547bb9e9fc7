// SPDX-License-Identifier: Apache-2.0
//! Values that may be a number or the host's own.

use std::num::NonZeroU32;

use serde::Deserialize;

/// How much of what the host has: all of it (`"host"`), or so much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Amount {
    /// As much as the host has.
    #[default]
    Host,
    /// No more than this.
    Number(NonZeroU32),
}

/// An [`Amount`] as the file has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Word(String),
}

impl TryFrom<Written> for Amount {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let wrong = "neither a positive number nor \"host\"";
        match written {
            Written::Number(number) => NonZeroU32::new(number).map(Self::Number).ok_or(wrong),
            Written::Word(word) if word == "host" => Ok(Self::Host),
            Written::Word(_) => Err(wrong),
        }
    }
}

impl Amount {
    /// The number; none for the host's.
    #[must_use]
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Host => None,
            Self::Number(number) => Some(number.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_the_word() {
        let read = |json: &str| serde_json::from_str::<Amount>(json).map_err(|error| error.to_string());
        assert_eq!(read("\"host\"").unwrap().number(), None);
        assert_eq!(read("4096").unwrap().number(), Some(4096));
        for wrong in ["0", "-1", "\"all\"", "true", "1.5"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
