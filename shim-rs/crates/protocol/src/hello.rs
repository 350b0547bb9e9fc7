// SPDX-License-Identifier: Apache-2.0
//! The first eight bytes on a channel, from the agent: `BXL` 0x01, then the generation, little endian.
//!
//! A machine that was restored from a template has said it before it was saved: there the shim speaks first.

/// Length of a hello, in bytes.
pub const LENGTH: usize = 8;

const MAGIC: [u8; 4] = *b"BXL\x01";

/// Why the first bytes are not a hello this build understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something else than an agent is at the other end.
    #[error("the first bytes from the guest are not an agent's hello")]
    NotAnAgent,
    /// The initrd is of another build.
    #[error("the guest's agent speaks generation {0}, this shim {expected}", expected = crate::GENERATION)]
    Generation(u32),
}

/// The bytes an agent of this build writes.
#[must_use]
pub fn encode() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..].copy_from_slice(&crate::GENERATION.to_le_bytes());
    bytes
}

/// Checks what the guest wrote.
///
/// # Errors
/// [`HelloError`] when it is not an agent of this generation.
pub fn check(bytes: [u8; LENGTH]) -> Result<(), HelloError> {
    let [a, b, c, d, g0, g1, g2, g3] = bytes;
    if [a, b, c, d] != MAGIC {
        return Err(HelloError::NotAnAgent);
    }
    match u32::from_le_bytes([g0, g1, g2, g3]) {
        crate::GENERATION => Ok(()),
        other => Err(HelloError::Generation(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_hello_is_accepted() {
        assert_eq!(check(encode()), Ok(()));
    }

    #[test]
    fn other_generation_is_named() {
        let mut bytes = encode();
        bytes[4] = 99;
        assert_eq!(check(bytes), Err(HelloError::Generation(99)));
    }

    #[test]
    fn noise_is_not_an_agent() {
        assert_eq!(check(*b"Linux ve"), Err(HelloError::NotAnAgent));
    }
}
