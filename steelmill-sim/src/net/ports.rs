//! Ports: which are bound on a machine, by whom, and which are free.
//!
//! A connection that a program opens takes a port too. As on Linux, one port serves connections to different peers, but
//! only where no port is left that nobody uses at all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;

use super::address;

/// Linux's default `ip_local_port_range` (ip(7)).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// No address comes before the one, and none after the other.
const LEAST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const GREATEST: SocketAddr =
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from_bits(u128::MAX), u16::MAX, u32::MAX, u32::MAX));

/// One protocol's ports, on all machines. `T` is the place of what is bound: a listener or a socket.
pub(crate) struct Ports<T> {
    /// By machine, port and address.
    bound: BTreeMap<(u32, u16, IpAddr), T>,
    /// What connections were opened from: machine, port, address, and where to.
    opened: BTreeSet<(u32, u16, IpAddr, SocketAddr)>,
    /// Where the search for a free port goes on, for each machine.
    next: BTreeMap<u32, u16>,
}

impl<T: Copy + PartialEq> Ports<T> {
    pub(crate) fn new() -> Self {
        Self { bound: BTreeMap::new(), opened: BTreeSet::new(), next: BTreeMap::new() }
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
        self.bound.insert((machine, port, address.ip()), owner);
        Ok(SocketAddr::new(address.ip(), port))
    }

    /// Who has a port of a machine, at which address.
    fn on_port(&self, machine: u32, port: u16) -> impl Iterator<Item = (IpAddr, T)> + '_ {
        let on_port = self.bound.range((machine, port, LEAST.ip())..=(machine, port, GREATEST.ip()));
        on_port.map(|((_, _, ip), owner)| (*ip, *owner))
    }

    /// Who has a port of a machine: all of them.
    pub(crate) fn of(&self, machine: u32) -> Vec<T> {
        self.bound
            .range((machine, 0, LEAST.ip())..=(machine, u16::MAX, GREATEST.ip()))
            .map(|(_, owner)| *owner)
            .collect()
    }

    /// From which addresses of a machine connections were opened on a port, and where to.
    fn opened_on(&self, machine: u32, port: u16) -> impl Iterator<Item = IpAddr> + '_ {
        let least = (machine, port, LEAST.ip(), LEAST);
        let greatest = (machine, port, GREATEST.ip(), GREATEST);
        self.opened.range(least..=greatest).map(|(_, _, ip, _)| *ip)
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
        let start = *self.next.get(&machine).unwrap_or(EPHEMERAL.start());
        let mut candidates = (start..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..start);
        let port = candidates.find(|port| will_do(self, *port))?;
        self.next.insert(machine, if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 });
        Some(port)
    }

    /// Takes a port to open a connection to `peer` from. One that a socket is bound to will not do at any address.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when every port has a connection to that peer already.
    pub(crate) fn open(&mut self, machine: u32, ip: IpAddr, peer: SocketAddr) -> io::Result<SocketAddr> {
        let is_unbound = |ports: &Self, port| ports.on_port(machine, port).next().is_none();
        let unused = self.search(machine, |ports, port| {
            is_unbound(ports, port) && ports.opened_on(machine, port).next().is_none()
        });
        let port = unused.or_else(|| {
            self.search(machine, |ports, port| {
                is_unbound(ports, port) && !ports.opened.contains(&(machine, port, ip, peer))
            })
        });
        let port = port.ok_or_else(|| address::os_error(libc::EADDRNOTAVAIL))?;
        self.opened.insert((machine, port, ip, peer));
        Ok(SocketAddr::new(ip, port))
    }

    /// The connection from `local` to `peer` is over.
    pub(crate) fn close(&mut self, machine: u32, local: SocketAddr, peer: SocketAddr) {
        self.opened.remove(&(machine, local.port(), local.ip(), peer));
    }

    pub(crate) fn release(&mut self, machine: u32, address: SocketAddr, owner: T) {
        let key = (machine, address.port(), address.ip());
        if self.bound.get(&key) == Some(&owner) {
            self.bound.remove(&key);
        }
    }

    /// Who gets what is sent to `ip` and `port` of `machine`: an exact address before a wildcard.
    pub(crate) fn find(&self, machine: u32, ip: IpAddr, port: u16, fits: impl Fn(T) -> bool) -> Option<T> {
        let exact = self.bound.get(&(machine, port, ip)).copied().filter(|owner| fits(*owner));
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
