//! Port allocation: bound ports, connections and ephemeral ports of each machine.
//!
//! Sockets share a port as Linux's `inet_csk_bind_conflict()` has it: at addresses that do not overlap; if all of them have
//! SO_REUSEADDR and none of those that are there listens; or if all have SO_REUSEPORT. Connections take part in that, for as
//! long as they are in TIME_WAIT, too. An outgoing connection takes the next ephemeral port that is not bound, and on which
//! there is no connection to the same peer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::address;
use super::options::Options;
use crate::kernel::timers::Nanos;

/// Linux's default `ip_local_port_range` (ip(7)).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// How long a connection that was closed here first keeps its port: `TCP_TIMEWAIT_LEN` of Linux.
const TIME_WAIT: Nanos = 60_000_000_000;

/// After how many ports in vain a machine counts as crowded: from then on ports that become free are taken first.
const CROWDED: usize = 64;

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

/// What a socket that has a port allows others.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sharing {
    reuse_address: bool,
    reuse_port: bool,
    only_v6: bool,
    is_listening: bool,
    /// The interface that the socket is bound to, if it is.
    interface: Option<u8>,
}

impl Sharing {
    pub(crate) fn of(options: &Options) -> Self {
        let Options { reuse_address, reuse_port, only_v6, interface, .. } = *options;
        Self { reuse_address, reuse_port, only_v6, is_listening: false, interface }
    }

    pub(crate) fn listening(self, is_listening: bool) -> Self {
        Self { is_listening, ..self }
    }

    /// Whether a socket may have a port at an address at which another one has it.
    fn allows(self, other: Self) -> bool {
        self.reuse_address && other.reuse_address && !other.is_listening
            || self.reuse_port && other.reuse_port
            || self.interface.zip(other.interface).is_some_and(|(own, other)| own != other)
    }
}

#[derive(Debug, Clone, Copy)]
struct Bound<T> {
    owner: T,
    sharing: Sharing,
}

/// A local port and address, a peer's address and port.
type FourTuple = (Port, Ip, Ip, u16);

fn four_tuple(machine: u32, local: SocketAddr, peer: SocketAddr) -> FourTuple {
    (port_of(machine, local.port()), number(local.ip()), number(peer.ip()), peer.port())
}

/// The search for an ephemeral port on a machine.
#[derive(Default, Clone)]
struct Search {
    /// The next port to try, as its distance from the first.
    next: u16,
    is_crowded: bool,
    /// Ports that became free since then.
    freed: Vec<u16>,
}

/// The ports of one protocol on all machines. `T` is the index of a listener or socket.
pub(crate) struct Ports<T> {
    /// By port and address, in the order in which they were bound.
    bound: BTreeMap<(Port, Ip, u32), Bound<T>>,
    last: u32,
    connections: BTreeMap<FourTuple, Sharing>,
    /// Closed connections, and when they are over.
    time_wait: BTreeMap<FourTuple, (Nanos, Sharing)>,
    time_wait_ends: VecDeque<(Nanos, FourTuple)>,
    searches: Vec<Search>,
    /// The port that a machine's search begins at, as its distance from the first.
    first: u16,
    /// Machines, own addresses and peers for which no port was left.
    exhausted: BTreeSet<(u32, Ip, Ip, u16)>,
}

impl<T: Copy + PartialEq> Ports<T> {
    /// The first search of each machine begins so far from the first ephemeral port.
    pub(crate) fn new(first: u16) -> Self {
        Self {
            first,
            bound: BTreeMap::new(),
            last: 0,
            connections: BTreeMap::new(),
            time_wait: BTreeMap::new(),
            time_wait_ends: VecDeque::new(),
            searches: Vec::new(),
            exhausted: BTreeSet::new(),
        }
    }

    /// Binds an address, which is one of `machine`'s or of a group; port 0 takes an ephemeral port.
    ///
    /// # Errors
    /// `EADDRINUSE` for a port that others do not share.
    pub(crate) fn bind(
        &mut self,
        (machine, now): (u32, Nanos),
        address: SocketAddr,
        owner: T,
        sharing: Sharing,
    ) -> io::Result<SocketAddr> {
        self.forget_time_wait(now);
        let port = match address.port() {
            0 => self.search(machine, |ports, port| {
                ports.conflicts(machine, address.ip(), port, sharing.only_v6).next().is_none()
            }),
            port => Some(port).filter(|port| {
                let mut others = self.conflicts(machine, address.ip(), *port, sharing.only_v6);
                others.all(|other| sharing.allows(other))
            }),
        };
        let port = port.ok_or_else(|| address::os_error(libc::EADDRINUSE))?;
        self.last = self.last.wrapping_add(1);
        self.bound
            .insert((port_of(machine, port), number(address.ip()), self.last), Bound { owner, sharing });
        Ok(SocketAddr::new(address.ip(), port))
    }

    fn bound_on(&self, machine: u32, port: u16) -> impl Iterator<Item = (IpAddr, Bound<T>)> + '_ {
        let port = port_of(machine, port);
        let on_port = self.bound.range((port, 0, 0)..=(port, Ip::MAX, u32::MAX));
        on_port.map(|((_, number, _), bound)| (ip(*number), *bound))
    }

    fn bound_at(&mut self, machine: u32, address: SocketAddr, owner: T) -> Option<(Port, Ip, u32)> {
        let (port, number) = (port_of(machine, address.port()), number(address.ip()));
        let mut at = self.bound.range((port, number, 0)..=(port, number, u32::MAX));
        at.find(|(_, bound)| bound.owner == owner).map(|(key, _)| *key)
    }

    pub(crate) fn owners_on(&self, machine: u32) -> Vec<T> {
        let all = (port_of(machine, 0), 0, 0)..=(port_of(machine, u16::MAX), Ip::MAX, u32::MAX);
        self.bound.range(all).map(|(_, bound)| bound.owner).collect()
    }

    /// Sockets and connections that have a port at an overlapping address.
    fn conflicts(
        &self,
        machine: u32,
        own: IpAddr,
        port: u16,
        only_v6: bool,
    ) -> impl Iterator<Item = Sharing> + '_ {
        let bound = self.bound_on(machine, port).map(|(other, bound)| (other, bound.sharing));
        let overlap = move |(other, sharing): &(IpAddr, Sharing)| {
            address::conflict((own, only_v6), (*other, sharing.only_v6))
        };
        bound.chain(self.connections_on(machine, port)).filter(overlap).map(|(_, sharing)| sharing)
    }

    /// Connections of a port, those in TIME_WAIT too.
    fn connections_on(&self, machine: u32, port: u16) -> impl Iterator<Item = (IpAddr, Sharing)> + '_ {
        let port = port_of(machine, port);
        let all = (port, 0, 0, 0)..=(port, Ip::MAX, Ip::MAX, u16::MAX);
        let connections =
            self.connections.range(all.clone()).map(|((_, local, ..), sharing)| (*local, *sharing));
        let closed = self.time_wait.range(all).map(|((_, local, ..), (_, sharing))| (*local, *sharing));
        connections.chain(closed).map(|(local, sharing)| (ip(local), sharing))
    }

    fn search(&mut self, machine: u32, is_usable: impl Fn(&Self, u16) -> bool) -> Option<u16> {
        if self.searches.len() <= machine as usize {
            let search = Search { next: self.first, ..Search::default() };
            self.searches.resize(machine as usize + 1, search);
        }
        let count = EPHEMERAL.end() - EPHEMERAL.start() + 1;
        if self.searches[machine as usize].is_crowded {
            while let Some(port) = self.searches[machine as usize].freed.pop() {
                if is_usable(self, port) {
                    return Some(port);
                }
            }
        }
        let start = self.searches[machine as usize].next;
        let candidates = (0..count).map(|n| (start + n) % count);
        let (tries, found) = candidates.enumerate().find(|(_, n)| is_usable(self, EPHEMERAL.start() + n))?;
        let search = &mut self.searches[machine as usize];
        search.next = (found + 1) % count;
        search.is_crowded |= tries > CROWDED;
        Some(EPHEMERAL.start() + found)
    }

    /// A port that may have become free for another use.
    fn freed(&mut self, machine: u32, port: u16) {
        if !self.exhausted.is_empty() {
            let all = (machine, 0, 0, 0)..=(machine, Ip::MAX, Ip::MAX, u16::MAX);
            let exhausted: Vec<_> = self.exhausted.range(all).copied().collect();
            for key in exhausted {
                self.exhausted.remove(&key);
            }
        }
        if let Some(search) = self.searches.get_mut(machine as usize)
            && search.is_crowded
            && EPHEMERAL.contains(&port)
        {
            search.freed.push(port);
        }
    }

    /// Takes an ephemeral port for a connection to `peer`. A port that is bound at any address is not usable.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when every port is bound or has a connection to that peer.
    pub(crate) fn open(
        &mut self,
        (machine, now): (u32, Nanos),
        own: IpAddr,
        peer: SocketAddr,
        sharing: Sharing,
    ) -> io::Result<SocketAddr> {
        self.forget_time_wait(now);
        let key = (machine, number(own), number(peer.ip()), peer.port());
        let port = match self.exhausted.contains(&key) {
            true => None,
            false => self.search(machine, |ports, port| {
                ports.bound_on(machine, port).next().is_none()
                    && ports.is_new(machine, SocketAddr::new(own, port), peer)
            }),
        };
        let Some(port) = port else {
            self.exhausted.insert(key);
            return Err(address::os_error(libc::EADDRNOTAVAIL));
        };
        let local = SocketAddr::new(own, port);
        self.connections.insert(four_tuple(machine, local, peer), sharing);
        Ok(local)
    }

    /// Whether there is no connection between two addresses. Within a machine one in TIME_WAIT does not count, as with Linux's
    /// default `tcp_tw_reuse`.
    fn is_new(&self, machine: u32, local: SocketAddr, peer: SocketAddr) -> bool {
        let key = four_tuple(machine, local, peer);
        !self.connections.contains_key(&key)
            && (peer.ip().is_loopback() || !self.time_wait.contains_key(&key))
    }

    /// Enters a connection whose local address is known: that of a bound socket, or an accepted one.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when there is such a connection.
    pub(crate) fn enter(
        &mut self,
        (machine, now): (u32, Nanos),
        local: SocketAddr,
        peer: SocketAddr,
        sharing: Sharing,
    ) -> io::Result<()> {
        self.forget_time_wait(now);
        if !self.is_new(machine, local, peer) {
            return Err(address::os_error(libc::EADDRNOTAVAIL));
        }
        self.connections.insert(four_tuple(machine, local, peer), sharing);
        Ok(())
    }

    /// A connection has ended. With `time_wait` its port stays taken for a while.
    pub(crate) fn close(
        &mut self,
        (machine, now): (u32, Nanos),
        local: SocketAddr,
        peer: SocketAddr,
        time_wait: bool,
    ) {
        let key = four_tuple(machine, local, peer);
        let Some(sharing) = self.connections.remove(&key) else { return };
        self.forget_time_wait(now);
        if time_wait {
            self.time_wait.insert(key, (now + TIME_WAIT, sharing));
            self.time_wait_ends.push_back((now + TIME_WAIT, key));
        } else {
            self.freed(machine, local.port());
        }
    }

    fn forget_time_wait(&mut self, now: Nanos) {
        while let Some((end, key)) = self.time_wait_ends.front().copied() {
            if end > now {
                break;
            }
            self.time_wait_ends.pop_front();
            if self.time_wait.get(&key).is_some_and(|(until, _)| *until == end) {
                self.time_wait.remove(&key);
                self.freed((key.0 >> 16) as u32, key.0 as u16);
            }
        }
    }

    /// A machine has lost power, and with it what it had in TIME_WAIT.
    pub(crate) fn lose_time_wait(&mut self, machine: u32) {
        self.time_wait.retain(|key, _| key.0 >> 16 != u64::from(machine));
    }

    pub(crate) fn release(&mut self, machine: u32, address: SocketAddr, owner: T) {
        if let Some(key) = self.bound_at(machine, address, owner) {
            self.bound.remove(&key);
            self.freed(machine, address.port());
        }
    }

    /// What a bound socket allows others has changed.
    pub(crate) fn share(&mut self, machine: u32, address: SocketAddr, owner: T, sharing: Sharing) {
        if let Some(key) = self.bound_at(machine, address, owner)
            && let Some(bound) = self.bound.get_mut(&key)
        {
            bound.sharing = sharing;
        }
    }

    /// Has a bound socket listen.
    ///
    /// # Errors
    /// `EADDRINUSE` where another one listens, unless both have SO_REUSEPORT, and where a connection is that does not share the port.
    pub(crate) fn listen(
        &mut self,
        (machine, now): (u32, Nanos),
        address: SocketAddr,
        owner: T,
    ) -> io::Result<()> {
        self.forget_time_wait(now);
        let Some(key) = self.bound_at(machine, address, owner) else { return Ok(()) };
        let mut sharing = self.bound[&key].sharing;
        let others = self.bound_on(machine, address.port()).filter(|(_, bound)| bound.owner != owner);
        let others = others.map(|(other, bound)| (other, bound.sharing));
        let others = others.chain(self.connections_on(machine, address.port()));
        let mut others = others.filter(|(other, theirs)| {
            address::conflict((address.ip(), sharing.only_v6), (*other, theirs.only_v6))
        });
        if !others.all(|(_, theirs)| sharing.allows(theirs)) {
            return Err(address::os_error(libc::EADDRINUSE));
        }
        drop(others);
        sharing.is_listening = true;
        self.bound.insert(key, Bound { owner, sharing });
        Ok(())
    }

    /// Moves a bound socket to another address, at the same port.
    pub(crate) fn relocate(&mut self, machine: u32, from: SocketAddr, owner: T, to: IpAddr) {
        if let Some(key) = self.bound_at(machine, from, owner)
            && let Some(bound) = self.bound.remove(&key)
        {
            self.bound.insert((key.0, number(to), key.2), bound);
        }
    }

    /// The owner that receives packets to `to` and `port`: an exact address before a wildcard, then the one with the highest
    /// score, then the last that was bound.
    pub(crate) fn find(
        &self,
        machine: u32,
        to: IpAddr,
        port: u16,
        score: impl Fn(T) -> Option<u32>,
    ) -> Option<T> {
        let (key, exact) = (port_of(machine, port), number(to));
        let at_address = self.bound.range((key, exact, 0)..=(key, exact, u32::MAX));
        let at_address = at_address.filter_map(|(_, bound)| Some((score(bound.owner)?, bound.owner)));
        let best =
            |(score, owner), (other, next)| if other >= score { (other, next) } else { (score, owner) };
        at_address.reduce(best).map(|(_, owner)| owner).or_else(|| {
            let wildcards = self.bound_on(machine, port).filter(|(bound_ip, bound)| {
                *bound_ip != to && address::covers(*bound_ip, to, bound.sharing.only_v6)
            });
            // Of an IPv4 wildcard and a dual one that of the packet's family comes first.
            let scored = wildcards.filter_map(|(bound_ip, bound)| {
                Some((score(bound.owner)? * 2 + u32::from(bound_ip.is_ipv4()), bound.owner))
            });
            scored.reduce(best).map(|(_, owner)| owner)
        })
    }

    /// All owners of a port at addresses that cover `to`, in the order in which they were bound at each.
    pub(crate) fn covering(&self, machine: u32, to: IpAddr, port: u16) -> Vec<T> {
        let covers =
            |(bound_ip, bound): &(IpAddr, Bound<T>)| address::covers(*bound_ip, to, bound.sharing.only_v6);
        self.bound_on(machine, port).filter(covers).map(|(_, bound)| bound.owner).collect()
    }

    /// The number of taken ports over all machines, without those in TIME_WAIT, for leak tests.
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

    const ALONE: Sharing = Sharing {
        reuse_address: false,
        reuse_port: false,
        only_v6: false,
        is_listening: false,
        interface: None,
    };
    const REUSE: Sharing = Sharing { reuse_address: true, ..ALONE };
    const PORT: Sharing = Sharing { reuse_port: true, ..ALONE };

    fn kind<R>(result: io::Result<R>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn a_wildcard_and_an_address_conflict_and_two_addresses_do_not() {
        let mut ports = Ports::new(0);
        ports.bind((0, 0), on("127.0.0.1:80"), 1, ALONE).unwrap();
        ports.bind((0, 0), on("10.0.0.1:80"), 2, ALONE).unwrap();
        assert_eq!(kind(ports.bind((0, 0), on("0.0.0.0:80"), 3, ALONE)), Some(io::ErrorKind::AddrInUse));
        ports.bind((1, 0), on("0.0.0.0:80"), 4, ALONE).unwrap();
        assert_eq!(ports.find(0, "127.0.0.1".parse().unwrap(), 80, |_| Some(0)), Some(1));
        assert_eq!(ports.find(1, "10.0.0.2".parse().unwrap(), 80, |_| Some(0)), Some(4));
    }

    #[test]
    fn a_port_is_shared_by_those_that_want_to_and_do_not_listen() {
        let mut ports = Ports::new(0);
        let address = on("127.0.0.1:80");
        ports.bind((0, 0), address, 1, REUSE).unwrap();
        ports.bind((0, 0), address, 2, REUSE).unwrap();
        assert_eq!(kind(ports.bind((0, 0), address, 3, ALONE)), Some(io::ErrorKind::AddrInUse));
        ports.listen((0, 0), address, 1).unwrap();
        assert_eq!(kind(ports.listen((0, 0), address, 2)), Some(io::ErrorKind::AddrInUse));
        assert_eq!(kind(ports.bind((0, 0), address, 3, REUSE)), Some(io::ErrorKind::AddrInUse));
        let other = on("127.0.0.1:81");
        for owner in [4, 5] {
            ports.bind((0, 0), other, owner, PORT).unwrap();
            ports.listen((0, 0), other, owner).unwrap();
        }
        assert_eq!(kind(ports.bind((0, 0), other, 6, REUSE)), Some(io::ErrorKind::AddrInUse));
    }

    #[test]
    fn a_connection_keeps_its_port_for_a_minute_unless_all_reuse_the_address() {
        let (mut ports, local, peer) = (Ports::new(0), on("10.0.0.1:80"), on("10.0.0.2:5"));
        ports.enter((0, 0), local, peer, REUSE).unwrap();
        assert_eq!(kind(ports.enter((0, 0), local, peer, REUSE)), Some(io::ErrorKind::AddrNotAvailable));
        ports.close((0, 5), local, peer, true);
        assert_eq!(ports.taken(), 0);
        assert_eq!(kind(ports.bind((0, 6), local, 1, ALONE)), Some(io::ErrorKind::AddrInUse));
        ports.bind((0, 6), local, 1, REUSE).unwrap();
        ports.release(0, local, 1);
        assert_eq!(kind(ports.bind((0, TIME_WAIT + 4), local, 1, ALONE)), Some(io::ErrorKind::AddrInUse));
        ports.bind((0, TIME_WAIT + 5), local, 1, ALONE).unwrap();
    }

    #[test]
    fn every_ephemeral_port_is_given_once_and_then_an_error() {
        let mut ports = Ports::new(0);
        let mut given: Vec<u16> =
            (0..28_232).map(|n| ports.bind((0, 0), on("127.0.0.1:0"), n, REUSE).unwrap().port()).collect();
        given.dedup();
        assert_eq!((given.len(), given[0]), (28_232, 32_768));
        let more = ports.bind((0, 0), on("127.0.0.1:0"), 1 << 30, REUSE);
        assert_eq!(kind(more), Some(io::ErrorKind::AddrInUse));
        ports.release(0, on("127.0.0.1:40000"), 40_000 - 32_768);
        assert_eq!(ports.bind((0, 0), on("127.0.0.1:0"), 1 << 30, ALONE).unwrap().port(), 40_000);
    }

    #[test]
    fn a_port_serves_several_peers() {
        let (mut ports, local) = (Ports::new(0), "10.0.0.1".parse().unwrap());
        let (one, other) = (on("10.0.0.2:80"), on("10.0.0.3:80"));
        ports.bind((0, 0), on("0.0.0.0:40000"), 1, ALONE).unwrap();
        let open = |ports: &mut Ports<u32>, peer| ports.open((0, 0), local, peer, ALONE);
        let mut opened: Vec<u16> = (1..28_232).map(|_| open(&mut ports, one).unwrap().port()).collect();
        assert!(!opened.contains(&40_000), "a bound port is not usable for a connect");
        opened.dedup();
        assert_eq!(opened.len(), 28_231);
        for _ in 0..2 {
            assert_eq!(open(&mut ports, one).unwrap_err().raw_os_error(), Some(libc::EADDRNOTAVAIL));
        }
        let shared = open(&mut ports, other).unwrap();
        assert!(opened.contains(&shared.port()));
        // The port stays taken until both connections are closed.
        ports.close((0, 0), shared, other, false);
        assert_eq!(kind(ports.bind((0, 0), shared, 2, ALONE)), Some(io::ErrorKind::AddrInUse));
        ports.close((0, 0), shared, one, false);
        ports.bind((0, 0), shared, 2, ALONE).unwrap();
        ports.release(0, shared, 2);
        assert_eq!(open(&mut ports, one).unwrap(), shared, "what became free is found again");
        assert_eq!(ports.taken(), 28_232);
    }
}
