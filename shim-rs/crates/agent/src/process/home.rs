// SPDX-License-Identifier: Apache-2.0
//! The user's home directory, from the container's own /etc/passwd.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// An image's file is not to be trusted in size either.
const MAX_PASSWD: u64 = 1 << 20;

/// The home directory of `uid`; "/" when the container does not say.
pub(crate) fn of(uid: u32) -> String {
    // An image without the file, or with something unreadable there, says nothing about the user.
    let text = read(Path::new("/etc/passwd")).unwrap_or_default();
    find(&text, uid).unwrap_or_else(|| "/".to_owned())
}

/// What is in a file, a link to one included. A FIFO or a device, which could keep who opens or reads it waiting, is
/// none.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = Vec::new();
    File::from(file).take(MAX_PASSWD).read_to_end(&mut text)?;
    Ok(text)
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
    fn links_are_followed_and_what_is_no_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("passwd"), PASSWD).unwrap();
        std::os::unix::fs::symlink("passwd", path("link")).unwrap();
        assert_eq!(read(&path("link")).unwrap(), PASSWD);
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), FileType::Fifo, 0o644.into(), 0).unwrap();
        assert!(read(&path("fifo")).is_err());
        assert!(read(Path::new("/dev/zero")).is_err());
        std::fs::File::create(path("large")).unwrap().set_len(4 * MAX_PASSWD).unwrap();
        assert_eq!(read(&path("large")).unwrap().len() as u64, MAX_PASSWD);
    }

    #[test]
    fn unknown_or_homeless_user_has_none() {
        assert_eq!(find(PASSWD, 5), None);
        assert_eq!(find(PASSWD, 999), None);
        assert_eq!(find(b"\xff\xfe:x:0:0::/x:", 0), None);
    }
}
