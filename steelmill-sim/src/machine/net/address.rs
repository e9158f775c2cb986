//! Who has which address: machine `n` is 10.x.y.z and fd00::n, and every machine is 127.0.0.0/8 and ::1 to itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A machine that does not exist.
const NOWHERE: u32 = u32::MAX;

/// The address of a machine that others use by default.
pub(crate) fn v4(machine: u32) -> IpAddr {
    let [_, a, b, c] = (machine + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, a, b, c))
}

fn v6(machine: u32) -> IpAddr {
    let n = machine + 1;
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, (n >> 16) as u16, n as u16))
}

/// An address as packets carry it: an IPv6 socket writes IPv4's as `::ffff:a.b.c.d` (ipv6(7)).
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The same address as an IPv6 socket shows it.
pub(crate) fn as_ipv6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Which machine `ip` is, seen from `from`. Linux takes an unspecified address for the machine itself.
pub(crate) fn machine_of(ip: IpAddr, from: u32) -> Option<u32> {
    if ip.is_loopback() || ip.is_unspecified() {
        return Some(from);
    }
    let n = match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [10, a, b, c] => u32::from_be_bytes([0, a, b, c]),
            _ => return None,
        },
        IpAddr::V6(ip) => match ip.segments() {
            [0xfd00, 0, 0, 0, 0, 0, a, b] => u32::from(a) << 16 | u32::from(b),
            _ => return None,
        },
    };
    n.checked_sub(1)
}

/// Whether a machine may bind `ip`.
pub(crate) fn is_own(ip: IpAddr, machine: u32) -> bool {
    machine_of(ip, machine) == Some(machine)
}

/// The address a machine's packets to `target` come from.
pub(crate) fn source(target: IpAddr, machine: u32) -> IpAddr {
    match target {
        IpAddr::V4(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) => v4(machine),
        IpAddr::V6(_) => v6(machine),
    }
}

/// Where packets to `target` really go: an unspecified address means the machine itself.
pub(crate) fn destination(target: SocketAddr) -> SocketAddr {
    let ip = match target.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, target.port())
}

/// Where what a UDP socket of `machine` sends to `target` really goes. `local` is what the socket shows as its address.
///
/// # Errors
/// Linux's: `EAFNOSUPPORT` for IPv6 from a socket with an IPv4 address, `ENETUNREACH` for IPv4 from one with an IPv6
/// address, `EINVAL` for others from a socket of the loopback.
pub(crate) fn way(local: SocketAddr, target: SocketAddr, machine: u32) -> io::Result<(SocketAddr, u32)> {
    let (is_ipv4_socket, is_ipv6_target) = (local.is_ipv4(), target.is_ipv6());
    let (local, target) = (plain(local), plain(target));
    if local.is_ipv4() && (target.is_ipv6() || is_ipv4_socket && is_ipv6_target) {
        return Err(os_error(libc::EAFNOSUPPORT));
    }
    let is_any = local.ip().is_unspecified();
    if local.is_ipv6() && target.is_ipv4() && !is_any {
        return Err(os_error(libc::ENETUNREACH));
    }
    let target = if target.ip().is_unspecified() && !is_any {
        SocketAddr::new(local.ip(), target.port())
    } else {
        destination(target)
    };
    let to = machine_of(target.ip(), machine);
    if local.ip().is_loopback() && to != Some(machine) {
        // Over IPv6 Linux sends it all the same, and nobody takes it.
        return if local.is_ipv6() { Ok((target, NOWHERE)) } else { Err(os_error(libc::EINVAL)) };
    }
    to.map(|to| (target, to)).ok_or_else(|| os_error(libc::ENETUNREACH))
}

/// Whether a socket bound to `bound` gets what is sent to `ip`. `::` takes IPv4 too, as Linux does by default (ipv6(7)).
pub(crate) fn covers(bound: IpAddr, ip: IpAddr) -> bool {
    bound == ip
        || match bound {
            IpAddr::V4(bound) => bound.is_unspecified() && ip.is_ipv4(),
            IpAddr::V6(bound) => bound.is_unspecified(),
        }
}

/// Whether two sockets cannot be bound to one port at the same time.
pub(crate) fn conflict(a: IpAddr, b: IpAddr) -> bool {
    covers(a, b) || covers(b, a)
}

/// A number of hops that a packet may be given (ip(7), `IP_TTL`).
pub(crate) fn hops(ttl: u32) -> io::Result<u32> {
    if (1..=255).contains(&ttl) { Ok(ttl) } else { Err(os_error(libc::EINVAL)) }
}

/// An error as Linux gives it: code, kind and text.
pub(crate) fn os_error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
