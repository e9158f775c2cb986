//! Port allocation: bound ports and ephemeral ports of each machine.
//!
//! An outgoing connection takes an ephemeral port. As on Linux, connections to different peers share a port only when
//! no unused port is left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::address;

/// Linux's default `ip_local_port_range` (ip(7)).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// A machine with a port, and an IP address, as integers: they compare faster.
type Port = u64;
type Ip = u128;

fn port_of(machine: u32, port: u16) -> Port {
    u64::from(machine) << 16 | u64::from(port)
}

/// IPv4 addresses are mapped to IPv6 (RFC 4291 §2.5.5.2).
fn number(ip: IpAddr) -> Ip {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn ip(number: Ip) -> IpAddr {
    Ipv6Addr::from_bits(number).to_canonical()
}

/// The ports of one protocol on all machines. `T` is the index of a listener or socket.
pub(crate) struct Ports<T> {
    bound: BTreeMap<(Port, Ip), T>,
    /// Outgoing connections: local port, local address, peer address, peer port.
    connections: BTreeSet<(Port, Ip, Ip, u16)>,
    /// The next ephemeral port to try, by machine.
    next: Vec<u16>,
}

impl<T: Copy + PartialEq> Ports<T> {
    pub(crate) fn new() -> Self {
        Self { bound: BTreeMap::new(), connections: BTreeSet::new(), next: Vec::new() }
    }

    /// Binds an address of `machine`; port 0 takes an ephemeral port.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` for an address of another machine, `EADDRINUSE` for a taken port.
    pub(crate) fn bind(&mut self, machine: u32, address: SocketAddr, owner: T) -> io::Result<SocketAddr> {
        if !address::is_local(address.ip(), machine) {
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

    fn bound_on(&self, machine: u32, port: u16) -> impl Iterator<Item = (IpAddr, T)> + '_ {
        let port = port_of(machine, port);
        self.bound.range((port, 0)..=(port, Ip::MAX)).map(|((_, number), owner)| (ip(*number), *owner))
    }

    pub(crate) fn owners_on(&self, machine: u32) -> Vec<T> {
        let all = (port_of(machine, 0), 0)..=(port_of(machine, u16::MAX), Ip::MAX);
        self.bound.range(all).map(|(_, owner)| *owner).collect()
    }

    /// The local addresses of outgoing connections on a port.
    fn connected_from(&self, machine: u32, port: u16) -> impl Iterator<Item = IpAddr> + '_ {
        let port = port_of(machine, port);
        let on_port = self.connections.range((port, 0, 0, 0)..=(port, Ip::MAX, Ip::MAX, u16::MAX));
        on_port.map(|(_, local, ..)| ip(*local))
    }

    /// Whether no socket and no connection has the port at a conflicting address.
    fn is_free(&self, machine: u32, ip: IpAddr, port: u16) -> bool {
        self.bound_on(machine, port).all(|(other, _)| !address::conflict(other, ip))
            && self.connected_from(machine, port).all(|other| !address::conflict(other, ip))
    }

    fn free_port(&mut self, machine: u32, ip: IpAddr) -> Option<u16> {
        self.search(machine, |ports, port| ports.is_free(machine, ip, port))
    }

    fn search(&mut self, machine: u32, is_usable: impl Fn(&Self, u16) -> bool) -> Option<u16> {
        if self.next.len() <= machine as usize {
            self.next.resize(machine as usize + 1, *EPHEMERAL.start());
        }
        let start = self.next[machine as usize];
        let mut candidates = (start..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..start);
        let port = candidates.find(|port| is_usable(self, *port))?;
        self.next[machine as usize] = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
        Some(port)
    }

    /// Takes an ephemeral port for a connection to `peer`. A port that is bound at any address is not usable.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when every port is bound or has a connection to that peer.
    pub(crate) fn open(&mut self, machine: u32, ip: IpAddr, peer: SocketAddr) -> io::Result<SocketAddr> {
        let is_unbound = |ports: &Self, port| ports.bound_on(machine, port).next().is_none();
        let key = |port| (port_of(machine, port), number(ip), number(peer.ip()), peer.port());
        let unused = self.search(machine, |ports, port| {
            is_unbound(ports, port) && ports.connected_from(machine, port).next().is_none()
        });
        let port = unused.or_else(|| {
            self.search(machine, |ports, port| {
                is_unbound(ports, port) && !ports.connections.contains(&key(port))
            })
        });
        let port = port.ok_or_else(|| address::os_error(libc::EADDRNOTAVAIL))?;
        self.connections.insert(key(port));
        Ok(SocketAddr::new(ip, port))
    }

    pub(crate) fn close(&mut self, machine: u32, local: SocketAddr, peer: SocketAddr) {
        let port = port_of(machine, local.port());
        self.connections.remove(&(port, number(local.ip()), number(peer.ip()), peer.port()));
    }

    pub(crate) fn release(&mut self, machine: u32, address: SocketAddr, owner: T) {
        let key = (port_of(machine, address.port()), number(address.ip()));
        if self.bound.get(&key) == Some(&owner) {
            self.bound.remove(&key);
        }
    }

    /// The owner that receives packets to `ip` and `port`: an exact address before a wildcard.
    pub(crate) fn find(&self, machine: u32, ip: IpAddr, port: u16, accepts: impl Fn(T) -> bool) -> Option<T> {
        let exact =
            self.bound.get(&(port_of(machine, port), number(ip))).copied().filter(|owner| accepts(*owner));
        exact.or_else(|| {
            let mut wildcards = self.bound_on(machine, port).filter(|(bound, _)| address::covers(*bound, ip));
            wildcards.find(|(_, owner)| accepts(*owner)).map(|(_, owner)| owner)
        })
    }

    /// The number of taken ports over all machines, for leak tests.
    pub(crate) fn taken(&self) -> usize {
        self.bound.len() + self.connections.len()
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
        assert!(!opened.contains(&40_000), "a bound port is not usable for a connect");
        opened.dedup();
        assert_eq!(opened.len(), 28_231);
        assert_eq!(ports.open(0, local, one).unwrap_err().raw_os_error(), Some(libc::EADDRNOTAVAIL));
        let shared = ports.open(0, local, other).unwrap();
        assert!(opened.contains(&shared.port()));
        // The port stays taken until both connections are closed.
        ports.close(0, shared, other);
        assert_eq!(ports.bind(0, shared, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        ports.close(0, shared, one);
        ports.bind(0, shared, 2).unwrap();
        assert_eq!(ports.taken(), 28_232);
    }
}
