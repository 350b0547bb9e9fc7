// SPDX-License-Identifier: Apache-2.0
//! A link with a tap of its own.

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use boxlite_net::{Lane, Namespace, let_answers_in, open_tap, redirect};

use crate::pair::{
    ARP_REPLY, ARP_REQUEST, GUEST_IP, GUEST_MAC, Guest, HOST_IP, HOST_MAC, Pair, arp, ip, is_arp, layout,
    received, udp_sum,
};

const OWN: Lane = Lane { tap: 0, tag: None };

#[test]
fn scan_tells_what_the_guest_takes_over() {
    let pair = Pair::new();
    let _tap = open_tap(&pair.guest, 0).unwrap();
    let layout = layout(&pair);
    let [link] = layout.links.as_slice() else { panic!("{:?}", layout.links) };
    assert_eq!((link.name.as_str(), link.mac, link.mtu, link.ipv6), ("eth0", GUEST_MAC, 1400, true));
    let addresses: Vec<_> =
        link.addresses.iter().map(|a| format!("{}/{} {:?}", a.ip, a.prefix, a.broadcast)).collect();
    assert_eq!(addresses, ["172.30.0.2/24 Some(172.30.0.255)", "fd00:30::2/64 None"]);
    let mut routes: Vec<_> = layout
        .routes
        .iter()
        .map(|r| {
            format!(
                "{}/{} via {:?} {} {} kind {}",
                r.destination, r.prefix, r.gateway, r.link, r.metric, r.kind
            )
        })
        .collect();
    assert!(routes[..2].iter().all(|route| route.contains("via None")), "{routes:?}");
    routes.sort();
    assert_eq!(
        routes,
        [
            "0.0.0.0/0 via Some(172.30.0.1) eth0 0 kind 1",
            "10.8.0.0/16 via None  0 kind 7",
            "10.9.0.0/16 via Some(172.30.0.1) eth0 7 kind 1",
            "169.254.1.1/32 via None eth0 0 kind 1",
            "::/0 via Some(fd00:30::1) eth0 1024 kind 1",
        ]
    );
    let neighbors: Vec<_> =
        layout.neighbors.iter().map(|n| (n.ip.to_string(), n.mac, n.link.as_str())).collect();
    assert_eq!(neighbors, [("172.30.0.9".to_owned(), [2, 0, 0, 0, 0, 9], "eth0")]);
}

#[test]
fn frames_pass_both_ways_between_tap_and_link() {
    let pair = Pair::new();
    let mut guest = Guest::new(open_tap(&pair.guest, 0).unwrap());
    redirect(&pair.guest, &layout(&pair).links[0], OWN).unwrap();
    guest.send(&arp(ARP_REQUEST, [0xff; 6], (GUEST_MAC, GUEST_IP), ([0; 6], HOST_IP)));
    let reply = guest.expect(is_arp(ARP_REPLY)).expect("an answer of the host");
    assert_eq!((&reply[..6], &reply[6..12], &reply[28..32]), (&GUEST_MAC[..], &HOST_MAC[..], &HOST_IP[..]));
}

#[test]
fn the_namespaces_own_kernel_answers_nothing_for_the_guest() {
    let pair = Pair::new();
    let mut guest = Guest::new(open_tap(&pair.guest, 0).unwrap());
    redirect(&pair.guest, &layout(&pair).links[0], OWN).unwrap();
    let socket = pair.host.run(|| UdpSocket::bind((Ipv4Addr::from(HOST_IP), 0)).unwrap()).unwrap();
    socket.send_to(b"ping", (Ipv4Addr::from(GUEST_IP), 7)).unwrap();
    guest.expect(is_arp(ARP_REQUEST)).expect("the host asks the guest");
    assert!(!ip(&pair.host, "neigh show 172.30.0.2").contains("lladdr"), "somebody else answered");
    guest.send(&arp(ARP_REPLY, HOST_MAC, (GUEST_MAC, GUEST_IP), (HOST_MAC, HOST_IP)));
    let asked = guest.expect(|frame| frame[12..14] == [8, 0] && frame[23] == 17).expect("the datagram");
    assert_eq!(udp_sum(&asked), 0xffff, "the checksum is complete though the veth left it to the hardware");

    let mut answer = [&asked[6..12], &asked[..6], &asked[12..26], &asked[30..34], &asked[26..30]].concat();
    answer.extend([&asked[36..38], &asked[34..36], &asked[38..40], &[0, 0], b"pong"].concat());
    guest.send(&answer);
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 16];
    let (size, from) = socket.recv_from(&mut buffer).expect("the guest's answer");
    assert_eq!((&buffer[..size], from.port()), (&b"pong"[..], 7));
}

#[test]
fn a_tap_is_silent_and_down_until_it_is_joined_and_then_has_the_links_mtu() {
    let pair = Pair::new();
    let mut guest = Guest::new(open_tap(&pair.guest, 0).unwrap());
    assert!(!ip(&pair.guest, "link show boxlite0").contains(",UP"));
    redirect(&pair.guest, &layout(&pair).links[0], OWN).unwrap();
    let shown = ip(&pair.guest, "link show boxlite0");
    assert!(shown.contains("mtu 1400") && shown.contains(",UP"), "{shown}");
    assert_eq!(ip(&pair.guest, "-6 addr show dev boxlite0"), "");
    let tap: [u8; 6] = std::array::from_fn(|i| {
        let text = shown.split("link/ether ").nth(1).unwrap();
        u8::from_str_radix(&text[i * 3..i * 3 + 2], 16).unwrap()
    });
    assert_eq!(guest.expect(|frame| frame[6..12] == tap), None, "the tap itself speaks");
}

#[test]
fn frames_of_any_length_are_kept_from_the_namespaces_own_kernel() {
    let pair = Pair::new();
    let mut guest = Guest::new(open_tap(&pair.guest, 0).unwrap());
    redirect(&pair.guest, &layout(&pair).links[0], OWN).unwrap();
    let before = received(&pair.host);
    guest.send(&[HOST_MAC.as_slice(), &GUEST_MAC, &[8, 0]].concat());
    guest.send(&[HOST_MAC.as_slice(), &GUEST_MAC, &[0x88, 0xb5, 1]].concat());
    assert_eq!(received(&pair.host), before + 2);
}

#[test]
fn a_link_can_be_joined_anew_after_the_tap_went() {
    let pair = Pair::new();
    let link = layout(&pair).links.remove(0);
    // As one that somebody else made.
    let path = format!("/proc/self/fd/{}", pair.guest.as_fd().as_raw_fd());
    let opened = Namespace::open(Path::new(&path)).unwrap();
    drop(open_tap(&opened, 0).unwrap());
    for _ in 0..2 {
        let mut guest = Guest::new(open_tap(&opened, 0).unwrap());
        redirect(&pair.guest, &link, OWN).unwrap();
        guest.send(&arp(ARP_REQUEST, [0xff; 6], (GUEST_MAC, GUEST_IP), ([0; 6], HOST_IP)));
        guest.expect(is_arp(ARP_REPLY)).expect("an answer of the host");
    }
    assert!(!ip(&pair.guest, "link").contains("boxlite"), "the tap goes with its descriptor");
}

#[test]
fn a_tap_in_a_namespace_of_ours_goes_with_the_namespace() {
    let pair = Pair::new();
    drop(open_tap(&pair.guest, 0).unwrap());
    assert!(ip(&pair.guest, "link").contains("boxlite0"), "who closes it waits for no device to go");
}

#[test]
fn a_link_that_went_is_named() {
    let pair = Pair::new();
    let _tap = open_tap(&pair.guest, 0).unwrap();
    let link = layout(&pair).links.remove(0);
    ip(&pair.guest, "link del eth0");
    let error = redirect(&pair.guest, &link, OWN).unwrap_err();
    assert!(matches!(&error, boxlite_net::NetError::LinkGone { link } if link == "eth0"), "{error:?}");
}

#[test]
fn a_resolver_in_the_namespace_is_found() {
    let pair = Pair::new();
    assert_eq!(layout(&pair).resolver, None);
    let address = Ipv4Addr::new(127, 0, 0, 11);
    let _resolver = pair.guest.run(|| UdpSocket::bind((address, 0)).unwrap()).unwrap();
    assert_eq!(layout(&pair).resolver, Some(address));
}

#[test]
fn a_name_servers_answers_reach_who_asked() {
    let pair = Pair::new();
    let mut guest = Guest::new(open_tap(&pair.guest, 0).unwrap());
    let link = layout(&pair).links.remove(0);
    redirect(&pair.guest, &link, OWN).unwrap();
    let_answers_in(&pair.guest, &link, OWN).unwrap();

    let server = (Ipv4Addr::from(HOST_IP), 53);
    let (datagrams, connections) =
        pair.host.run(|| (UdpSocket::bind(server).unwrap(), TcpListener::bind(server).unwrap())).unwrap();
    let resolver = pair.guest.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).unwrap();
    resolver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(resolver.local_addr().unwrap().port() >= 65_024);
    resolver.send_to(b"who?", server).unwrap();
    let mut buffer = [0; 16];
    let (_, asker) = datagrams.recv_from(&mut buffer).unwrap();
    datagrams.send_to(b"me", asker).unwrap();
    let (size, _) = resolver.recv_from(&mut buffer).expect("the answer by UDP");
    assert_eq!(&buffer[..size], b"me");

    let asking = pair.guest.run(|| TcpStream::connect_timeout(&server.into(), Duration::from_secs(5)));
    asking.unwrap().expect("a connection by TCP");
    connections.accept().unwrap();

    // The guest hears the replies of ARP, and only those of its own datagrams.
    guest.expect(is_arp(ARP_REPLY)).expect("both sides may have asked");
    datagrams.send_to(b"guest's", (Ipv4Addr::from(GUEST_IP), 40_000)).unwrap();
    let heard = guest.expect(|frame| frame[12..14] == [8, 0] && frame[23] == 17).expect("the guest's answer");
    assert_eq!(&heard[42..49], b"guest's");
}
