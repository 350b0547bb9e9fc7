// SPDX-License-Identifier: Apache-2.0
//! The user's home directory, from the container's own /etc/passwd.

use std::fs::File;
use std::io::Read;

/// An image's file is not to be trusted in size either.
const MAX_PASSWD: u64 = 1 << 20;

/// The home directory of `uid`; "/" when the container does not say.
pub(crate) fn of(uid: u32) -> String {
    let mut text = Vec::new();
    let read = File::open("/etc/passwd").and_then(|file| file.take(MAX_PASSWD).read_to_end(&mut text));
    // An image without the file, or with something unreadable there, says nothing about the user.
    let found = if read.is_ok() { find(&text, uid) } else { None };
    found.unwrap_or_else(|| "/".to_owned())
}

fn find(passwd: &[u8], uid: u32) -> Option<String> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&str> = std::str::from_utf8(line).ok()?.split(':').collect();
        let [_, _, user, _, _, home, ..] = fields.as_slice() else { return None };
        (user.parse() == Ok(uid) && !home.is_empty()).then(|| (*home).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbad line\nweb:x:33:33::/srv/web:\nno:x:5:5:::\n";

    #[test]
    fn home_is_found_by_user_number() {
        assert_eq!(find(PASSWD, 0).as_deref(), Some("/root"));
        assert_eq!(find(PASSWD, 33).as_deref(), Some("/srv/web"));
    }

    #[test]
    fn unknown_or_homeless_user_has_none() {
        assert_eq!(find(PASSWD, 5), None);
        assert_eq!(find(PASSWD, 999), None);
        assert_eq!(find(b"\xff\xfe:x:0:0::/x:", 0), None);
    }
}
