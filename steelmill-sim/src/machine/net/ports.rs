//! Ports: which are bound on a machine, by whom, and which are free.
//!
//! A connection that a program opens takes a port too. As on Linux, one port serves connections to different peers, but
//! only where no port is left that nobody uses at all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::address;

/// Linux's default `ip_local_port_range` (ip(7)).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// A machine and a port, and an address: plain numbers, which are compared faster.
type Port = u64;
type Ip = u128;

fn port_of(machine: u32, port: u16) -> Port {
    u64::from(machine) << 16 | u64::from(port)
}

/// An IPv4 address is the IPv6 address that stands for it (RFC 4291 §2.5.5.2).
fn number(ip: IpAddr) -> Ip {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn ip(number: Ip) -> IpAddr {
    Ipv6Addr::from_bits(number).to_canonical()
}

/// One protocol's ports, on all machines. `T` is the place of what is bound: a listener or a socket.
pub(crate) struct Ports<T> {
    bound: BTreeMap<(Port, Ip), T>,
    /// What connections were opened from, and where to.
    opened: BTreeSet<(Port, Ip, Ip, u16)>,
    /// Where the search for a free port goes on, for each machine.
    next: Vec<u16>,
}

impl<T: Copy + PartialEq> Ports<T> {
    pub(crate) fn new() -> Self {
        Self { bound: BTreeMap::new(), opened: BTreeSet::new(), next: Vec::new() }
    }

    /// Binds an address of `machine`; port 0 takes a free one.
    pub(crate) fn bind(&mut self, machine: u32, address: SocketAddr, owner: T) -> io::Result<SocketAddr> {
        if !address::is_own(address.ip(), machine) {
            return Err(address::os_error(libc::EADDRNOTAVAIL));
        }
        let port = match address.port() {
            0 => self.free_port(machine, address.ip()),
            port => Some(port).filter(|port| self.is_free(machine, address.ip(), *port)),
        };
        let port = port.ok_or_else(|| address::os_error(libc::EADDRINUSE))?;
        self.bound.insert((port_of(machine, port), number(address.ip())), owner);
        Ok(SocketAddr::new(address.ip(), port))
    }

    /// Who has a port of a machine, at which address.
    fn on_port(&self, machine: u32, port: u16) -> impl Iterator<Item = (IpAddr, T)> + '_ {
        let port = port_of(machine, port);
        self.bound.range((port, 0)..=(port, Ip::MAX)).map(|((_, number), owner)| (ip(*number), *owner))
    }

    /// Who has a port of a machine: all of them.
    pub(crate) fn of(&self, machine: u32) -> Vec<T> {
        let all = (port_of(machine, 0), 0)..=(port_of(machine, u16::MAX), Ip::MAX);
        self.bound.range(all).map(|(_, owner)| *owner).collect()
    }

    /// From which addresses of a machine connections were opened on a port, and where to.
    fn opened_on(&self, machine: u32, port: u16) -> impl Iterator<Item = IpAddr> + '_ {
        let port = port_of(machine, port);
        let on_port = self.opened.range((port, 0, 0, 0)..=(port, Ip::MAX, Ip::MAX, u16::MAX));
        on_port.map(|(_, local, ..)| ip(*local))
    }

    /// Whether a port can be bound: neither a socket nor a connection has it at such an address.
    fn is_free(&self, machine: u32, ip: IpAddr, port: u16) -> bool {
        self.on_port(machine, port).all(|(other, _)| !address::conflict(other, ip))
            && self.opened_on(machine, port).all(|other| !address::conflict(other, ip))
    }

    fn free_port(&mut self, machine: u32, ip: IpAddr) -> Option<u16> {
        self.search(machine, |ports, port| ports.is_free(machine, ip, port))
    }

    /// The next ephemeral port that will do.
    fn search(&mut self, machine: u32, will_do: impl Fn(&Self, u16) -> bool) -> Option<u16> {
        if self.next.len() <= machine as usize {
            self.next.resize(machine as usize + 1, *EPHEMERAL.start());
        }
        let start = self.next[machine as usize];
        let mut candidates = (start..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..start);
        let port = candidates.find(|port| will_do(self, *port))?;
        self.next[machine as usize] = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
        Some(port)
    }

    /// Takes a port to open a connection to `peer` from. One that a socket is bound to will not do at any address.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when every port has a connection to that peer already.
    pub(crate) fn open(&mut self, machine: u32, ip: IpAddr, peer: SocketAddr) -> io::Result<SocketAddr> {
        let is_unbound = |ports: &Self, port| ports.on_port(machine, port).next().is_none();
        let opened = |port| (port_of(machine, port), number(ip), number(peer.ip()), peer.port());
        let unused = self.search(machine, |ports, port| {
            is_unbound(ports, port) && ports.opened_on(machine, port).next().is_none()
        });
        let port = unused.or_else(|| {
            self.search(machine, |ports, port| {
                is_unbound(ports, port) && !ports.opened.contains(&opened(port))
            })
        });
        let port = port.ok_or_else(|| address::os_error(libc::EADDRNOTAVAIL))?;
        self.opened.insert(opened(port));
        Ok(SocketAddr::new(ip, port))
    }

    /// The connection from `local` to `peer` is over.
    pub(crate) fn close(&mut self, machine: u32, local: SocketAddr, peer: SocketAddr) {
        let port = port_of(machine, local.port());
        self.opened.remove(&(port, number(local.ip()), number(peer.ip()), peer.port()));
    }

    pub(crate) fn release(&mut self, machine: u32, address: SocketAddr, owner: T) {
        let key = (port_of(machine, address.port()), number(address.ip()));
        if self.bound.get(&key) == Some(&owner) {
            self.bound.remove(&key);
        }
    }

    /// Who gets what is sent to `ip` and `port` of `machine`: an exact address before a wildcard.
    pub(crate) fn find(&self, machine: u32, ip: IpAddr, port: u16, fits: impl Fn(T) -> bool) -> Option<T> {
        let exact =
            self.bound.get(&(port_of(machine, port), number(ip))).copied().filter(|owner| fits(*owner));
        exact.or_else(|| {
            let mut wildcards = self.on_port(machine, port).filter(|(bound, _)| address::covers(*bound, ip));
            wildcards.find(|(_, owner)| fits(*owner)).map(|(_, owner)| owner)
        })
    }

    /// How many ports are taken, over all machines: for tests that none leaks.
    pub(crate) fn taken(&self) -> usize {
        self.bound.len() + self.opened.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_wildcard_and_an_address_conflict_and_two_addresses_do_not() {
        let mut ports = Ports::new();
        ports.bind(0, on("127.0.0.1:80"), 1).unwrap();
        ports.bind(0, on("10.0.0.1:80"), 2).unwrap();
        assert_eq!(ports.bind(0, on("0.0.0.0:80"), 3).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        ports.bind(1, on("0.0.0.0:80"), 4).unwrap();
        assert_eq!(ports.bind(0, on("10.0.0.2:81"), 5).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(ports.find(0, "127.0.0.1".parse().unwrap(), 80, |_| true), Some(1));
        assert_eq!(ports.find(1, "10.0.0.2".parse().unwrap(), 80, |_| true), Some(4));
    }

    #[test]
    fn every_ephemeral_port_is_given_once_and_then_an_error() {
        let mut ports = Ports::new();
        let mut given: Vec<u16> =
            (0..28_232).map(|n| ports.bind(0, on("127.0.0.1:0"), n).unwrap().port()).collect();
        given.dedup();
        assert_eq!((given.len(), given[0]), (28_232, 32_768));
        assert_eq!(ports.bind(0, on("127.0.0.1:0"), 1 << 30).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        ports.release(0, on("127.0.0.1:40000"), 40_000 - 32_768);
        assert_eq!(ports.bind(0, on("127.0.0.1:0"), 1 << 30).unwrap().port(), 40_000);
    }

    #[test]
    fn a_port_serves_several_peers_once_no_other_is_left() {
        let (mut ports, local) = (Ports::new(), "10.0.0.1".parse().unwrap());
        let (one, other) = (on("10.0.0.2:80"), on("10.0.0.3:80"));
        ports.bind(0, on("0.0.0.0:40000"), 1).unwrap();
        let mut opened: Vec<u16> = (1..28_232).map(|_| ports.open(0, local, one).unwrap().port()).collect();
        assert!(!opened.contains(&40_000), "a bound port is nothing to connect from");
        opened.dedup();
        assert_eq!(opened.len(), 28_231);
        assert_eq!(ports.open(0, local, one).unwrap_err().raw_os_error(), Some(libc::EADDRNOTAVAIL));
        let shared = ports.open(0, local, other).unwrap();
        assert!(opened.contains(&shared.port()));
        // It is taken for as long as one of the two has it.
        ports.close(0, shared, other);
        assert_eq!(ports.bind(0, shared, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        ports.close(0, shared, one);
        ports.bind(0, shared, 2).unwrap();
        assert_eq!(ports.taken(), 28_232);
    }
}
