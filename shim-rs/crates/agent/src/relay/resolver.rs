// SPDX-License-Identifier: Apache-2.0
//! Relays the engine's resolver: what Docker answers at 127.0.0.11 in a network of one's own.
//!
//! Owns a UDP and a TCP socket at one port of the resolver's address in this machine. A datagram becomes a stream of
//! its own with that datagram in it, and its answer the stream's content back; what has no answer in time stays
//! without, as on any network. [`redirect`] leads port 53 here.

use std::io;
use std::net::{Ipv4Addr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use boxlite_protocol::relay::{MAX_DATAGRAM, RESOLVER_DATAGRAM, RESOLVER_STREAM, RelayName};
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{Entrance, Relays, WayOut, redirect};
use crate::error::{Fault, Trying};
use crate::{mode, sys};

/// How long an answer is waited for. An engine asks several servers one after the other, some seconds each.
const PATIENCE: Duration = Duration::from_secs(30);

impl Relays {
    /// Has `address` answer for names in this machine, for everything in a cgroup below `cgroups`. Once: a second call
    /// with the same address changes nothing.
    pub(crate) fn resolve_at(&self, address: Ipv4Addr, cgroups: &Path) -> Result<(), Fault> {
        if self.resolver.get() == Some(&address) {
            return Ok(());
        }
        let what = || format!("listen at {address}");
        let (datagrams, connections) = bind(address).trying(what)?;
        let port = datagrams.local_addr().trying(what)?.port();
        lead(address, port, cgroups)?;
        tokio::spawn(answer(datagrams, self.way_out.clone()));
        tokio::spawn(self.way_out.clone().serve(Connections(connections)));
        // Only this task sets it.
        let _ = self.resolver.set(address);
        Ok(())
    }
}

/// Both sockets at one port. The container has not started yet, so nobody else takes ports here.
fn bind(address: Ipv4Addr) -> io::Result<(UdpSocket, TcpListener)> {
    let connections = StdTcpListener::bind((address, 0))?;
    let datagrams = StdUdpSocket::bind((address, connections.local_addr()?.port()))?;
    connections.set_nonblocking(true)?;
    datagrams.set_nonblocking(true)?;
    Ok((UdpSocket::from_std(datagrams)?, TcpListener::from_std(connections)?))
}

fn lead(address: Ipv4Addr, port: u16, cgroups: &Path) -> Result<(), Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let all = rustix::fs::open(cgroups, flags, Mode::empty()).trying(|| "open cgroups".to_owned())?;
    for (hook, program) in redirect::programs(address, port) {
        let what = || format!("lead the port of names to its relay ({hook:?})");
        let program = sys::load_address_program(hook as u32, &program).trying(what)?;
        sys::attach_address_program(hook as u32, all.as_fd(), program.as_fd()).trying(what)?;
    }
    Ok(())
}

async fn answer(socket: UdpSocket, way_out: WayOut) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let room = way_out.room().await;
        match socket.recv_from(&mut buffer).await {
            Ok((length, asker)) => {
                let query = buffer[..length].to_vec();
                let (socket, way_out) = (Arc::clone(&socket), way_out.clone());
                tokio::spawn(async move {
                    let _room = room;
                    // Who asks gives up by itself when no answer comes.
                    if let Ok(Ok(reply)) = tokio::time::timeout(PATIENCE, exchange(&query, &way_out)).await
                        && !reply.is_empty()
                    {
                        let _ = socket.send_to(&reply, asker).await;
                    }
                });
            }
            // An answer that could not be delivered is told here (ECONNREFUSED).
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                mode::say(&format!("boxlite-agent: names are not relayed any more: {error}"));
                return;
            }
        }
    }
}

async fn exchange(query: &[u8], way_out: &WayOut) -> io::Result<Vec<u8>> {
    let mut stream = way_out.open(name(RESOLVER_DATAGRAM)).await?;
    stream.write_all(query).await?;
    stream.shutdown().await?;
    let mut reply = Vec::new();
    stream.take(MAX_DATAGRAM as u64).read_to_end(&mut reply).await?;
    Ok(reply)
}

/// Names asked for by connections.
#[derive(Debug)]
struct Connections(TcpListener);

impl Entrance for Connections {
    type Connection = TcpStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        self.0.poll_accept(context).map_ok(|(connection, _)| connection)
    }

    fn name(&self, _: &TcpStream) -> io::Result<RelayName> {
        Ok(name(RESOLVER_STREAM))
    }
}

/// The resolver does not ask who asks.
fn name(way: u32) -> RelayName {
    RelayName { way, uid: 0, gid: 0 }
}
