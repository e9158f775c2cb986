//! Socket options with an integer as value: what setsockopt(2) takes and getsockopt(2) gives (socket(7), tcp(7), ip(7), ipv6(7)).

use std::net::Ipv4Addr;

use crate::kernel::timers::Nanos;
use crate::machine::descriptors::Errno;

/// What sort of socket it is: that decides which options it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Unix,
}

/// Options of a socket. An accepted connection has its listener's, as they were when the SYN arrived.
///
/// `reuse_address`, `reuse_port` and `only_v6` decide which ports are free, `broadcast` where datagrams may go, and zero linger
/// makes close(2) send a RST. `syn_count`, `user_timeout` and those of keepalive say when a connection fails. The others are kept and have
/// no effect: there is no Nagle delay, and no router counts hops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: bool,
    pub(crate) broadcast: bool,
    pub(crate) nodelay: bool,
    pub(crate) quickack: bool,
    pub(crate) keepalive: bool,
    out_of_band_inline: bool,
    multicast_loop: bool,
    multicast_loop_v6: bool,
    /// Whether it receives what is sent to any group that its machine has joined (`IP_MULTICAST_ALL`).
    /// Until it is set, an IPv4 socket does, and an IPv6 socket does not.
    multicast_all: Option<bool>,
    multicast_all_v6: bool,
    /// By which interface it sends to groups, and from which address: 0 for whichever the route says (`IP_MULTICAST_IF`).
    multicast_interface: u8,
    multicast_interface_v6: u8,
    multicast_source: u32,
    pub(crate) lingers: bool,
    pub(crate) linger_seconds: i32,
    pub(crate) ttl: u32,
    tos: u8,
    /// Of an accepted IPv4 connection, the TTL of its SYN.
    pub(crate) multicast_ttl: u8,
    hops: u8,
    traffic_class: u8,
    keep_count: u8,
    syn_count: u8,
    keep_idle: u16,
    keep_interval: u16,
    user_timeout: i32,
    send_buffer: i32,
    receive_buffer: i32,
    /// Those of [`KEPT`] that are on, as bits in that order.
    kept: u8,
    priority: u8,
    multicast_hops: u8,
    /// The interface that it is bound to (`SO_BINDTODEVICE`), if it is.
    pub(crate) interface: Option<u8>,
    /// Whether its congestion control was set to Reno's, by name.
    pub(crate) is_reno: bool,
}

/// Options that are on or off, and have no effect.
const KEPT: [(i32, i32); 4] = [
    (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT),
    (libc::IPPROTO_IP, libc::IP_FREEBIND),
    (libc::IPPROTO_TCP, libc::TCP_CORK),
    (libc::IPPROTO_TCP, libc::TCP_THIN_LINEAR_TIMEOUTS),
];

/// The bit of such an option.
fn kept(level: i32, name: i32) -> Option<u8> {
    KEPT.iter().position(|known| *known == (level, name)).map(|place| 1 << place)
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            only_v6: false,
            broadcast: false,
            nodelay: false,
            quickack: true,
            keepalive: false,
            out_of_band_inline: false,
            multicast_loop: true,
            multicast_loop_v6: true,
            multicast_all: None,
            multicast_all_v6: true,
            multicast_interface: 0,
            multicast_interface_v6: 0,
            multicast_source: 0,
            lingers: false,
            linger_seconds: 0,
            ttl: 64,
            tos: 0,
            multicast_ttl: 1,
            hops: 64,
            traffic_class: 0,
            keep_count: 9,
            syn_count: 6,
            keep_idle: 7200,
            keep_interval: 75,
            user_timeout: 0,
            send_buffer: BUFFER,
            receive_buffer: BUFFER,
            kept: 0,
            priority: 0,
            multicast_hops: 1,
            interface: None,
            is_reno: false,
        }
    }
}

// ip(7) and linux/in6.h; the crate libc has no names for these.
const IP_MULTICAST_ALL: i32 = 49;
const IPV6_MULTICAST_ALL: i32 = 29;

/// The indices of a machine's interfaces: that to itself, and the one to the others.
pub(crate) const LOOPBACK: u8 = 1;
pub(crate) const INTERFACE: u8 = 2;

/// What SO_SNDBUF and SO_RCVBUF show until they are set: the simulated buffers have one size.
const BUFFER: i32 = 256 * 1024;

/// The most that they can be set to: `net.core.wmem_max` and `rmem_max` of Linux 6.18.
const BUFFER_MAX: u32 = 4 * 1024 * 1024;

/// What they show then: twice as much, which is room for the kernel's own data (socket(7)).
fn buffer(value: i32, least: i32) -> i32 {
    ((value as u32).min(BUFFER_MAX) * 2).max(least as u32) as i32
}

/// The two bits of the traffic class that TCP sets itself (RFC 3168).
const ECN: u8 = 3;

fn within(value: i32, least: i32, greatest: i32) -> Result<i32, Errno> {
    if (least..=greatest).contains(&value) { Ok(value) } else { Err(libc::EINVAL) }
}

/// The level of the options that a protocol has: others do not exist for it, which `absent` says.
fn check_level(protocol: Protocol, is_ipv6: bool, level: i32, absent: Errno) -> Result<(), Errno> {
    match (level, protocol) {
        (libc::SOL_SOCKET, _) => Ok(()),
        (_, Protocol::Unix) => Err(libc::EOPNOTSUPP),
        (libc::IPPROTO_TCP, Protocol::Tcp) | (libc::IPPROTO_IP, _) => Ok(()),
        (libc::IPPROTO_IPV6, _) if is_ipv6 => Ok(()),
        _ => Err(absent),
    }
}

impl Options {
    /// How often a SYN is sent again.
    pub(crate) fn syn_count(&self) -> u8 {
        self.syn_count
    }

    /// After how long without an acknowledgement a connection fails, if that is set.
    pub(crate) fn user_timeout(&self) -> Option<Nanos> {
        (self.user_timeout > 0).then(|| self.user_timeout as Nanos * 1_000_000)
    }

    /// After how long without a sign of the peer a connection probes for it, and how long after each probe again (tcp(7)).
    pub(crate) fn keep_idle(&self) -> Nanos {
        Nanos::from(self.keep_idle) * 1_000_000_000
    }

    pub(crate) fn keep_interval(&self) -> Nanos {
        Nanos::from(self.keep_interval) * 1_000_000_000
    }

    /// After how many probes without an answer it fails.
    pub(crate) fn keep_count(&self) -> u8 {
        self.keep_count
    }

    /// Whether close(2) sends a RST instead of a FIN.
    pub(crate) fn is_zero_linger(&self) -> bool {
        self.lingers && self.linger_seconds == 0
    }

    /// Whether a machine that has joined a group receives what this socket sends to it (`IP_MULTICAST_LOOP`).
    pub(crate) fn hears_itself(&self, is_ipv6: bool) -> bool {
        if is_ipv6 { self.multicast_loop_v6 } else { self.multicast_loop }
    }

    /// Whether it receives what was sent to a group that it has not joined, and its machine has.
    pub(crate) fn hears_all(&self, is_group_ipv6: bool, is_ipv6: bool) -> bool {
        if is_group_ipv6 { self.multicast_all_v6 } else { self.multicast_all.unwrap_or(!is_ipv6) }
    }

    /// By which interface it sends to groups, if it was told.
    pub(crate) fn multicast_interface(&self, is_ipv6: bool) -> Option<u8> {
        let interface = if is_ipv6 { self.multicast_interface_v6 } else { self.multicast_interface };
        Some(interface).filter(|interface| *interface != 0)
    }

    /// The address from which it sends to groups of IPv4, if it has none of its own.
    pub(crate) fn multicast_source(&self) -> Option<Ipv4Addr> {
        (self.multicast_source != 0).then(|| Ipv4Addr::from_bits(u32::from_be(self.multicast_source)))
    }

    /// `IP_MULTICAST_IF`: an interface, and the address that named it, in the order of the network.
    pub(crate) fn set_multicast_interface(&mut self, interface: u8, source: u32) {
        (self.multicast_interface, self.multicast_source) = (interface, source);
    }

    /// setsockopt(2).
    ///
    /// # Errors
    /// `EINVAL` for a value that the option does not take, `ENOPROTOOPT` for an option that the socket does not have, and
    /// `EOPNOTSUPP` for one that a Unix socket cannot have.
    pub(crate) fn set(
        &mut self,
        (protocol, is_ipv6): (Protocol, bool),
        level: i32,
        name: i32,
        value: i32,
    ) -> Result<(), Errno> {
        check_level(protocol, is_ipv6, level, libc::ENOPROTOOPT)?;
        let (is_stream, is_on) = (protocol == Protocol::Tcp, value != 0);
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => self.reuse_address = is_on,
            (libc::SOL_SOCKET, libc::SO_REUSEPORT) if protocol == Protocol::Unix && is_on => {
                return Err(libc::EOPNOTSUPP);
            }
            (libc::SOL_SOCKET, libc::SO_REUSEPORT) => self.reuse_port = is_on,
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => self.keepalive = is_on,
            (libc::SOL_SOCKET, libc::SO_BROADCAST) => self.broadcast = is_on,
            (libc::SOL_SOCKET, libc::SO_OOBINLINE) => self.out_of_band_inline = is_on,
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => self.send_buffer = buffer(value, 4_608),
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => self.receive_buffer = buffer(value, 2_304),
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => self.nodelay = is_on,
            (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => self.quickack = is_on,
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => self.keep_idle = within(value, 1, 32_767)? as u16,
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => self.keep_interval = within(value, 1, 32_767)? as u16,
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => self.keep_count = within(value, 1, 127)? as u8,
            (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => self.syn_count = within(value, 1, 127)? as u8,
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => self.user_timeout = within(value, 0, i32::MAX)?,
            (libc::IPPROTO_IP, libc::IP_TTL) if value == -1 => self.ttl = 64,
            (libc::IPPROTO_IP, libc::IP_TTL) => self.ttl = within(value, 1, 255)? as u32,
            (libc::IPPROTO_IP, libc::IP_TOS) => self.tos = service(self.tos, value as u8, is_stream),
            (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) if is_stream => return Err(libc::EINVAL),
            (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) if value == -1 => self.multicast_ttl = 1,
            (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) => self.multicast_ttl = within(value, 0, 255)? as u8,
            (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP) => self.multicast_loop = is_on,
            (libc::IPPROTO_IP, IP_MULTICAST_ALL) => self.multicast_all = Some(within(value, 0, 1)? == 1),
            (libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL) => self.multicast_all_v6 = is_on,
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) if !is_stream => match u8::try_from(value) {
                Ok(index @ 0..=INTERFACE) => {
                    if index != 0 && self.interface.is_some_and(|bound| bound != index) {
                        return Err(libc::EINVAL);
                    }
                    self.multicast_interface_v6 = index;
                }
                _ => return Err(libc::ENODEV),
            },
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP) => {
                self.multicast_loop_v6 = within(value, 0, 1)? != 0;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => self.only_v6 = is_on,
            (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) if value == -1 => self.hops = 64,
            (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => self.hops = within(value, 0, 255)? as u8,
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) if value == -1 => self.traffic_class = 0,
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.traffic_class = service(self.traffic_class, within(value, 0, 255)? as u8, is_stream);
            }
            // Higher ones take a privilege, and so does a mark.
            (libc::SOL_SOCKET, libc::SO_PRIORITY) => {
                self.priority = within(value, 0, 6).map_err(|_| libc::EPERM)? as u8;
            }
            (libc::SOL_SOCKET, libc::SO_MARK) => return Err(libc::EPERM),
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) if !is_stream && value == -1 => {
                self.multicast_hops = 1;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) if !is_stream => {
                self.multicast_hops = within(value, 0, 255)? as u8;
            }
            (libc::IPPROTO_TCP, libc::TCP_THIN_LINEAR_TIMEOUTS) if !matches!(value, 0 | 1) => {
                return Err(libc::EINVAL);
            }
            _ => match kept(level, name) {
                Some(bit) if is_on => self.kept |= bit,
                Some(bit) => self.kept &= !bit,
                None => return Err(libc::ENOPROTOOPT),
            },
        }
        Ok(())
    }

    /// getsockopt(2).
    ///
    /// # Errors
    /// As [`set`](Options::set).
    pub(crate) fn get(
        &self,
        (protocol, is_ipv6): (Protocol, bool),
        level: i32,
        name: i32,
    ) -> Result<i32, Errno> {
        // getsockopt(2) of an IPv4 socket answers otherwise than all others: `ip_getsockopt()`.
        let absent = if is_ipv6 { libc::ENOPROTOOPT } else { libc::EOPNOTSUPP };
        check_level(protocol, is_ipv6, level, absent)?;
        Ok(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => self.reuse_address.into(),
            (libc::SOL_SOCKET, libc::SO_REUSEPORT) => self.reuse_port.into(),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => self.keepalive.into(),
            (libc::SOL_SOCKET, libc::SO_BROADCAST) => self.broadcast.into(),
            (libc::SOL_SOCKET, libc::SO_OOBINLINE) => self.out_of_band_inline.into(),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => self.send_buffer,
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => self.receive_buffer,
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => self.nodelay.into(),
            (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => self.quickack.into(),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => self.keep_idle.into(),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => self.keep_interval.into(),
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => self.keep_count.into(),
            (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => self.syn_count.into(),
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => self.user_timeout,
            (libc::IPPROTO_IP, libc::IP_TTL) => self.ttl as i32,
            (libc::IPPROTO_IP, libc::IP_TOS) => self.tos.into(),
            (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) => self.multicast_ttl.into(),
            (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP) => self.multicast_loop.into(),
            (libc::IPPROTO_IP, IP_MULTICAST_ALL) => self.hears_all(false, is_ipv6).into(),
            (libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL) => self.multicast_all_v6.into(),
            (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => self.multicast_source.cast_signed(),
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) => self.multicast_interface_v6.into(),
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP) => self.multicast_loop_v6.into(),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => self.only_v6.into(),
            (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => self.hops.into(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => self.traffic_class.into(),
            (libc::SOL_SOCKET, libc::SO_PRIORITY) => self.priority.into(),
            (libc::SOL_SOCKET, libc::SO_MARK) => 0,
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) => self.multicast_hops.into(),
            _ => match kept(level, name) {
                Some(bit) => (self.kept & bit != 0).into(),
                None => return Err(libc::ENOPROTOOPT),
            },
        })
    }
}

/// The type of service: of a stream, the ECN bits stay.
fn service(before: u8, value: u8, is_stream: bool) -> u8 {
    if is_stream { value & !ECN | before & ECN } else { value }
}
