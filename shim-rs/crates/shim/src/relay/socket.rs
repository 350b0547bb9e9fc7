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
use std::time::Duration;

use boxlite_protocol::mux::Stream;
use boxlite_protocol::relay::RelayName;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::thread::{CapabilitiesSecureBits, Gid, Uid};
use tokio::net::UnixStream;

/// How long a service with as many connections waiting as it allows may take to accept one. Who connects on the host
/// waits for ever; here each who waits takes one of the guest's ways out.
const ACCEPT: Duration = Duration::from_secs(30);

/// A socket, whatever its path leads to now.
#[derive(Debug)]
pub(super) struct HostSocket {
    place: OwnedFd,
    accept: Duration,
}

impl HostSocket {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) != FileType::Socket {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket any more"));
        }
        Ok(Self { place, accept: ACCEPT })
    }

    /// Connects for `who`, and carries both directions until both have ended.
    pub(super) async fn connect(&self, who: RelayName, stream: &mut Stream) -> io::Result<()> {
        let (place, accept) = (self.place.try_clone()?, self.accept);
        let connection = tokio::task::spawn_blocking(move || connect_as(&place, who, accept)).await??;
        connection.set_nonblocking(true)?;
        let mut connection = UnixStream::from_std(connection)?;
        tokio::io::copy_bidirectional(stream, &mut connection).await.map(drop)
    }
}

/// Connects on a thread that is somebody else, and ends as that.
fn connect_as(place: &OwnedFd, who: RelayName, accept: Duration) -> io::Result<StdUnixStream> {
    let connect = || {
        become_user(who)?;
        connect(place, accept)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn_scoped(scope, connect)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}

fn connect(place: &OwnedFd, accept: Duration) -> io::Result<StdUnixStream> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // socket(7): it holds for connect(2) as well, which ends with EAGAIN.
    set_socket_timeout(&socket, Timeout::Send, Some(accept))?;
    let place = SocketAddrUnix::new(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    match rustix::net::connect(&socket, &place) {
        Ok(()) => Ok(socket.into()),
        Err(Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error.into()),
    }
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
    use std::sync::Arc;

    use boxlite_protocol::mux;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::plan::RelayItem;
    use crate::relay::{MAX_RELAYED, Relays};

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
            let near = connect_as(&socket.place, who(uid, gid), ACCEPT).unwrap();
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
        assert!(connect_as(&socket.place, who(u32::MAX, 0), ACCEPT).is_err());
        assert!(connect_as(&socket.place, who(0, u32::MAX), ACCEPT).is_err());
    }

    /// A socket whose service has as many connections waiting as it allows, and these.
    fn crowded(path: &Path) -> (OwnedFd, Vec<OwnedFd>) {
        let socket =
            |flags| rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let listener = socket(SocketFlags::CLOEXEC);
        let address = SocketAddrUnix::new(path).unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let mut waiting = Vec::new();
        loop {
            let next = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
            match rustix::net::connect(&next, &address) {
                Ok(()) => waiting.push(next),
                Err(Errno::AGAIN) => return (listener, waiting),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_service_that_accepts_nobody_is_given_up_and_its_place_is_free() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be somebody else");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_listener, _waiting) = crowded(&path);
        let mut relays = Relays::open(&[RelayItem { way: 16, source: path }]).unwrap();
        relays.sockets.get_mut(&16).unwrap().accept = Duration::from_millis(50);
        let relays = Arc::new(relays);
        let (host, guest) = tokio::io::duplex(4096);
        let (_host, incoming, driver) = mux::client(host);
        tokio::spawn(driver);
        tokio::spawn(relays.clone().serve(incoming));
        let (guest, _streams, driver) = mux::server(guest);
        tokio::spawn(driver);
        let mut stream = guest.open_relay(&who(0, 0)).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 1])).await;
        assert!(matches!(answer.expect("an end of the wait"), Ok(0) | Err(_)));
        assert_eq!(relays.room.available_permits(), MAX_RELAYED);
        assert_eq!(relays.late.turn_at(std::time::Instant::now()), None, "it was said in the log");
    }

    #[test]
    fn what_is_no_socket_is_not_opened() {
        assert!(HostSocket::open(Path::new("/proc/self/status")).is_err());
        assert!(HostSocket::open(Path::new("/nonexistent")).is_err());
    }
}
