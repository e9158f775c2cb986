//! Ports: which are bound on a machine, by whom, and which are free.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::address;

/// Linux's default `ip_local_port_range` (ip(7)).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// One protocol's ports, on all machines. `T` is what is bound: a listener's or socket's place, or a connection.
pub(crate) struct Ports<T> {
    /// By machine, port and address.
    bound: BTreeMap<(u32, u16, IpAddr), T>,
    /// Where the search for a free port goes on, for each machine.
    next: BTreeMap<u32, u16>,
}

impl<T: Copy + PartialEq> Ports<T> {
    pub(crate) fn new() -> Self {
        Self { bound: BTreeMap::new(), next: BTreeMap::new() }
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
        let lowest = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let greatest = IpAddr::V6(Ipv6Addr::from(u128::MAX));
        let on_port = self.bound.range((machine, port, lowest)..=(machine, port, greatest));
        on_port.map(|((_, _, ip), owner)| (*ip, *owner))
    }

    /// Who has a port of a machine: all of them.
    pub(crate) fn of(&self, machine: u32) -> Vec<T> {
        let lowest = (machine, 0, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let greatest = (machine, u16::MAX, IpAddr::V6(Ipv6Addr::from(u128::MAX)));
        self.bound.range(lowest..=greatest).map(|(_, owner)| *owner).collect()
    }

    fn is_free(&self, machine: u32, ip: IpAddr, port: u16) -> bool {
        self.on_port(machine, port).all(|(other, _)| !address::conflict(other, ip))
    }

    fn free_port(&mut self, machine: u32, ip: IpAddr) -> Option<u16> {
        let start = *self.next.get(&machine).unwrap_or(EPHEMERAL.start());
        let mut candidates = (start..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..start);
        let port = candidates.find(|port| self.is_free(machine, ip, *port))?;
        self.next.insert(machine, if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 });
        Some(port)
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
        self.bound.len()
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
}
