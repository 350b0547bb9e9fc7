// SPDX-License-Identifier: Apache-2.0
//! One Unix socket of the host's that a container has as a volume.
//!
//! A service may ask who is at the other end (`SO_PEERCRED`, unix(7)) and trust the answer, so each connection is made
//! by a thread that has taken the user and group the guest's kernel saw. It keeps its capabilities: whether that user
//! may connect was decided by the guest's kernel, by the same owner and mode, with groups this side does not know.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;

use boxlite_protocol::mux::Stream;
use boxlite_protocol::relay::RelayName;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::thread::{CapabilitiesSecureBits, Gid, Uid};
use tokio::net::UnixStream;

/// A socket, whatever its path leads to now.
#[derive(Debug)]
pub(super) struct HostSocket {
    place: OwnedFd,
}

impl HostSocket {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) != FileType::Socket {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket any more"));
        }
        Ok(Self { place })
    }

    /// Connects for `who`, and carries both directions until both have ended.
    pub(super) async fn connect(&self, who: RelayName, stream: &mut Stream) -> io::Result<()> {
        let place = self.place.try_clone()?;
        let connection = tokio::task::spawn_blocking(move || connect_as(&place, who)).await??;
        connection.set_nonblocking(true)?;
        let mut connection = UnixStream::from_std(connection)?;
        tokio::io::copy_bidirectional(stream, &mut connection).await.map(drop)
    }
}

/// Connects on a thread that is somebody else, and ends as that.
fn connect_as(place: &OwnedFd, who: RelayName) -> io::Result<StdUnixStream> {
    let connect = || {
        become_user(who)?;
        StdUnixStream::connect(format!("/proc/self/fd/{}", place.as_raw_fd()))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn_scoped(scope, connect)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}

/// Gives the calling thread, and no other, another effective user and group.
fn become_user(who: RelayName) -> io::Result<()> {
    if who.uid == u32::MAX || who.gid == u32::MAX {
        // To the kernel this means "leave it".
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (own_user, own_group) = (rustix::process::getuid(), rustix::process::getgid());
    rustix::thread::set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(own_group, Gid::from_raw(who.gid), own_group)?;
    rustix::thread::set_thread_res_uid(own_user, Uid::from_raw(who.uid), own_user)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn who(uid: u32, gid: u32) -> RelayName {
        RelayName { way: 16, uid, gid }
    }

    #[test]
    fn the_service_sees_who_asked_inside() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be somebody else");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let socket = HostSocket::open(&path).unwrap();
        // What is there later is another's.
        std::fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        for (uid, gid) in [(0, 0), (1234, 5678)] {
            let near = connect_as(&socket.place, who(uid, gid)).unwrap();
            let (mut far, _) = listener.accept().unwrap();
            let peer = rustix::net::sockopt::socket_peercred(&far).unwrap();
            assert_eq!((peer.uid.as_raw(), peer.gid.as_raw()), (uid, gid));
            drop(near);
            assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
        }
        assert!(rustix::process::geteuid().is_root(), "this thread is who it was");
    }

    #[test]
    fn nobody_is_not_root() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let socket = HostSocket::open(&path).unwrap();
        assert!(connect_as(&socket.place, who(u32::MAX, 0)).is_err());
        assert!(connect_as(&socket.place, who(0, u32::MAX)).is_err());
    }

    #[test]
    fn what_is_no_socket_is_not_opened() {
        assert!(HostSocket::open(Path::new("/proc/self/status")).is_err());
        assert!(HostSocket::open(Path::new("/nonexistent")).is_err());
    }
}
