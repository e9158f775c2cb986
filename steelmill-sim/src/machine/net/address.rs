//! IP addresses of machines: 10.x.y.z and fd00::n for machine `n`, and loopback (127.0.0.0/8 and ::1) on each machine. A machine may
//! change its addresses, as by DHCP.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::machine::descriptors::Errno;

pub(crate) const NO_MACHINE: u32 = u32::MAX;

/// The numbers that machines have in their addresses: `n + 1` for machine `n`, unless it has changed.
#[derive(Default)]
pub(crate) struct AddressBook {
    /// By machine.
    changed: BTreeMap<u32, u32>,
    /// By number.
    owners: BTreeMap<u32, u32>,
    /// How many changes there were: each takes a number that no machine had.
    changes: u32,
}

/// The highest number of an address: that of 10.255.255.254.
const LAST: u32 = 0x00ff_fffe;

fn v4_of(number: u32) -> Ipv4Addr {
    let [_, a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(10, a, b, c)
}

fn v6_of(number: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, (number >> 16) as u16, number as u16))
}

/// An IPv4 address as inet_aton(3) reads it, and with it getaddrinfo(3): up to four numbers, of which the last fills what is left;
/// each is decimal, octal behind `0`, or hexadecimal behind `0x`.
pub(crate) fn from_numbers(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| {
        let (digits, radix) = match part.as_bytes() {
            [b'0', b'x' | b'X', ..] => (&part[2..], 16),
            [b'0', _, ..] => (&part[1..], 8),
            _ => (*part, 10),
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| (digit as char).is_digit(radix));
        if is_number { u32::from_str_radix(digits, radix).ok() } else { None }
    };
    let numbers: Vec<u32> = parts.iter().map(number).collect::<Option<_>>()?;
    let (last, before) = numbers.split_last()?;
    if before.len() > 3 || before.iter().any(|byte| *byte > 0xff) {
        return None;
    }
    let room = 8 * (4 - before.len() as u32);
    if room < 32 && *last >> room != 0 {
        return None;
    }
    let high = before.iter().fold(0, |bits, byte| bits << 8 | byte);
    Some(Ipv4Addr::from_bits(high.checked_shl(room).unwrap_or(0) | last))
}

impl AddressBook {
    /// Gives a machine other addresses.
    pub(crate) fn change(&mut self, machine: u32) {
        self.restore(machine);
        let number = LAST - self.changes;
        self.changes += 1;
        self.changed.insert(machine, number);
        self.owners.insert(number, machine);
    }

    /// Gives a machine its first addresses back. Whether it had others.
    pub(crate) fn restore(&mut self, machine: u32) -> bool {
        let number = self.changed.remove(&machine);
        number.is_some_and(|number| self.owners.remove(&number).is_some())
    }

    #[inline]
    fn number(&self, machine: u32) -> u32 {
        match self.changed.is_empty() {
            true => machine + 1,
            false => self.changed.get(&machine).copied().unwrap_or(machine + 1),
        }
    }

    #[inline]
    fn owner(&self, number: u32) -> Option<u32> {
        let machine = number.checked_sub(1)?;
        if self.changes == 0 {
            return Some(machine);
        }
        let is_given_up = self.changed.contains_key(&machine);
        Some(self.owners.get(&number).copied().unwrap_or(if is_given_up { NO_MACHINE } else { machine }))
    }

    pub(crate) fn v4(&self, machine: u32) -> Ipv4Addr {
        v4_of(self.number(machine))
    }

    pub(crate) fn v6(&self, machine: u32) -> IpAddr {
        v6_of(self.number(machine))
    }

    /// The machine with address `ip`, seen from machine `from`. As on Linux, an unspecified address is `from` itself.
    pub(crate) fn machine_of(&self, ip: IpAddr, from: u32) -> Option<u32> {
        if ip.is_loopback() || ip.is_unspecified() {
            return Some(from);
        }
        self.owner(match ip {
            IpAddr::V4(ip) => match ip.octets() {
                [10, a, b, c] => u32::from_be_bytes([0, a, b, c]),
                _ => return None,
            },
            IpAddr::V6(ip) => match ip.segments() {
                [0xfd00, 0, 0, 0, 0, 0, a, b] => u32::from(a) << 16 | u32::from(b),
                _ => return None,
            },
        })
    }

    pub(crate) fn is_local(&self, ip: IpAddr, machine: u32) -> bool {
        self.machine_of(ip, machine) == Some(machine)
    }

    /// The source address of packets from `machine` to `target`.
    pub(crate) fn source(&self, target: IpAddr, machine: u32) -> IpAddr {
        match target {
            IpAddr::V4(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(_) => self.v4(machine).into(),
            IpAddr::V6(_) => v6_of(self.number(machine)),
        }
    }

    /// The destination address and machine of a datagram from a UDP socket of `machine`, whose `getsockname` is `local`.
    ///
    /// # Errors
    /// As on Linux: `EAFNOSUPPORT` for IPv6 from a socket with an IPv4 address, `ENETUNREACH` for IPv4 from one with an
    /// IPv6 address and from an address that the machine no longer has, `EINVAL` for another machine from a socket bound to loopback.
    pub(crate) fn route(
        &self,
        local: SocketAddr,
        target: SocketAddr,
        machine: u32,
    ) -> io::Result<(SocketAddr, u32)> {
        let (is_ipv4_socket, is_ipv6_target) = (local.is_ipv4(), target.is_ipv6());
        let (local, mut target) = (canonical(local), canonical(target));
        // An IPv6 socket with an IPv4 address takes :: for that address's loopback.
        if local.is_ipv4() && !is_ipv4_socket && target.is_ipv6() && target.ip().is_unspecified() {
            target.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        if local.is_ipv4() && (target.is_ipv6() || is_ipv4_socket && is_ipv6_target) {
            return Err(os_error(libc::EAFNOSUPPORT));
        }
        let is_any = local.ip().is_unspecified();
        if local.is_ipv6() && target.is_ipv4() && !is_any {
            return Err(os_error(libc::ENETUNREACH));
        }
        let target = if target.ip().is_unspecified() && target.is_ipv4() && !is_any {
            SocketAddr::new(local.ip(), target.port())
        } else {
            destination(target)
        };
        if !is_any && local.is_ipv4() {
            let is_local = self.is_local(local.ip(), machine);
            if let Some(code) = no_source(local.ip()).or((!is_local).then_some(libc::ENETUNREACH)) {
                return Err(os_error(code));
            }
        }
        if is_of_many(target.ip()) {
            return Ok((target, NO_MACHINE));
        }
        let to = self.machine_of(target.ip(), machine);
        if !is_any && local.ip().is_loopback() && to != Some(machine) {
            // Over IPv6 Linux sends the packet, and it is lost.
            return if local.is_ipv6() { Ok((target, NO_MACHINE)) } else { Err(os_error(libc::EINVAL)) };
        }
        to.map(|to| (target, to)).ok_or_else(|| os_error(libc::ENETUNREACH))
    }
}

/// The unspecified address of a family.
pub(crate) fn any(is_ipv6: bool) -> IpAddr {
    if is_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// Maps `::ffff:a.b.c.d`, an IPv4 address on an IPv6 socket (ipv6(7)), to IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Maps IPv4 to `::ffff:a.b.c.d`, for an IPv6 socket.
pub(crate) fn ipv6_mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The broadcast address of the machines' network.
pub(crate) const NET_BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 255);

/// Whether packets to `ip` go to all machines of the network 10.0.0.0/8, or to all of the machine's own, which takes SO_BROADCAST
/// (ip(7)).
pub(crate) fn is_broadcast(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => matches!(ip.octets(), [255 | 10 | 127, 255, 255, 255]),
        IpAddr::V6(_) => false,
    }
}

/// Why no packet over IPv4 may come from an address, if it is of many: `ip_route_output_key_hash_rcu()` of Linux.
pub(crate) fn no_source(ip: IpAddr) -> Option<Errno> {
    match ip {
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => Some(libc::EINVAL),
        _ => is_broadcast(ip).then_some(libc::ENETUNREACH),
    }
}

/// Whether packets to `ip` go to a group of machines, or to all.
pub(crate) fn is_of_many(ip: IpAddr) -> bool {
    ip.is_multicast() || is_broadcast(ip)
}

/// The destination of packets to `target`: loopback for an unspecified address.
pub(crate) fn destination(target: SocketAddr) -> SocketAddr {
    let ip = match target.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, target.port())
}

/// Where a TCP connection to `target` leads, from a socket that is bound to `from`, or not bound.
///
/// # Errors
/// `ENETUNREACH` for IPv4 from a socket with IPV6_V6ONLY or an IPv6 address, `EAFNOSUPPORT` for IPv6 from an IPv4 address.
pub(crate) fn connect_target(
    from: Option<SocketAddr>,
    target: SocketAddr,
    only_v6: bool,
) -> io::Result<SocketAddr> {
    let is_mapped = target.is_ipv6() && canonical(target).is_ipv4();
    if is_mapped && only_v6 {
        return Err(os_error(libc::ENETUNREACH));
    }
    let target = canonical(target);
    let from_ipv4 = from.is_some_and(|from| from.is_ipv4());
    if target.is_ipv6() && from_ipv4 {
        if target.ip().is_unspecified() {
            return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), target.port()));
        }
        return Err(os_error(libc::EAFNOSUPPORT));
    }
    let from_ipv6 = from.is_some_and(|from| from.is_ipv6() && !from.ip().is_unspecified());
    if target.is_ipv4() && from_ipv6 {
        return Err(os_error(libc::ENETUNREACH));
    }
    match from {
        // 0.0.0.0 is the socket's own address, if it has one.
        Some(from) if from_ipv4 && target.ip().is_unspecified() && !from.ip().is_unspecified() => {
            Ok(SocketAddr::new(from.ip(), target.port()))
        }
        _ => Ok(destination(target)),
    }
}

/// Whether a socket bound to `bound` receives packets to `ip`. Unless it has IPV6_V6ONLY, `::` is dual-stack (ipv6(7)): it
/// covers IPv4.
pub(crate) fn covers(bound: IpAddr, ip: IpAddr, only_v6: bool) -> bool {
    bound == ip
        || match bound {
            IpAddr::V4(bound) => bound.is_unspecified() && ip.is_ipv4(),
            IpAddr::V6(bound) => bound.is_unspecified() && !(only_v6 && ip.is_ipv4()),
        }
}

/// Whether two addresses, each perhaps with IPV6_V6ONLY, cannot be bound to one port.
pub(crate) fn conflict(a: (IpAddr, bool), b: (IpAddr, bool)) -> bool {
    // 0.0.0.0 overlaps with whatever is not of IPv6 only, as an accepted connection of `::` (`ipv4_rcv_saddr_equal()`).
    let overlap = |v4: IpAddr, (other, only_v6): (IpAddr, bool)| {
        v4.is_ipv4() && v4.is_unspecified() && other.is_ipv6() && !only_v6
    };
    covers(a.0, b.0, a.1) || covers(b.0, a.0, b.1) || overlap(a.0, b) || overlap(b.0, a)
}

pub(crate) fn check_ttl(ttl: u32) -> io::Result<u32> {
    if (1..=255).contains(&ttl) { Ok(ttl) } else { Err(os_error(libc::EINVAL)) }
}

pub(crate) fn os_error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
