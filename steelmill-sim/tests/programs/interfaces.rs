//! What a program is told of the machine's network interfaces: getifaddrs(3), netdevice(7), rtnetlink(7).
#![expect(unsafe_code, reason = "these are foreign functions")]

use std::ffi::{CStr, c_int};
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use steelmill_sim::{Seed, check};

use crate::succeeds;

/// The name, index, flags and addresses of each entry of getifaddrs(3).
fn listed() -> Vec<(String, u32, Option<IpAddr>, Option<IpAddr>)> {
    // SAFETY: what is given is read before it is freed; each address is of its family.
    unsafe {
        let mut first = std::ptr::null_mut();
        assert_eq!(libc::getifaddrs(&raw mut first), 0);
        let mut listed = Vec::new();
        let mut next = first;
        while let Some(entry) = next.as_ref() {
            let name = CStr::from_ptr(entry.ifa_name).to_str().expect("UTF-8").to_owned();
            listed.push((name, entry.ifa_flags, ip(entry.ifa_addr), ip(entry.ifa_netmask)));
            next = entry.ifa_next;
        }
        libc::freeifaddrs(first);
        listed
    }
}

/// # Safety
/// It is null or an address.
unsafe fn ip(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: as the caller says.
    unsafe {
        match address.as_ref().map(|address| c_int::from(address.sa_family)) {
            Some(libc::AF_INET) => {
                let bits = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                Some(Ipv4Addr::from_bits(u32::from_be(bits)).into())
            }
            Some(libc::AF_INET6) => {
                Some(Ipv6Addr::from_octets((*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

#[test]
fn a_machine_has_loopback_and_its_own_interface() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            let listed = listed();
            let named = |name: &str| listed.iter().filter(|entry| entry.0 == name).collect::<Vec<_>>();
            let (lo, eth0) = (named("lo"), named("eth0"));
            assert_eq!(
                (lo.len(), eth0.len(), listed.len()),
                (3, 3, 6),
                "its hardware, IPv4 and IPv6: {listed:?}"
            );
            assert_eq!((lo[1].2, lo[1].3), (Some(Ipv4Addr::LOCALHOST.into()), Some([255, 0, 0, 0].into())));
            assert_eq!(lo[2].2, Some(Ipv6Addr::LOCALHOST.into()));
            assert_eq!(eth0[1].2, Some(OWN.into()));
            assert!(lo.iter().all(|entry| entry.1 & libc::IFF_LOOPBACK as u32 != 0));
            assert!(eth0.iter().all(|entry| entry.1 & (libc::IFF_UP | libc::IFF_MULTICAST) as u32 != 0));
            // SAFETY: names end with a zero; there is room for a name; the list is freed once.
            unsafe {
                let index = libc::if_nametoindex(c"eth0".as_ptr());
                assert_eq!((index, libc::if_nametoindex(c"wlan0".as_ptr())), (2, 0));
                let mut name = [0; libc::IF_NAMESIZE];
                let given = libc::if_indextoname(1, name.as_mut_ptr());
                assert_eq!(CStr::from_ptr(given), c"lo");
                assert!(libc::if_indextoname(3, name.as_mut_ptr()).is_null());
                let all = libc::if_nameindex();
                assert_eq!(((*all).if_index, CStr::from_ptr((*all.add(1)).if_name)), (1, c"eth0"));
                assert!((*all.add(2)).if_name.is_null());
                libc::if_freenameindex(all);
            }
        })
        .await
    });
}

#[test]
fn ioctl_tells_of_an_interface() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            // SAFETY: each request takes an ifreq, and fills the field that is read.
            unsafe {
                let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
                let mut request: libc::ifreq = zeroed();
                request.ifr_name[..4].copy_from_slice(&b"eth0".map(|byte| byte as _));
                assert_eq!(libc::ioctl(socket, libc::SIOCGIFADDR, &raw mut request), 0);
                assert_eq!(ip(&raw const request.ifr_ifru.ifru_addr), Some(OWN.into()));
                assert_eq!(libc::ioctl(socket, libc::SIOCGIFMTU, &raw mut request), 0);
                assert_eq!(request.ifr_ifru.ifru_mtu, 1_500);
                assert_eq!(libc::ioctl(socket, libc::SIOCGIFINDEX, &raw mut request), 0);
                assert_eq!(request.ifr_ifru.ifru_ifindex, 2);
                request.ifr_name[0] = b'w' as _;
                assert_eq!(libc::ioctl(socket, libc::SIOCGIFMTU, &raw mut request), -1);
                assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENODEV));
            }
        })
        .await
    });
}

/// A socket for rtnetlink(7).
struct Netlink(c_int);

impl Netlink {
    fn open(groups: u32) -> Self {
        // SAFETY: the address is one of netlink.
        unsafe {
            let socket =
                libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
            let mut address: libc::sockaddr_nl = zeroed();
            address.nl_family = libc::AF_NETLINK as _;
            address.nl_groups = groups;
            let length = size_of_val(&address) as _;
            assert_eq!(libc::bind(socket, (&raw const address).cast(), length), 0);
            Self(socket)
        }
    }

    fn ask(&self, kind: u16, flags: c_int, family: c_int) {
        self.ask_about(kind, flags, family, &[0; 7]);
    }

    /// A request, with what is behind the family.
    fn ask_about(&self, kind: u16, flags: c_int, family: c_int, about: &[u8]) {
        let mut request = vec![0; 17];
        request.extend(about);
        let length = request.len() as u32;
        request[..4].copy_from_slice(&length.to_ne_bytes());
        request[4..6].copy_from_slice(&kind.to_ne_bytes());
        request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        request[8..12].copy_from_slice(&7_u32.to_ne_bytes());
        request[16] = family as u8;
        // SAFETY: there are so many bytes.
        assert_eq!(unsafe { libc::send(self.0, request.as_ptr().cast(), request.len(), 0) }, length as isize);
    }

    /// The next datagram's messages: kind, and what is behind the header.
    fn receive(&self) -> Vec<(u16, Vec<u8>)> {
        let mut bytes = [0; 4096];
        // SAFETY: there is room for so many bytes.
        let length = unsafe { libc::recv(self.0, bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        let mut rest = &bytes[..usize::try_from(length).expect("it is received")];
        let mut messages = Vec::new();
        while let Some(length) = rest.first_chunk::<4>() {
            let length = u32::from_ne_bytes(*length) as usize;
            messages.push((u16::from_ne_bytes([rest[4], rest[5]]), rest[16..length].to_vec()));
            rest = &rest[length..];
        }
        messages
    }
}

#[test]
fn the_kernel_answers_requests_for_links_and_addresses() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            let netlink = Netlink::open(0);
            netlink.ask(libc::RTM_GETLINK, libc::NLM_F_DUMP, 0);
            let links = netlink.receive();
            assert_eq!(links.iter().map(|link| link.0).collect::<Vec<_>>(), [libc::RTM_NEWLINK; 2]);
            assert!(links[1].1.windows(5).any(|name| name == b"eth0\0"), "{links:?}");
            assert_eq!(netlink.receive()[0].0, libc::NLMSG_DONE as u16);
            netlink.ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, libc::AF_INET);
            let addresses = netlink.receive();
            assert_eq!(addresses.len(), 2);
            assert_eq!(
                (addresses[1].0, &addresses[1].1[..8]),
                (libc::RTM_NEWADDR, &[2, 8, 128, 0, 2, 0, 0, 0][..])
            );
            assert_eq!(&addresses[1].1[12..16], OWN.octets());
            assert_eq!(netlink.receive()[0].0, libc::NLMSG_DONE as u16);
            netlink.ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, libc::AF_UNIX);
            assert_eq!(netlink.receive()[0].0, libc::NLMSG_DONE as u16, "of a family without addresses");
            netlink.ask(libc::RTM_DELADDR, libc::NLM_F_ACK, libc::AF_INET);
            let refused = netlink.receive();
            assert_eq!(refused[0].0, libc::NLMSG_ERROR as u16);
            assert_eq!(refused[0].1[..4], (-libc::EPERM).to_ne_bytes());
            assert_eq!(refused[0].1.len(), 4 + 24, "with all of the request");
            // The way to an address: behind `struct rtmsg` an attribute of eight bytes, RTA_DST.
            let to = |address: [u8; 4]| [&[0; 11][..], &[8, 0, 1, 0], &address].concat();
            netlink.ask_about(libc::RTM_GETROUTE, 0, libc::AF_INET, &to([192, 0, 2, 0]));
            let way = netlink.receive();
            assert_eq!(way[0].0, libc::RTM_NEWROUTE);
            assert!(way[0].1.ends_with(&[8, 0, 7, 0, 10, 0, 0, 2]), "RTA_PREFSRC: {way:?}");
            netlink.ask_about(libc::RTM_GETROUTE, 0, libc::AF_INET, &to(OWN.octets()));
            assert_eq!(netlink.receive()[0].1[7], libc::RTN_LOCAL);
            // SAFETY: these take no pointers.
            unsafe {
                assert_eq!(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT), -1);
                assert_eq!(libc::socket(libc::AF_NETLINK, libc::SOCK_STREAM, libc::NETLINK_ROUTE), -1);
                libc::close(netlink.0);
            }
        })
        .await
    });
}

#[test]
fn a_program_hears_that_its_machine_has_another_address() {
    check(Seed(1), |sim| async move {
        let machine = sim.program("program", || {
            let netlink = Netlink::open(libc::RTMGRP_IPV4_IFADDR as u32);
            let heard = [netlink.receive(), netlink.receive()].concat();
            assert_eq!(
                heard.iter().map(|one| one.0).collect::<Vec<_>>(),
                [libc::RTM_DELADDR, libc::RTM_NEWADDR]
            );
            assert_eq!(heard[0].1[12..16], OWN.octets());
            let now =
                listed().iter().rev().find_map(|entry| entry.2.filter(IpAddr::is_ipv4)).expect("an address");
            assert_eq!(IpAddr::from(*heard[1].1[12..].first_chunk::<4>().expect("an address")), now);
            assert_ne!(now, OWN);
        });
        let machine = machine.start().await?;
        sim.clock().sleep(Duration::from_secs(1)).await;
        machine.change_address();
        assert!(machine.ended().await.is_success());
        Ok(())
    });
}
