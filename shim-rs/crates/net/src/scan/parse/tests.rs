// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::netlink::{Message, link_header, split};

const ETH0: u32 = 7;
const MAC: [u8; 6] = [0x02, 0x42, 0xac, 0x11, 0, 2];
const MAIN: u8 = 254;
const BOOT: u8 = 3;
const NONE: u32 = 0;

/// What a dump gives of a message: its body.
fn body(message: &Message) -> Vec<u8> {
    let bytes = message.encode(0, 0);
    split(&bytes).next().unwrap().1.to_vec()
}

fn device(index: u32, name: &str, kind: u32, flags: u32) -> Message {
    let mut header = link_header(index, flags, 0);
    header[2..4].copy_from_slice(&u16::try_from(kind).unwrap().to_ne_bytes());
    Message::new(0, 0, &header).text(IFLA_IFNAME, name).bytes(IFLA_ADDRESS, &MAC).word(IFLA_MTU, 1500)
}

fn eth0() -> Message {
    device(ETH0, "eth0", 1, IFF_UP)
}

fn address(family: u8, prefix: u8, flags: u8, link: u32) -> Message {
    Message::new(0, 0, &[[family, prefix, flags, 0].as_slice(), &link.to_ne_bytes()].concat())
}

fn route(family: u8, prefix: u8, table: u8, protocol: u8, kind: u8, flags: u32) -> Message {
    Message::new(
        0,
        0,
        &[[family, prefix, 0, 0, table, protocol, 0, kind].as_slice(), &flags.to_ne_bytes()].concat(),
    )
}

fn neighbor(link: u32, state: u16, flags: u8) -> Message {
    let header =
        [[AF_INET, 0, 0, 0].as_slice(), &link.to_ne_bytes(), &state.to_ne_bytes(), &[flags, 0]].concat();
    Message::new(0, 0, &header).bytes(NDA_DST, &[10, 0, 0, 9]).bytes(NDA_LLADDR, &[2, 0, 0, 0, 0, 9])
}

fn found(links: &[Message], addresses: &[Message], routes: &[Message], neighbors: &[Message]) -> Layout {
    let bodies = |messages: &[Message]| messages.iter().map(body).collect();
    let (links, addresses) = (bodies(links), bodies(addresses));
    layout(&Dumps { links, addresses, routes: bodies(routes), neighbors: bodies(neighbors) }).unwrap()
}

/// "destination/prefix via gateway" of what becomes of routes on eth0, which has 10.0.0.2/24.
fn routes(given: &[Message]) -> Vec<String> {
    let own =
        address(AF_INET, 24, 0x80, ETH0).bytes(IFA_LOCAL, &[10, 0, 0, 2]).bytes(IFA_ADDRESS, &[10, 0, 0, 2]);
    let shown = |r: &Route| {
        let gateway = r.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        format!("{}/{}{gateway}", r.destination, r.prefix)
    };
    found(&[eth0()], &[own], given, &[]).routes.iter().map(shown).collect()
}

#[test]
fn only_ethernet_that_is_up_and_stands_alone_is_for_a_guest() {
    let layout = found(
        &[
            device(1, "lo", 772, IFF_UP | IFF_LOOPBACK),
            device(2, "eth1", 1, 0),
            device(3, "boxlite0", 1, IFF_UP),
            device(4, "wg0", 65534, IFF_UP),
            device(5, "port", 1, IFF_UP).word(IFLA_MASTER, 9),
            eth0(),
            device(8, "boxlite00", 1, IFF_UP),
        ],
        &[],
        &[],
        &[],
    );
    let names: Vec<_> = layout.links.iter().map(|link| (link.index, link.name.as_str())).collect();
    assert_eq!(names, [(ETH0, "eth0"), (8, "boxlite00")]);
    assert_eq!((layout.links[0].mac, layout.links[0].mtu, layout.links[0].ipv6), (MAC, 1500, false));
}

#[test]
fn addresses_a_guests_kernel_makes_by_itself_are_left_to_it() {
    let made = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x00, 0x42, 0xac, 0xff, 0xfe, 0x11, 0, 2];
    let given = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let layout = found(
        &[eth0()],
        &[
            address(AF_INET, 16, 0x80, ETH0)
                .bytes(IFA_ADDRESS, &[172, 17, 0, 2])
                .bytes(IFA_LOCAL, &[172, 17, 0, 2])
                .bytes(IFA_BROADCAST, &[172, 17, 255, 255]),
            address(AF_INET6, 64, 0x80, ETH0).bytes(IFA_ADDRESS, &made),
            address(AF_INET6, 64, 0x80, ETH0).bytes(IFA_ADDRESS, &given),
            // Autoconfigured: not permanent, and the wide flags count.
            address(AF_INET6, 64, 0x80, ETH0).bytes(IFA_ADDRESS, &[0x20; 16]).word(IFA_FLAGS, 0x100),
            address(AF_INET, 8, 0x80, 1).bytes(IFA_LOCAL, &[127, 0, 0, 1]),
        ],
        &[],
        &[],
    );
    let link = &layout.links[0];
    let v4 = Address {
        ip: IpAddr::from([172, 17, 0, 2]),
        prefix: 16,
        broadcast: Some(Ipv4Addr::new(172, 17, 255, 255)),
        scope: 0,
    };
    let v6 = Address { ip: IpAddr::from(given), prefix: 64, broadcast: None, scope: 0 };
    assert_eq!((link.addresses.as_slice(), link.ipv6), ([v4, v6].as_slice(), true));
}

#[test]
fn an_address_with_a_peer_is_the_near_one_and_the_route_to_the_peer_stays() {
    let peered =
        address(AF_INET, 24, 0x80, ETH0).bytes(IFA_LOCAL, &[10, 1, 0, 2]).bytes(IFA_ADDRESS, &[10, 9, 0, 1]);
    let kernel =
        route(AF_INET, 24, MAIN, RTPROT_KERNEL, 1, NONE).bytes(RTA_DST, &[10, 9, 0, 0]).word(RTA_OIF, ETH0);
    let layout = found(&[eth0()], &[peered], &[kernel], &[]);
    let address = layout.links[0].addresses[0];
    assert_eq!((address.ip, address.prefix), (IpAddr::from([10, 1, 0, 2]), 32));
    assert_eq!((layout.routes[0].destination, layout.routes[0].prefix), (IpAddr::from([10, 9, 0, 0]), 24));
}

#[test]
fn routes_that_follow_from_an_address_or_belong_to_others_are_left_out() {
    let via = |message: Message| message.bytes(RTA_GATEWAY, &[10, 0, 0, 1]).word(RTA_OIF, ETH0);
    let to = |network: [u8; 4], message: Message| message.bytes(RTA_DST, &network);
    let kept = routes(&[
        via(route(AF_INET, 0, MAIN, BOOT, 1, NONE)),
        to([10, 0, 0, 0], route(AF_INET, 24, MAIN, RTPROT_KERNEL, 1, NONE)).word(RTA_OIF, ETH0),
        to([10, 0, 0, 0], route(AF_INET, 24, 255, RTPROT_KERNEL, 2, NONE)).word(RTA_OIF, ETH0),
        via(to([10, 4, 0, 0], route(AF_INET, 16, 0, BOOT, 1, NONE))).word(RTA_TABLE, 1000),
        via(to([10, 5, 0, 0], route(AF_INET, 16, MAIN, BOOT, 1, RTNH_F_LINKDOWN))),
        via(route(AF_INET, 0, MAIN, RTPROT_RA, 1, NONE)),
        to([10, 6, 0, 0], route(AF_INET, 16, MAIN, BOOT, 1, NONE)).word(RTA_OIF, 1),
        to([10, 7, 0, 0], route(AF_INET, 16, MAIN, BOOT, 9, NONE)),
        route(AF_INET6, 64, MAIN, RTPROT_KERNEL, 1, NONE)
            .bytes(RTA_DST, &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .word(RTA_OIF, ETH0),
        to([169, 254, 1, 1], route(AF_INET, 32, MAIN, BOOT, 1, NONE)).word(RTA_OIF, ETH0),
        to([10, 8, 0, 0], route(AF_INET, 16, MAIN, BOOT, 7, NONE)),
    ]);
    assert_eq!(
        kept,
        ["169.254.1.1/32", "10.8.0.0/16", "0.0.0.0/0 via 10.0.0.1"],
        "what needs no gateway comes first"
    );
}

#[test]
fn a_gateway_may_be_of_the_other_family_or_the_first_of_several() {
    let via = [[AF_INET6, 0].as_slice(), &[0xfd; 16]].concat();
    let gateway = Message::new(0, 0, &[]).bytes(RTA_GATEWAY, &[10, 0, 0, 3]);
    // Two `struct rtnexthop`: length, flags, weight, link; then the hop's attributes.
    let hop = [[16, 0, 4, 0].as_slice(), &ETH0.to_ne_bytes(), &body(&gateway)].concat();
    let hops = [hop.as_slice(), &hop].concat();
    let layout = found(
        &[eth0()],
        &[],
        &[
            route(AF_INET, 0, MAIN, BOOT, 1, RTNH_F_ONLINK).bytes(RTA_VIA, &via).word(RTA_OIF, ETH0),
            route(AF_INET, 0, MAIN, BOOT, 1, NONE).bytes(RTA_MULTIPATH, &hops).word(RTA_PRIORITY, 5),
        ],
        &[],
    );
    let ways: Vec<_> = layout.routes.iter().map(|r| (r.gateway, r.onlink, r.metric)).collect();
    let (v6, v4) = (IpAddr::from([0xfd; 16]), IpAddr::from([10, 0, 0, 3]));
    assert_eq!(ways, [(Some(v6), true, 0), (Some(v4), true, 5)]);
}

#[test]
fn only_permanent_neighbours_of_a_guests_link_are_told() {
    let reachable = 2;
    let layout = found(
        &[eth0()],
        &[],
        &[],
        &[
            neighbor(ETH0, reachable, 0),
            neighbor(1, NUD_PERMANENT, 0),
            neighbor(ETH0, NUD_PERMANENT, NTF_PROXY),
            neighbor(ETH0, NUD_PERMANENT, 0),
        ],
    );
    let expected = Neighbor { ip: IpAddr::from([10, 0, 0, 9]), mac: [2, 0, 0, 0, 0, 9], link: "eth0".into() };
    assert_eq!(layout.neighbors, [expected]);
}

#[test]
fn a_cut_answer_is_an_error_and_never_a_panic() {
    let own = address(AF_INET, 24, 0x80, ETH0).bytes(IFA_LOCAL, &[10, 0, 0, 2]);
    let way = route(AF_INET, 0, MAIN, BOOT, 1, NONE).bytes(RTA_GATEWAY, &[10, 0, 0, 1]).word(RTA_OIF, ETH0);
    let whole = [body(&eth0()), body(&own), body(&way), body(&neighbor(ETH0, NUD_PERMANENT, 0))];
    for (which, given) in whole.iter().enumerate() {
        for end in 0..given.len() {
            let mut parts = whole.clone();
            parts[which].truncate(end);
            let [links, addresses, routes, neighbors] = parts.map(|part| vec![part]);
            let result = layout(&Dumps { links, addresses, routes, neighbors });
            // Shorter than the fixed header there is nothing to go by; past it, attributes may just be absent.
            assert!(result.is_err() || end >= ADDRESS_HEADER, "part {which} cut at {end}");
        }
    }
}
