//! The loopback network: what an application would see on Linux, not packets.
//!
//! [`Network`] is a machine's way in; `tcp` and `udp` are what it hands out; `connection` is TCP's state machine over
//! `pipe`s; `link` says how long a message takes and
//! whether it gets there, `impairment` what may be wrong on the way; `ports` and `address` say who is who.

mod address;
mod connection;
mod impairment;
mod link;
mod messages;
mod pipe;
mod ports;
mod queue;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::task::Poll;
use std::time::Duration;

use steelmill_core::{Address, AddressError, Daemon, Factory, Result, ToAddress};

pub use impairment::Impairment;
pub use tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpStream, WriteHalf};
pub use udp::UdpSocket;

use crate::kernel::timers::{Nanos, nanos};
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::{self, Cluster};
use crate::machine::world::Process;
use crate::schema::event::{EventKind, LinkChange};
use connection::{CloseMode, Connection, Connections};
pub(crate) use connection::{ConnectionId, Side};
pub(crate) use impairment::Effect;
use link::Links;
use messages::InFlight;
use ports::Ports;
use udp::{SocketId, Sockets};

/// What the run keeps of the network.
pub(crate) struct Net {
    pub(crate) links: Links,
    tcp: Connections,
    tcp_ports: Ports<u32>,
    udp: Sockets,
    udp_ports: Ports<u32>,
    /// Messages on their way, where the run is traced.
    in_flight: InFlight,
    /// Names other than those of machines, in lower case.
    names: BTreeMap<String, Vec<IpAddr>>,
}

/// Something of the network that is due at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Syn(ConnectionId),
    SynAgain(ConnectionId),
    SynAnswer(ConnectionId),
    SynAnswerAgain(ConnectionId),
    Established(ConnectionId),
    ConnectFails(ConnectionId, i32),
    /// What the side has sent arrives at the other.
    Deliver(ConnectionId, Side),
    /// The side learns that it may write again.
    Window(ConnectionId, Side),
    Retransmit(ConnectionId, Side),
    /// The side has tried for long enough since it stalled.
    GiveUp(ConnectionId, Side, Nanos),
    /// The side learns that it was reset.
    Reset(ConnectionId, Side),
    Datagram(u32),
    /// A datagram of the socket found nobody.
    Unreachable(SocketId),
}

pub(crate) fn handle(run: &mut Cluster, event: Event) {
    match event {
        Event::Deliver(id, side) => run.delivered(id, side),
        Event::Window(id, side) => run.window_opens(id, side),
        Event::Syn(id) => run.syn_arrives(id),
        Event::SynAgain(id) => run.send_syn(id),
        Event::SynAnswer(id) => run.syn_answer_arrives(id),
        Event::SynAnswerAgain(id) => run.answer_syn_again(id),
        Event::Established(id) => run.established(id),
        Event::ConnectFails(id, code) => run.connect_fails(id, code),
        Event::Retransmit(id, side) => run.retransmit(id, side),
        Event::GiveUp(id, side, since) => run.give_up(id, side, since),
        Event::Reset(id, side) => run.reset_arrives(id, side),
        Event::Datagram(index) => run.datagram_arrives(index),
        Event::Unreachable(socket) => run.unreachable(socket),
    }
}

impl Net {
    pub(crate) fn new() -> Self {
        Self {
            links: Links::new(),
            tcp: Connections::default(),
            tcp_ports: Ports::new(),
            udp: Sockets::default(),
            udp_ports: Ports::new(),
            in_flight: InFlight::default(),
            names: BTreeMap::new(),
        }
    }

    /// A connection, unless it has been forgotten.
    pub(crate) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.tcp.get(id)
    }

    /// Connections, listeners, UDP sockets, taken ports and rules of links, over all machines.
    pub(crate) fn sizes(&self) -> [usize; 5] {
        let (connections, listeners) = self.tcp.count();
        let ports = self.tcp_ports.taken() + self.udp_ports.taken();
        [connections, listeners, self.udp.count(), ports, self.links.len()]
    }

    /// Who waits for the network: for when the run is over.
    pub(crate) fn take_waiters(&mut self) -> Vec<Waiters> {
        self.tcp.waiters().chain(self.udp.waiters()).map(Waiters::take).collect()
    }
}

/// What faults do to links and machines.
impl Cluster {
    /// Cuts a direction.
    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        self.link_changed(from, to, LinkChange::Cut);
        self.net.links.cut(from, to);
        self.tcp_cut(from, Some(to));
    }

    pub(crate) fn heal(&mut self, from: u32, to: u32) {
        self.link_changed(from, to, LinkChange::Healed);
        self.net.links.heal(from, to);
        self.try_again(from, to);
    }

    /// Cuts a machine off from all others.
    pub(crate) fn isolate(&mut self, machine: u32) {
        self.link_changed(machine, machine, LinkChange::Cut);
        self.net.links.isolate(machine);
        self.tcp_cut(machine, None);
    }

    pub(crate) fn rejoin(&mut self, machine: u32) {
        self.link_changed(machine, machine, LinkChange::Healed);
        self.net.links.rejoin(machine);
        self.tcp_healed(machine, None, |_, _| true);
    }

    pub(crate) fn impair(&mut self, from: u32, to: u32, effect: Effect) {
        self.link_changed(from, to, LinkChange::Impaired);
        self.net.links.impair(from, to, effect);
    }

    pub(crate) fn repair(&mut self, from: u32, to: u32, effect: &Effect) {
        self.link_changed(from, to, LinkChange::Repaired);
        self.net.links.repair(from, to, effect);
        self.try_again(from, to);
    }

    /// Keeps what is sent in a direction until it is released.
    pub(crate) fn hold(&mut self, from: u32, to: u32) {
        self.link_changed(from, to, LinkChange::Held);
        self.net.links.hold(from, to);
        self.tcp_cut(from, Some(to));
    }

    /// Lets go what was held: all of it arrives one least latency later, in the order it was sent.
    pub(crate) fn release(&mut self, from: u32, to: u32) {
        self.link_changed(from, to, LinkChange::Released);
        let Some(held) = self.net.links.release(from, to) else { return };
        let at = self.kernel.now + self.net.links.range(from, to).0;
        for event in held {
            self.schedule(at, event);
        }
        self.tcp_released(from, to);
    }

    /// Keeps something that was sent until its way is released.
    fn keep(&mut self, from: u32, to: u32, event: Event) {
        self.net.links.keep(from, to, event);
        self.note_kept(event);
    }

    /// Resets every connection between two machines, as something between them may that has forgotten them.
    pub(crate) fn reset_connections(&mut self, a: u32, b: u32) {
        self.link_changed(a, b, LinkChange::Reset);
        self.tcp_reset_between(a, b);
    }

    fn link_changed(&mut self, from: u32, to: u32, change: LinkChange) {
        self.kernel.happened(EventKind::Link { from, to, change });
    }

    fn try_again(&mut self, from: u32, to: u32) {
        if self.net.links.is_open(from, to) {
            self.tcp_healed(from, Some(to), |a, b| (a, b) == (from, to));
        }
    }

    /// A machine without power is back on the network.
    pub(crate) fn reachable_again(&mut self, machine: u32) {
        self.tcp_healed(machine, None, |_, to| to == machine);
    }

    /// A machine's process has ended, politely or with its power.
    pub(crate) fn sockets_gone(&mut self, machine: u32, polite: bool) {
        self.tcp_machine_gone(machine, if polite { CloseMode::Close } else { CloseMode::Silent });
        self.udp_machine_gone(machine);
        if !polite {
            self.tcp_cut(machine, None);
        }
    }

    /// Gives a name to addresses, or takes it away where there are none.
    pub(crate) fn set_name(&mut self, name: &str, addresses: &[IpAddr]) {
        let name = name.to_ascii_lowercase();
        if addresses.is_empty() {
            self.net.names.remove(&name);
        } else {
            self.net.names.insert(name, addresses.to_vec());
        }
    }

    /// What a name stands for: a machine, or what the scenario has named.
    fn addresses_of(&self, name: &str, port: u16) -> Option<Addresses> {
        if let Some(machine) = self.hosts.by_name(name) {
            return Some(Addresses::one(SocketAddr::new(address_of(machine), port)));
        }
        let several = self.net.names.get(&name.to_ascii_lowercase())?.clone();
        Some(Addresses { one: None, several: several.into_iter(), port })
    }
}

/// The least and the greatest of a range of latencies.
pub(crate) fn bounds(latency: &RangeInclusive<Duration>) -> (Nanos, Nanos) {
    let (least, greatest) = (nanos(*latency.start()), nanos(*latency.end()));
    assert!(least <= greatest, "a range of latencies begins with the least: {latency:?}");
    (least, greatest)
}

/// The default address of a machine.
pub(crate) fn address_of(machine: u32) -> IpAddr {
    address::v4(machine)
}

/// The loopback network, as seen from one machine.
#[derive(Debug, Clone, Copy)]
pub struct Network(pub(crate) Process);

impl Network {
    /// Listens for TCP connections; port 0 takes a free one. Machines let every process listen on every port.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable` for an address of another machine, and those of [`lookup`](Network::lookup).
    pub async fn bind(&self, address: impl ToAddress) -> io::Result<TcpListener> {
        let attempt = async |address| {
            let listener = TcpListener::listen(self.0, address);
            listener.map_err(|error| AddressError::listen(address, error))
        };
        Address::first_of(self.resolve(address.to_address())?, attempt).await
    }

    /// Opens a TCP connection, trying each address of a name in turn.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut`, `HostUnreachable`, `AddrNotAvailable` when no port is left to connect from, and
    /// those of [`lookup`](Network::lookup). The last address's error.
    pub async fn connect(&self, address: impl ToAddress) -> io::Result<TcpStream> {
        let attempt = async |address| {
            let stream = TcpStream::connect(self.0, address).await;
            stream.map_err(|error| AddressError::connect(address, error))
        };
        Address::first_of(self.resolve(address.to_address())?, attempt).await
    }

    /// Binds a UDP socket; port 0 takes a free one.
    ///
    /// # Errors
    /// As [`bind`](Network::bind).
    pub async fn bind_udp(&self, address: impl ToAddress) -> io::Result<UdpSocket> {
        let attempt = async |address| {
            let socket = UdpSocket::open(self.0, address);
            socket.map_err(|error| AddressError::listen(address, error))
        };
        Address::first_of(self.resolve(address.to_address())?, attempt).await
    }

    /// The addresses of a name, in the order they are to be tried: machines are known by theirs, and a scenario may
    /// [name](crate::Sim::set_name) others.
    ///
    /// # Errors
    /// `InvalidInput` for a malformed address; an unknown name is an error that says so.
    pub async fn lookup(&self, address: impl ToAddress) -> io::Result<Vec<SocketAddr>> {
        Ok(self.resolve(address.to_address())?.collect())
    }

    /// The addresses to try.
    #[inline]
    fn resolve(&self, address: Address<'_>) -> io::Result<Addresses> {
        match address.parse()? {
            Address::Socket(address) => Ok(Addresses::one(address)),
            Address::Host(name, port) => self.lookup_host(name, port),
            Address::Text(_) => unreachable!("parse takes written addresses apart"),
        }
    }

    fn lookup_host(&self, name: &str, port: u16) -> io::Result<Addresses> {
        if name.eq_ignore_ascii_case("localhost") {
            return Ok(Addresses::one(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
        }
        // On Linux, too, the resolver's error has no kind of its own.
        cluster::with(self.0.run, |run| run.addresses_of(name, port)).ok_or_else(|| {
            let text = format!("failed to lookup address information: no machine is called {name:?}");
            io::Error::other(text)
        })
    }
}

/// The addresses of a name: nearly always one, which allocates nothing.
struct Addresses {
    one: Option<SocketAddr>,
    several: std::vec::IntoIter<IpAddr>,
    port: u16,
}

impl Addresses {
    #[inline]
    fn one(address: SocketAddr) -> Self {
        Self { one: Some(address), several: Vec::new().into_iter(), port: address.port() }
    }
}

impl Iterator for Addresses {
    type Item = SocketAddr;

    #[inline]
    fn next(&mut self) -> Option<SocketAddr> {
        self.one.take().or_else(|| self.several.next().map(|ip| SocketAddr::new(ip, self.port)))
    }
}

/// Waits until `attempt` gives something; while it does not, it has to see to it that the waiter is woken.
async fn until<T>(mut attempt: impl FnMut(Waiter) -> io::Result<Option<T>> + Unpin) -> io::Result<T> {
    poll_fn(|context| poll_of(attempt(Waiter::of(context.waker())))).await
}

fn poll_of<T>(result: io::Result<Option<T>>) -> Poll<io::Result<T>> {
    match result {
        Ok(Some(done)) => Poll::Ready(Ok(done)),
        Ok(None) => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    }
}

impl Daemon for Network {
    fn build(factory: &mut Factory) -> Result<Self> {
        Err(crate::machine::world::comes_with_its_machine::<Self>(factory))
    }
}

impl steelmill_core::Network for Network {
    type TcpListener = TcpListener;
    type TcpStream = TcpStream;
    type UdpSocket = UdpSocket;

    async fn bind(&self, address: impl ToAddress) -> io::Result<TcpListener> {
        self.bind(address).await
    }

    async fn connect(&self, address: impl ToAddress) -> io::Result<TcpStream> {
        self.connect(address).await
    }

    async fn bind_udp(&self, address: impl ToAddress) -> io::Result<UdpSocket> {
        self.bind_udp(address).await
    }

    async fn lookup(&self, address: impl ToAddress) -> io::Result<Vec<SocketAddr>> {
        self.lookup(address).await
    }
}
