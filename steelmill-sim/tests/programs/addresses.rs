//! Addresses of many and of one link: what bind(2), connect(2) and sendto(2) make of them. Each program is carried out in simulations, and
//! on Linux itself if `ASK_LINUX` is set.
#![expect(unsafe_code, reason = "the C library's functions are called as C does")]

use std::ffi::c_int;
use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use libc::{EACCES, EADDRNOTAVAIL, ECONNREFUSED, EINVAL, ENETUNREACH, ENODEV, SOCK_DGRAM, SOCK_STREAM};

use crate::both;

struct Socket(OwnedFd);

type Answer = Result<(), c_int>;

fn answer(result: isize) -> Answer {
    if result < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(()) }
}

impl Socket {
    fn new(is_ipv6: bool, kind: c_int) -> Self {
        let family = if is_ipv6 { libc::AF_INET6 } else { libc::AF_INET };
        // SAFETY: the descriptor is new.
        Self(unsafe { OwnedFd::from_raw_fd(libc::socket(family, kind, 0)) })
    }

    fn bind(&self, to: SocketAddr) -> Answer {
        with(to, |name, length| {
            // SAFETY: the name is valid.
            answer(unsafe { libc::bind(self.0.as_raw_fd(), name, length) } as isize)
        })
    }

    fn connect(&self, to: SocketAddr) -> Answer {
        with(to, |name, length| {
            // SAFETY: the name is valid.
            answer(unsafe { libc::connect(self.0.as_raw_fd(), name, length) } as isize)
        })
    }

    fn send_to(&self, to: SocketAddr) -> Answer {
        with(to, |name, length| {
            // SAFETY: the name and the byte are valid.
            answer(unsafe { libc::sendto(self.0.as_raw_fd(), b"x".as_ptr().cast(), 1, 0, name, length) })
        })
    }

    /// Its address, and its scope ID.
    fn name(&self) -> (SocketAddr, u32) {
        // SAFETY: there is room for the name, which is of its family.
        unsafe {
            let mut name: libc::sockaddr_storage = zeroed();
            let mut length = size_of_val(&name) as libc::socklen_t;
            assert_eq!(libc::getsockname(self.0.as_raw_fd(), (&raw mut name).cast(), &raw mut length), 0);
            if c_int::from(name.ss_family) == libc::AF_INET {
                let name = (&raw const name).cast::<libc::sockaddr_in>().read();
                let ip = Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr));
                return (SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into(), 0);
            }
            let name = (&raw const name).cast::<libc::sockaddr_in6>().read();
            let ip = Ipv6Addr::from_octets(name.sin6_addr.s6_addr);
            (SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, 0).into(), name.sin6_scope_id)
        }
    }

    /// IPV6_MULTICAST_IF.
    fn sends_to_groups_by(&self, interface: u32) {
        let at = (&raw const interface).cast();
        // SAFETY: the value is valid for a read of its size.
        let set = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, at, 4)
        };
        assert_eq!(set, 0);
    }
}

/// Calls with an address in C's form.
fn with(to: SocketAddr, call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> Answer) -> Answer {
    // SAFETY: zeros are addresses.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { zeroed() };
    match to {
        SocketAddr::V4(to) => {
            (v4.sin_family, v4.sin_port) = (libc::AF_INET as libc::sa_family_t, to.port().to_be());
            v4.sin_addr.s_addr = to.ip().to_bits().to_be();
            call((&raw const v4).cast(), size_of_val(&v4) as libc::socklen_t)
        }
        SocketAddr::V6(to) => {
            (v6.sin6_family, v6.sin6_port) = (libc::AF_INET6 as libc::sa_family_t, to.port().to_be());
            (v6.sin6_addr.s6_addr, v6.sin6_scope_id) = (to.ip().octets(), to.scope_id());
            call((&raw const v6).cast(), size_of_val(&v6) as libc::socklen_t)
        }
    }
}

/// The index of the interface to other machines.
fn interface() -> u32 {
    // SAFETY: the name ends with a zero.
    unsafe { libc::if_nametoindex(c"eth0".as_ptr()) }
}

/// RFC 4007 has an address of one link name its interface; the loopback one has no route to groups.
#[test]
fn an_address_of_one_link_is_of_an_interface() {
    const LOOPBACK: u32 = 1;
    const NONE: u32 = 77;
    both(|| {
        let eth0 = interface();
        let at = |ip: &str, scope| {
            SocketAddr::from(SocketAddrV6::new(ip.parse().expect("an address"), 9, 0, scope))
        };
        let new = |kind| Socket::new(true, kind);
        let binds = |kind, mut to: SocketAddr| {
            to.set_port(0);
            new(kind).bind(to)
        };
        for (group, kind) in [("ff02::fb", SOCK_DGRAM), ("ff01::fb", SOCK_DGRAM)] {
            assert_eq!(binds(kind, at(group, 0)), Err(EINVAL), "{group}");
            assert_eq!(binds(kind, at(group, LOOPBACK)), Ok(()), "{group}");
            assert_eq!(binds(kind, at(group, NONE)), Err(ENODEV), "{group}");
            assert_eq!(new(kind).connect(at(group, 0)), Err(EINVAL), "{group}");
            for scope in [LOOPBACK, NONE] {
                assert_eq!(new(kind).connect(at(group, scope)), Err(ENETUNREACH), "{group}%{scope}");
                assert_eq!(new(kind).send_to(at(group, scope)), Err(ENETUNREACH), "{group}%{scope}");
            }
            assert_eq!(new(kind).send_to(at(group, 0)), Ok(()), "{group}");
            let bound = new(kind);
            assert_eq!(bound.bind(at(group, eth0)), Ok(()));
            assert_eq!(bound.name(), (at(group, 0), eth0));
            let connected = new(kind);
            assert_eq!(connected.connect(at(group, eth0)), Ok(()));
            assert_eq!(connected.send_to(at(group, 0)), Ok(()), "it is bound to that interface");
            assert_eq!(connected.connect(at(group, LOOPBACK)), Err(EINVAL), "and to no other");
            let other = new(kind);
            other.sends_to_groups_by(LOOPBACK);
            assert_eq!(other.send_to(at(group, 0)), Err(ENETUNREACH));
            assert_eq!(other.send_to(at(group, eth0)), Ok(()));
            assert_eq!(other.connect(at(group, 0)), Err(ENETUNREACH));
        }
        // A group of more than a link has no scope ID.
        for scope in [0, LOOPBACK, NONE] {
            let bound = new(SOCK_DGRAM);
            assert_eq!(bound.bind(at("ff05::fb", scope)), Ok(()));
            assert_eq!(bound.name(), (at("ff05::fb", 0), 0));
            assert_eq!(new(SOCK_DGRAM).connect(at("ff05::fb", scope)), Ok(()));
            assert_eq!(new(SOCK_DGRAM).send_to(at("ff05::fb", scope)), Ok(()));
        }
        let other = new(SOCK_DGRAM);
        other.sends_to_groups_by(LOOPBACK);
        assert_eq!(other.send_to(at("ff05::fb", 0)), Err(ENETUNREACH));
        for kind in [SOCK_DGRAM, SOCK_STREAM] {
            assert_eq!(binds(kind, at("fe80::9", 0)), Err(EINVAL));
            assert_eq!(binds(kind, at("fe80::9", LOOPBACK)), Err(EADDRNOTAVAIL));
            assert_eq!(binds(kind, at("fe80::9", eth0)), Err(EADDRNOTAVAIL));
            assert_eq!(binds(kind, at("fe80::9", NONE)), Err(ENODEV));
            assert_eq!(new(kind).connect(at("fe80::9", 0)), Err(EINVAL));
            assert_eq!(new(kind).connect(at("fe80::9", LOOPBACK)), Err(ENETUNREACH));
            assert_eq!(new(kind).connect(at("fe80::9", NONE)), Err(ENETUNREACH));
        }
        assert_eq!(new(SOCK_DGRAM).send_to(at("fe80::9", LOOPBACK)), Err(ENETUNREACH));
        for group in ["ff02::fb", "ff05::fb"] {
            assert_eq!(binds(SOCK_STREAM, at(group, eth0)), Err(EINVAL));
            assert_eq!(new(SOCK_STREAM).connect(at(group, eth0)), Err(ENETUNREACH));
        }
        Ok(())
    });
}

/// Of IPv4 a socket may be bound there, and what it sends comes from an address of its machine; a mapped one cannot send.
#[test]
fn sockets_are_bound_to_groups_and_to_broadcast() {
    both(|| {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let (receives, listens) = (receiver.local_addr()?, listener.local_addr()?);
        let mapped = |to: SocketAddr| {
            let SocketAddr::V4(v4) = to else { panic!("it is of IPv4") };
            SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
        };
        for (ip, code) in [
            (Ipv4Addr::new(239, 1, 2, 3), EINVAL),
            (Ipv4Addr::BROADCAST, EINVAL),
            (Ipv4Addr::new(127, 255, 255, 255), ENETUNREACH),
        ] {
            let free = SocketAddr::from((ip, 0));
            let udp = Socket::new(false, SOCK_DGRAM);
            assert_eq!(udp.bind(free), Ok(()), "{ip}");
            let port = udp.name().0.port();
            assert_eq!(udp.name().0, (ip, port).into());
            assert_eq!(udp.send_to(receives), Ok(()));
            assert_eq!(receiver.recv_from(&mut [0])?.1, (Ipv4Addr::LOCALHOST, port).into());
            assert_eq!(udp.connect(receives), Ok(()));
            assert_eq!(udp.name().0, (ip, port).into());
            let of_ipv6 = Socket::new(true, SOCK_DGRAM);
            assert_eq!(of_ipv6.bind(mapped(free)), Ok(()), "{ip}");
            assert_eq!(of_ipv6.send_to(mapped(receives)), Err(code), "{ip}");
            assert_eq!(of_ipv6.connect(mapped(receives)), Err(code), "{ip}");

            let tcp = Socket::new(false, SOCK_STREAM);
            assert_eq!(tcp.bind(free), Ok(()), "{ip}");
            let port = tcp.name().0.port();
            assert_eq!(
                Socket::new(false, SOCK_STREAM).connect((Ipv4Addr::LOCALHOST, port).into()),
                Err(ECONNREFUSED)
            );
            assert_eq!(tcp.connect(listens), Ok(()), "{ip}");
            assert_eq!(tcp.name().0, (Ipv4Addr::LOCALHOST, port).into());
            let of_ipv6 = Socket::new(true, SOCK_STREAM);
            assert_eq!(of_ipv6.bind(mapped(free)), Ok(()), "{ip}");
            assert_eq!(of_ipv6.connect(mapped(listens)), Err(code), "{ip}");
            let to = SocketAddr::from((ip, 9));
            assert_eq!(Socket::new(false, SOCK_STREAM).connect(to), Err(ENETUNREACH), "{ip}");
            assert_eq!(Socket::new(true, SOCK_STREAM).connect(mapped(to)), Err(ENETUNREACH), "{ip}");
        }
        let own = SocketAddr::from((Ipv4Addr::new(127, 255, 255, 255), 9));
        assert_eq!(Socket::new(false, SOCK_DGRAM).send_to(own), Err(EACCES));
        Ok(())
    });
}
