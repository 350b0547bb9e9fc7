// SPDX-License-Identifier: Apache-2.0
//! Netlink messages as bytes: a header, a fixed part by kind, then attributes (length, kind, value) padded to 4 bytes.
//! Pure. Numbers are in the host's byte order unless a field's own definition says otherwise.

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// The two upper bits of an attribute's kind are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const KIND_MASK: u16 = 0x3fff;
const NLA_F_NESTED: u16 = 0x8000;

/// A request being built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// `kind` is `RTM_*`, `flags` those beside request and acknowledge, `fixed` the struct that kind starts with.
    #[must_use]
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut body = fixed.to_vec();
        pad(&mut body);
        Self { kind, flags, body }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.body.extend_from_slice(&length(ATTRIBUTE_HEADER + value.len()).to_ne_bytes());
        self.body.extend_from_slice(&kind.to_ne_bytes());
        self.body.extend_from_slice(value);
        pad(&mut self.body);
        self
    }

    /// Adds a zero-terminated text.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds a 32-bit number.
    #[must_use]
    pub fn word(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds an attribute that holds the attributes `fill` adds.
    #[must_use]
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.body.len();
        self = fill(self.bytes(kind | NLA_F_NESTED, &[]));
        let size = length(self.body.len() - start).to_ne_bytes();
        self.body[start..start + size.len()].copy_from_slice(&size);
        self
    }

    /// The message as sent, padded so that another can follow.
    #[must_use]
    pub fn encode(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend_from_slice(&u32::from(length(HEADER + self.body.len())).to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&(self.flags | flags).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]); // to the kernel
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The header of a message received, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `RTM_*` or `NLMSG_*`.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// That of the request which it answers.
    pub sequence: u32,
}

/// The messages of one datagram; it ends at the first that does not fit.
pub fn split(mut bytes: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    std::iter::from_fn(move || {
        let size = usize::try_from(number(bytes.get(..4))?).ok()?;
        let body = bytes.get(HEADER..size)?;
        let header = Header {
            kind: half(bytes.get(4..6))?,
            flags: half(bytes.get(6..8))?,
            sequence: number(bytes.get(8..12))?,
        };
        bytes = bytes.get(padded(size)..).unwrap_or_default();
        Some((header, body))
    })
}

/// The attributes in a stretch of bytes, kind (without its flags) and value; it ends at the first that does not fit.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a kind.
    #[must_use]
    pub fn find(self, wanted: u16) -> Option<&'a [u8]> {
        self.into_iter().find_map(|(kind, value)| (kind == wanted).then_some(value))
    }

    /// A 32-bit number.
    #[must_use]
    pub fn word(self, kind: u16) -> Option<u32> {
        number(self.find(kind))
    }

    /// A zero-terminated text.
    #[must_use]
    pub fn text(self, kind: u16) -> Option<&'a str> {
        let bytes = self.find(kind)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = usize::from(half(self.0.get(..2))?);
        let kind = half(self.0.get(2..4))? & KIND_MASK;
        let value = self.0.get(ATTRIBUTE_HEADER..size)?;
        self.0 = self.0.get(padded(size)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A 32-bit number, if that many bytes are there.
#[must_use]
pub fn number(bytes: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes?.try_into().ok()?))
}

fn half(bytes: Option<&[u8]>) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes?.try_into().ok()?))
}

fn padded(size: usize) -> usize {
    size.next_multiple_of(4)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(padded(bytes.len()), 0);
}

/// Lengths of requests are a few hundred bytes; a longer one is made invalid, which the kernel refuses.
fn length(size: usize) -> u16 {
    u16::try_from(size).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_carry_their_length_and_are_padded() {
        let message =
            Message::new(16, 0, &[1, 2, 3, 4]).nest(5, |nest| nest.text(1, "lo").word(2, 7)).word(3, 9);
        let bytes = message.encode(1, 42);
        let (header, body) = split(&bytes).next().unwrap();
        assert_eq!(header, Header { kind: 16, flags: 1, sequence: 42 });
        let attributes = Attributes(&body[4..]);
        assert_eq!(attributes.word(3), Some(9));
        let nested = Attributes(attributes.find(5).unwrap());
        assert_eq!((nested.text(1), nested.word(2)), (Some("lo"), Some(7)));
    }

    #[test]
    fn several_messages_of_one_datagram_are_told_apart() {
        let mut bytes = Message::new(16, 0, &[0; 4]).text(3, "abcd").encode(0, 1);
        bytes.extend(Message::new(17, 0, &[0; 4]).encode(0, 2));
        let kinds: Vec<_> = split(&bytes).map(|(header, _)| (header.kind, header.sequence)).collect();
        assert_eq!(kinds, [(16, 1), (17, 2)]);
    }

    #[test]
    fn cut_and_lying_lengths_end_the_reading_without_a_panic() {
        let bytes = Message::new(16, 0, &[0; 4]).text(3, "eth0").encode(0, 1);
        for end in 0..bytes.len() {
            assert_eq!(split(&bytes[..end]).count(), 0, "cut at {end}");
        }
        for size in [0_u16, 1, 3, 200, u16::MAX] {
            let mut attribute = size.to_ne_bytes().to_vec();
            attribute.extend([3, 0, 1, 2, 3, 4]);
            assert_eq!(Attributes(&attribute).count(), 0, "length {size}");
        }
        assert_eq!(split(&[0; 64]).count(), 0);
    }
}
