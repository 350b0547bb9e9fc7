// SPDX-License-Identifier: Apache-2.0
//! Two links that share a tap.

use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZeroU8;
use std::time::Duration;

use boxlite_net::{Lane, let_answers_in, open_tap, redirect, scan};

use crate::pair::{
    ARP_REPLY, ARP_REQUEST, GUEST_IP, GUEST_MAC, Guest, HOST_IP, HOST_MAC, Pair, arp, ip, is_arp, layout,
    received, udp_sum,
};

const FIRST: NonZeroU8 = NonZeroU8::MIN;
const SECOND: NonZeroU8 = NonZeroU8::new(2).unwrap();
/// The tag's place in a frame: behind the two addresses.
const TAG: usize = 12;

const fn lane(tag: NonZeroU8) -> Lane {
    Lane { tap: 0, tag: Some(tag) }
}

/// Two networks that both think the guest is theirs, joined to one tap.
fn joined() -> (Pair, Pair, Guest) {
    let (one, other) = (Pair::new(), Pair::new());
    other.attach_to(&one, "eth1");
    let guest = Guest::new(open_tap(&one.guest, 0).unwrap());
    for (link, tag) in layout(&one).links.iter().zip([FIRST, SECOND]) {
        redirect(&one.guest, link, lane(tag)).unwrap();
    }
    (one, other, guest)
}

fn tagged(frame: &[u8], tag: u8) -> Vec<u8> {
    [&frame[..TAG], &[0x81, 0, 0, tag], &frame[TAG..]].concat()
}

/// The frame without the tag, if it has this one.
fn of(tag: NonZeroU8, frame: &[u8]) -> Option<Vec<u8>> {
    let has = frame.get(TAG..TAG + 4)? == [0x81, 0, 0, tag.get()];
    has.then(|| [&frame[..TAG], &frame[TAG + 4..]].concat())
}

fn question() -> Vec<u8> {
    arp(ARP_REQUEST, [0xff; 6], (GUEST_MAC, GUEST_IP), ([0; 6], HOST_IP))
}

#[test]
fn a_frame_goes_to_the_link_of_its_tag_and_the_answer_bears_it() {
    let (_one, _other, mut guest) = joined();
    for tag in [FIRST, SECOND] {
        guest.send(&tagged(&question(), tag.get()));
        let answer = guest.expect(|frame| frame[12..14] == [0x81, 0]).expect("an answer");
        let answer = of(tag, &answer).expect("of the network that was asked");
        assert!(is_arp(ARP_REPLY)(&answer));
        assert_eq!((&answer[..6], &answer[6..12]), (&GUEST_MAC[..], &HOST_MAC[..]));
    }
}

#[test]
fn a_frame_of_no_known_tag_goes_nowhere() {
    let (one, other, mut guest) = joined();
    let heard = || (received(&one.host), received(&other.host));
    let before = heard();
    guest.send(&question());
    guest.send(&tagged(&question(), 3));
    guest.send(&tagged(&question(), 0));
    // Of another kind of VLAN, under a number that is known.
    guest.send(&[&question()[..TAG], &[0x88, 0xa8, 0, 1], &question()[TAG..]].concat());
    guest.send(&question()[..14]);
    assert_eq!(heard(), before);
    guest.send(&tagged(&question(), 2));
    assert_eq!(heard(), (before.0, before.1 + 1));
}

#[test]
fn a_peers_own_tag_stays_below_the_links() {
    let (one, _other, mut guest) = joined();
    // As a peer of the first network would write it to be taken for one of the second.
    let mut peer = Guest::new(open_tap(&one.host, 5).unwrap());
    redirect(&one.host, &scan(&one.host).unwrap().links[0], Lane { tap: 5, tag: None }).unwrap();
    let frame = tagged(&arp(ARP_REQUEST, [0xff; 6], (HOST_MAC, HOST_IP), ([0; 6], GUEST_IP)), 2);
    peer.send(&frame);
    let heard =
        guest.expect(|heard| heard.len() > 42 && heard[12..14] == [0x81, 0] && heard[16..18] == [0x81, 0]);
    let heard = heard.expect("a frame with two tags");
    assert_eq!(of(FIRST, &heard), Some(frame));
}

#[test]
fn the_guests_second_tag_goes_to_the_network() {
    let (one, other, mut guest) = joined();
    let before = (received(&one.host), received(&other.host));
    guest.send(&tagged(&tagged(&question(), 1), 2));
    assert_eq!((received(&one.host), received(&other.host)), (before.0, before.1 + 1));
}

#[test]
fn checksums_left_to_the_hardware_are_complete() {
    let (_one, other, mut guest) = joined();
    let socket = other.host.run(|| UdpSocket::bind((Ipv4Addr::from(HOST_IP), 0)).unwrap()).unwrap();
    socket.send_to(b"ping", (Ipv4Addr::from(GUEST_IP), 7)).unwrap();
    guest
        .expect(|frame| of(SECOND, frame).is_some_and(|frame| is_arp(ARP_REQUEST)(&frame)))
        .expect("a question");
    guest.send(&tagged(&arp(ARP_REPLY, HOST_MAC, (GUEST_MAC, GUEST_IP), (HOST_MAC, HOST_IP)), 2));
    let asked = guest.expect(|frame| of(SECOND, frame).is_some_and(|frame| frame[12..14] == [8, 0])).unwrap();
    assert_eq!(udp_sum(&of(SECOND, &asked).unwrap()), 0xffff);
}

#[test]
fn a_tag_is_the_next_links_when_its_own_has_gone() {
    let (one, _other, mut guest) = joined();
    ip(&one.guest, "link del eth1");
    guest.send(&tagged(&question(), 2));
    assert_eq!(guest.expect(|frame| of(SECOND, frame).is_some()), None);

    let third = Pair::new();
    third.attach_to(&one, "eth1");
    redirect(&one.guest, &layout(&one).links[1], lane(SECOND)).unwrap();
    guest.send(&tagged(&question(), 2));
    guest
        .expect(|frame| of(SECOND, frame).is_some_and(|frame| is_arp(ARP_REPLY)(&frame)))
        .expect("an answer");
    guest.send(&tagged(&question(), 1));
    guest
        .expect(|frame| of(FIRST, frame).is_some_and(|frame| is_arp(ARP_REPLY)(&frame)))
        .expect("the other's too");
}

#[test]
fn a_name_servers_answers_reach_who_asked() {
    let (one, other, mut guest) = joined();
    let_answers_in(&one.guest, &layout(&one).links[1], lane(SECOND)).unwrap();
    ip(&one.guest, "addr flush dev eth0");
    ip(&one.guest, "addr add 172.30.0.2/24 dev eth1");
    let server = (Ipv4Addr::from(HOST_IP), 53);
    let datagrams = other.host.run(|| UdpSocket::bind(server).unwrap()).unwrap();
    let resolver = one.guest.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).unwrap();
    resolver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    resolver.send_to(b"who?", server).unwrap();
    let mut buffer = [0; 16];
    let (_, asker) = datagrams.recv_from(&mut buffer).unwrap();
    datagrams.send_to(b"me", asker).unwrap();
    let (size, _) = resolver.recv_from(&mut buffer).expect("the answer");
    assert_eq!(&buffer[..size], b"me");
    guest
        .expect(|frame| of(SECOND, frame).is_some_and(|frame| is_arp(ARP_REPLY)(&frame)))
        .expect("both sides may have asked");
}
