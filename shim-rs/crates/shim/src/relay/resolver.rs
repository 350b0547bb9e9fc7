// SPDX-License-Identifier: Apache-2.0
//! The engine's resolver, asked from within the container's network namespace, where alone it answers.
//!
//! It is asked at port 53, whatever port it listens at: an engine that is restarted listens at another and leads port
//! 53 there again.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream as StdTcpStream, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::time::Duration;

use boxlite_net::Namespace;
use boxlite_protocol::mux::Stream;
use boxlite_protocol::relay::MAX_DATAGRAM;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const DNS: u16 = 53;
/// How long an answer is waited for: longer than the engine asks several servers one after the other.
const ANSWER: Duration = Duration::from_secs(30);
/// How long the engine may take to accept, which it does at once or not at all.
const CONNECT: Duration = Duration::from_secs(5);

/// Where names are answered.
#[derive(Debug)]
pub(super) struct Resolver {
    namespace: Arc<Namespace>,
    at: SocketAddrV4,
}

impl Resolver {
    pub(super) fn new(namespace: Arc<Namespace>, address: Ipv4Addr) -> Self {
        Self { namespace, at: SocketAddrV4::new(address, DNS) }
    }

    /// One datagram there, and its answer back.
    pub(super) async fn exchange(&self, stream: &mut Stream) -> io::Result<()> {
        let at = self.at;
        let socket = self.within(move || {
            let socket = StdUdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(at)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = UdpSocket::from_std(socket.await?)?;
        let mut datagram = Vec::new();
        tokio::time::timeout(CONNECT, stream.take(MAX_DATAGRAM as u64).read_to_end(&mut datagram)).await??;
        socket.send(&datagram).await?;
        datagram.resize(MAX_DATAGRAM, 0);
        let length = tokio::time::timeout(ANSWER, socket.recv(&mut datagram)).await??;
        stream.write_all(&datagram[..length]).await?;
        stream.shutdown().await
    }

    /// A connection there, for an answer too long for a datagram.
    pub(super) async fn connect(&self, stream: &mut Stream) -> io::Result<()> {
        let at = self.at;
        let connection = self.within(move || {
            let connection = StdTcpStream::connect_timeout(&at.into(), CONNECT)?;
            connection.set_nonblocking(true)?;
            Ok(connection)
        });
        let mut connection = TcpStream::from_std(connection.await?)?;
        tokio::io::copy_bidirectional(stream, &mut connection).await.map(drop)
    }

    /// Makes a socket in the namespace, where it stays.
    async fn within<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let namespace = Arc::clone(&self.namespace);
        let made = tokio::task::spawn_blocking(move || namespace.run(make));
        made.await?.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use boxlite_protocol::mux;
    use boxlite_protocol::relay::{RESOLVER_DATAGRAM, RelayName};

    use super::*;
    use crate::relay::Relays;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

    /// What a guest is answered whose engine is `engine`.
    async fn ask(relays: Relays, query: &[u8]) -> Vec<u8> {
        let (host, guest) = tokio::io::duplex(4096);
        let (_host, incoming, driver) = mux::client(host);
        tokio::spawn(driver);
        tokio::spawn(Arc::new(relays).serve(incoming));
        let (guest, _streams, driver) = mux::server(guest);
        tokio::spawn(driver);
        let name = RelayName { way: RESOLVER_DATAGRAM, uid: 0, gid: 0 };
        let mut stream = guest.open_relay(&name).await.unwrap();
        stream.write_all(query).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end without an answer.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_datagram_is_answered_in_the_namespace_it_is_asked_in() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root makes network namespaces");
            return;
        }
        let namespace = Namespace::create().unwrap();
        let engine = namespace.run(|| StdUdpSocket::bind((ADDRESS, DNS)).unwrap()).unwrap();
        let answering = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 64];
            let (length, asker) = engine.recv_from(&mut buffer).unwrap();
            engine.send_to(&[b"to ", &buffer[..length]].concat(), asker).unwrap();
        });
        let relays = Relays::open(&[]).unwrap();
        relays.resolve_in(Arc::new(namespace), ADDRESS);
        assert_eq!(ask(relays, b"who?").await, b"to who?");
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_guest_that_has_no_resolver_reaches_none() {
        assert_eq!(ask(Relays::open(&[]).unwrap(), b"who?").await, b"");
    }
}
