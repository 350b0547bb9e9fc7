// SPDX-License-Identifier: Apache-2.0
//! What others wrote, and bytes, made fit for a log, an error or a terminal: control characters move a cursor, change colours, and
//! end lines that are not theirs. Pure. How much is kept, and of what, is the callers' affair.

/// Lines: control characters but line breaks and tabs are gone, and what is no UTF-8 is marked as such.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let keep = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    String::from_utf8_lossy(bytes).chars().filter(keep).collect()
}

/// One line: each control character is a blank. `most`: how many characters are kept, from the first.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Two digits a byte, as digests are written.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_stripped_from_lines() {
        assert_eq!(printable(b"a\x1b[31mred\x07\r\n\tb\xc2\x9bc"), "a[31mred\n\tbc");
        assert_eq!(printable(b"cut \xc3"), "cut \u{fffd}");
    }

    #[test]
    fn control_characters_are_blanks_in_one_line() {
        assert_eq!(one_line("exec \u{1b}[2Jfoo\r\n\tb\u{9b}c", usize::MAX), "exec  [2Jfoo   b c");
        assert_eq!(one_line("h\u{e9}llo", 2), "h\u{e9}");
    }

    #[test]
    fn bytes_have_two_digits_each() {
        assert_eq!(hex(&[0, 0x0f, 0xa0]), "000fa0");
    }
}
