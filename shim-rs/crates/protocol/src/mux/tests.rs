// SPDX-License-Identifier: Apache-2.0
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::stream::Kind;

type End = (Opener, Incoming);

fn ends() -> (End, End) {
    let (host, guest) = tokio::io::duplex(4096);
    let (host_opener, host_incoming, driver) = client(host);
    tokio::spawn(driver);
    let (guest_opener, guest_incoming, driver) = server(guest);
    tokio::spawn(driver);
    ((host_opener, host_incoming), (guest_opener, guest_incoming))
}

fn pair() -> (Opener, Incoming) {
    let ((opener, _), (_, streams)) = ends();
    (opener, streams)
}

#[tokio::test]
async fn a_guest_opens_streams_beside_the_hosts() {
    let ((host, mut relayed), (guest, mut streams)) = ends();
    let control = host.open(&StreamName::control()).await.unwrap();
    let name = RelayName { way: 16, uid: 7, gid: 8 };
    let mut out = guest.open_relay(&name).await.unwrap();
    out.write_all(b"out").await.unwrap();
    out.shutdown().await.unwrap();
    assert_eq!(StreamName::read(&mut streams.recv().await.unwrap()).await.unwrap(), StreamName::control());
    let mut arrived = relayed.recv().await.unwrap();
    assert_eq!(RelayName::read(&mut arrived).await.unwrap(), name);
    let mut text = String::new();
    arrived.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "out");
    drop(control);
}

#[tokio::test]
async fn a_stream_nobody_takes_is_reset() {
    let ((host, relayed), (guest, _streams)) = ends();
    drop(relayed);
    let mut out = guest.open_relay(&RelayName { way: 16, uid: 0, gid: 0 }).await.unwrap();
    assert!(matches!(out.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    drop(host);
}

#[tokio::test]
async fn bytes_arrive_on_the_stream_they_were_sent_on() {
    let (opener, mut streams) = pair();
    let name = StreamName::stdio(Kind::Stdin, "c", "");
    let mut sender = opener.open(&name).await.unwrap();
    sender.write_all(b"hello").await.unwrap();
    sender.shutdown().await.unwrap();
    let mut receiver = streams.recv().await.unwrap();
    assert_eq!(StreamName::read(&mut receiver).await.unwrap(), name);
    let mut text = String::new();
    receiver.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn half_close_leaves_the_other_direction_open() {
    let (opener, mut streams) = pair();
    let mut host = opener.open(&StreamName::control()).await.unwrap();
    host.shutdown().await.unwrap();
    let mut guest = streams.recv().await.unwrap();
    StreamName::read(&mut guest).await.unwrap();
    assert_eq!(guest.read(&mut [0; 1]).await.unwrap(), 0);
    guest.write_all(b"late").await.unwrap();
    guest.shutdown().await.unwrap();
    let mut text = String::new();
    host.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "late");
}

#[tokio::test]
async fn a_reader_that_stops_reading_stops_only_its_own_stream() {
    let (opener, mut streams) = pair();
    let mut stuck = opener.open(&StreamName::stdio(Kind::Stdin, "a", "")).await.unwrap();
    let writer = tokio::spawn(async move { stuck.write_all(&vec![0; 8 << 20]).await });
    let _unread = streams.recv().await.unwrap();
    let mut other = opener.open(&StreamName::stdio(Kind::Stdin, "b", "")).await.unwrap();
    other.write_all(b"moves").await.unwrap();
    let mut receiver = streams.recv().await.unwrap();
    StreamName::read(&mut receiver).await.unwrap();
    let mut bytes = [0; 5];
    receiver.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"moves");
    assert!(!writer.is_finished());
}

#[tokio::test]
async fn open_after_the_channel_ended_is_closed() {
    let (host, guest) = tokio::io::duplex(64);
    let (opener, _incoming, driver) = client(host);
    drop(guest);
    let _ = driver.await;
    assert!(matches!(opener.open(&StreamName::control()).await, Err(MuxError::Closed)));
}

/// A stream of an exec, by number.
fn name(number: usize) -> StreamName {
    StreamName::stdio(Kind::Stdin, "c", &format!("e{number}"))
}

const SOON: Duration = Duration::from_secs(20);

/// Opens as many as there may be, of which nobody says a word; the peer has taken them.
async fn fill(opener: &Opener, streams: &mut Incoming) -> Vec<(Stream, Stream)> {
    let mut open = Vec::new();
    for number in 0..MAX_HOST_STREAMS {
        let near = timeout(SOON, opener.open(&name(number))).await.expect("at once").unwrap();
        let mut far = streams.recv().await.unwrap();
        assert_eq!(StreamName::read(&mut far).await.unwrap(), name(number));
        open.push((near, far));
    }
    open
}

#[tokio::test]
async fn a_thousand_execs_with_three_streams_each_are_open_at_once_and_one_more_is_refused_at_once() {
    let (opener, mut streams) = pair();
    let mut open = fill(&opener, &mut streams).await;
    let began = Instant::now();
    for count in [1, 3] {
        let refused = opener.reserve(count).unwrap_err();
        assert!(matches!(refused, MuxError::Full { limit: MAX_HOST_STREAMS }));
        assert!(refused.to_string().contains("3072 streams"), "{refused}");
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    // The others have lost nothing.
    for (number, (near, far)) in open.iter_mut().enumerate() {
        let bytes = number.to_le_bytes();
        near.write_all(&bytes).await.unwrap();
        far.write_all(&bytes).await.unwrap();
        let mut read = [[0; size_of::<usize>()]; 2];
        far.read_exact(&mut read[0]).await.unwrap();
        near.read_exact(&mut read[1]).await.unwrap();
        assert_eq!(read, [bytes; 2]);
    }
    // One goes, and there is room for one; for three there is not.
    drop(open.pop());
    let again = async {
        while opener.reserve(1).is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.expect("a place is free");
    assert!(opener.reserve(3).is_err());
    opener.open(&name(0)).await.unwrap();
}

#[tokio::test]
async fn places_are_used_again_however_often_streams_come_and_go() {
    let (opener, mut streams) = pair();
    for number in 0..3 * MAX_HOST_STREAMS {
        let near = timeout(SOON, opener.open(&name(number))).await.expect("at once").unwrap();
        let mut far = streams.recv().await.unwrap();
        StreamName::read(&mut far).await.unwrap();
        drop((near, far));
    }
}

#[tokio::test]
async fn a_stream_nobody_waits_for_any_more_takes_no_place() {
    let (host, guest) = tokio::io::duplex(64);
    let (opener, _incoming, driver) = client(host);
    let vacancies = opener.reserve(MAX_HOST_STREAMS).unwrap();
    assert!(opener.reserve(1).is_err());
    for vacancy in vacancies.into_iter().take(3) {
        // The driver does not run yet.
        assert!(timeout(Duration::from_millis(1), vacancy.open(&name(0))).await.is_err());
    }
    tokio::spawn(driver);
    let (_opener, _streams, driver) = server(guest);
    tokio::spawn(driver);
    let again = async {
        while opener.reserve(MAX_HOST_STREAMS).is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.expect("all are free again");
}

#[tokio::test]
async fn a_guest_that_opens_more_than_it_may_has_those_reset_and_loses_nothing_else() {
    let ((host, mut relayed), (guest, mut streams)) = ends();
    let mut control = host.open(&StreamName::control()).await.unwrap();
    let mut control_far = streams.recv().await.unwrap();
    StreamName::read(&mut control_far).await.unwrap();
    let way = RelayName { way: 16, uid: 0, gid: 0 };
    let mut open = Vec::new();
    for _ in 0..Bounds::HOST.theirs {
        let near = timeout(SOON, guest.open_relay(&way)).await.expect("at once").unwrap();
        open.push((near, relayed.recv().await.unwrap()));
    }
    let mut over = guest.open_relay(&way).await.unwrap();
    assert!(matches!(timeout(SOON, over.read(&mut [0; 1])).await.expect("reset"), Ok(0) | Err(_)));
    control.write_all(b"on").await.unwrap();
    control_far.read_exact(&mut [0; 2]).await.unwrap();
    let (near, far) = &mut open[0];
    near.write_all(b"on").await.unwrap();
    RelayName::read(far).await.unwrap();
    far.read_exact(&mut [0; 2]).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_opens_streams_and_takes_nothing_is_cut_off_before_it_fills_the_host() {
    let (host, mut guest) = tokio::io::duplex(64);
    let (_opener, incoming, driver) = client(host);
    // Whatever it asks for is let go of at once, and it does not take that either.
    drop(incoming);
    let flood = async {
        for number in (2_u32..).step_by(2) {
            // yamux: version, data, flags with SYN, the stream, no content.
            let mut header = vec![0, 0, 0, 1];
            header.extend_from_slice(&number.to_be_bytes());
            header.extend_from_slice(&0_u32.to_be_bytes());
            if guest.write_all(&header).await.is_err() {
                return number / 2;
            }
        }
        0
    };
    let (cut_off, opened) = timeout(SOON, async { tokio::join!(driver, flood) }).await.expect("an end");
    assert!(matches!(cut_off, Err(MuxError::Unruly)), "{cut_off:?}");
    assert!((1..2 * MAX_LEFT).contains(&(opened as usize)), "{opened}");
}
