//! tokio's options of a UDP socket. Their ranges and defaults are Linux's (ip(7), ipv6(7)); they are kept, and have no effect: no
//! router counts hops, and datagrams go to one machine.

use std::io;

use super::UdpSocket;
use crate::machine::cluster;
use crate::machine::net::address;
use crate::machine::net::options::{Options, Protocol};

impl UdpSocket {
    fn option(&self, level: i32, name: i32) -> io::Result<i32> {
        cluster::with(self.run(), |run| {
            let socket = run.net.udp.get(self.id)?;
            let kind = (Protocol::Udp, socket.local.is_ipv6());
            socket.options.get(kind, level, name).map_err(address::os_error)
        })
    }

    fn set_option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        cluster::with(self.run(), |run| {
            let socket = run.net.udp.get(self.id)?;
            let kind = (Protocol::Udp, socket.local.is_ipv6());
            let mut options: Options = socket.options;
            options.set(kind, level, name, value).map_err(address::os_error)?;
            run.udp_set_options(self.id, options);
            Ok(())
        })
    }

    /// Whether it may send to broadcast addresses (`SO_BROADCAST`); at first it may not.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.option(libc::SOL_SOCKET, libc::SO_BROADCAST).map(|value| value != 0)
    }

    /// Sets whether it may send to broadcast addresses (`SO_BROADCAST`).
    pub fn set_broadcast(&self, may: bool) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_BROADCAST, may.into())
    }

    /// Whether it receives what it sends to IPv4 groups itself (`IP_MULTICAST_LOOP`); at first it does.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.option(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP).map(|value| value != 0)
    }

    /// Sets whether it receives what it sends to IPv4 groups itself (`IP_MULTICAST_LOOP`).
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, on.into())
    }

    /// The hops that a datagram to an IPv4 group may take (`IP_MULTICAST_TTL`); 1 at first.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.option(libc::IPPROTO_IP, libc::IP_MULTICAST_TTL).map(|value| value as u32)
    }

    /// Sets the hops that a datagram to an IPv4 group may take (`IP_MULTICAST_TTL`).
    ///
    /// # Errors
    /// `InvalidInput` above 255.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        let ttl = i32::try_from(ttl).unwrap_or(i32::MAX);
        self.set_option(libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, ttl)
    }

    /// Whether it receives what it sends to IPv6 groups itself (`IPV6_MULTICAST_LOOP`); at first it does.
    ///
    /// # Errors
    /// An IPv4 socket has no such option.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.option(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP).map(|value| value != 0)
    }

    /// Sets whether it receives what it sends to IPv6 groups itself (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    /// An IPv4 socket has no such option.
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, on.into())
    }

    /// The type of service of its IPv4 packets (`IP_TOS`).
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.option(libc::IPPROTO_IP, libc::IP_TOS).map(|value| value as u32)
    }

    /// Sets the type of service of its IPv4 packets (`IP_TOS`).
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IP, libc::IP_TOS, tos as i32)
    }

    /// The traffic class of its IPv6 packets (`IPV6_TCLASS`).
    ///
    /// # Errors
    /// An IPv4 socket has no such option.
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.option(libc::IPPROTO_IPV6, libc::IPV6_TCLASS).map(|value| value as u32)
    }

    /// Sets the traffic class of its IPv6 packets (`IPV6_TCLASS`).
    ///
    /// # Errors
    /// An IPv4 socket has no such option; `InvalidInput` above 255.
    pub fn set_tclass_v6(&self, class: u32) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, i32::try_from(class).unwrap_or(i32::MAX))
    }
}
