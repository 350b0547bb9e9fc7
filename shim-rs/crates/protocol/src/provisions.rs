// SPDX-License-Identifier: Apache-2.0
//! The first bytes on the channel of a machine that will be saved, from the host: four of length, little endian, and
//! as many of a [`Provisions`] message. The agent says [`hello`](crate::hello) when it has made what they ask for.

use protobuf::Message as _;

use crate::agent::Provisions;

/// Bytes of the length.
pub const HEADER: usize = 4;
/// Longest message.
const MOST: usize = 1 << 20;

/// What cannot be read as provisions.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionsError {
    /// Longer than they can be.
    #[error("provisions of {0} bytes are too long")]
    Long(usize),
    /// No such message.
    #[error("provisions cannot be read")]
    Message(#[source] protobuf::Error),
}

/// What the host writes.
///
/// # Errors
/// They are too long.
pub fn encode(provisions: &Provisions) -> Result<Vec<u8>, ProvisionsError> {
    let message = provisions.write_to_bytes().map_err(ProvisionsError::Message)?;
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= MOST);
    let mut bytes = length.ok_or(ProvisionsError::Long(message.len()))?.to_le_bytes().to_vec();
    bytes.extend(message);
    Ok(bytes)
}

/// Length of the message behind a header.
///
/// # Errors
/// It is too long.
pub fn length(header: [u8; HEADER]) -> Result<usize, ProvisionsError> {
    let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if length <= MOST { Ok(length) } else { Err(ProvisionsError::Long(length)) }
}

/// The message itself.
///
/// # Errors
/// It is none.
pub fn decode(message: &[u8]) -> Result<Provisions, ProvisionsError> {
    Provisions::parse_from_bytes(message).map_err(ProvisionsError::Message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let provisions = Provisions { device_program: vec![1; 704], ..Default::default() };
        let bytes = encode(&provisions).unwrap();
        let (header, message) = bytes.split_first_chunk().unwrap();
        assert_eq!(length(*header).unwrap(), message.len());
        assert_eq!(decode(message).unwrap(), provisions);
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_read() {
        assert!(matches!(length([0xff; HEADER]), Err(ProvisionsError::Long(_))));
        let provisions = Provisions { device_program: vec![1; MOST], ..Default::default() };
        assert!(matches!(encode(&provisions), Err(ProvisionsError::Long(_))));
    }
}
