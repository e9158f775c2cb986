//! The simulated network: TCP, UDP and name lookup as an application sees them on Linux, without packets.

mod address; // IP addresses of machines
mod connection; // TCP's state machine
mod congestion; // TCP's congestion window
mod impairment; // delay, loss, duplication, reordering, bandwidth
pub(crate) mod interfaces; // the network interfaces of a machine
mod link; // latency, cuts and holds between two machines; retransmission timeouts
mod messages; // messages in the trace
mod names; // host names, and trouble with looking them up
pub(crate) mod options; // socket options
mod pipe; // one direction of a TCP connection
mod ports; // bound and ephemeral ports
mod queue; // a FIFO queue with one inline slot
mod scope; // IPv6 addresses of one link
mod socket; // sockets as system calls see them
mod tcp; // TcpSocket, TcpListener, TcpStream and its halves
mod udp; // UdpSocket
mod unix; // Unix sockets

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::task::Poll;
use std::time::Duration;

use steelmill_core::{Address, AddressError, Daemon, Factory, Result, ToAddress};

use address::AddressBook;
pub use impairment::Impairment;
pub(crate) use socket::{Name, NameFamily, Socket, SocketAddress};
pub use tcp::{
    OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpSocket, TcpStream, WriteHalf,
};
pub(crate) use udp::Interface;
pub use udp::UdpSocket;
pub(crate) use unix::UnixName;

use crate::kernel::timers::{Nanos, nanos};
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::Cluster;
use crate::machine::world::Process;
use crate::schema::event::{EventKind, LinkChange, MachineChange};
use crate::schema::segment::Segment;
use connection::{ACCEPTOR, CONNECTOR};
use connection::{CloseMode, Connection, Connections};
pub(crate) use connection::{ConnectionId, Side};
pub(crate) use impairment::Effect;
pub use link::{InFlightAtCut, SynSchedule};
use link::{Links, STRANDED};
use messages::InFlight;
use names::Names;
pub use names::{LookupTrouble, TroubledLookups};
use ports::Ports;
use udp::{SocketId, Sockets};

/// Where ephemeral ports of UDP begin: in the middle, so that a TCP port and a UDP port are hardly ever the same, which a
/// program could come to rely on.
const UDP_PORTS_FROM: u16 = 14_000;

pub(crate) struct Net {
    pub(crate) links: Links,
    tcp: Connections,
    tcp_ports: Ports<u32>,
    udp: Sockets,
    udp_ports: Ports<u32>,
    unix: unix::UnixSockets,
    /// Messages in flight, if the run is traced.
    in_flight: InFlight,
    names: Names,
    pub(crate) addresses: AddressBook,
}

/// A timed event of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Syn(ConnectionId),
    RetransmitSyn(ConnectionId),
    SynAck(ConnectionId),
    RetransmitSynAck(ConnectionId),
    Established(ConnectionId),
    ConnectFails(ConnectionId, i32),
    /// A flight of the side arrives at its peer.
    Deliver(ConnectionId, Side),
    WindowUpdate(ConnectionId, Side),
    /// An acknowledgement of what the side has sent arrives, which congestion control counts.
    Acknowledged(ConnectionId, Side),
    Retransmit(ConnectionId, Side),
    /// The side's retransmission timeout, for the stall that began at that time.
    RetriesExhausted(ConnectionId, Side, Nanos),
    Reset(ConnectionId, Side),
    Datagram(u32),
    Unreachable(SocketId),
    /// The side's keepalive timer, which is to end at that time.
    Keepalive(ConnectionId, Side, Nanos),
}

pub(crate) fn handle(run: &mut Cluster, event: Event) {
    if run.hosts.suspended > 0 && run.is_slept_through(event) {
        return;
    }
    match event {
        Event::Deliver(id, side) => run.segment_arrives(id, side),
        Event::WindowUpdate(id, side) => run.window_update_arrives(id, side),
        Event::Acknowledged(id, side) => run.acknowledgement_arrives(id, side),
        Event::Syn(id) if run.is_handshake_segment_lost(id, CONNECTOR) => {}
        Event::Syn(id) => run.syn_arrives(id),
        Event::RetransmitSyn(id) => run.send_syn(id),
        Event::SynAck(id) if run.is_handshake_segment_lost(id, ACCEPTOR) => {}
        Event::SynAck(id) => run.syn_ack_arrives(id),
        Event::RetransmitSynAck(id) => run.retransmit_syn_ack(id),
        Event::Established(id) if run.is_handshake_segment_lost(id, CONNECTOR) => {}
        Event::Established(id) => run.established(id),
        Event::ConnectFails(id, libc::ECONNREFUSED) if run.is_handshake_segment_lost(id, ACCEPTOR) => {}
        Event::ConnectFails(id, code) => run.connect_fails(id, code),
        Event::Retransmit(id, side) => run.retransmit(id, side),
        Event::RetriesExhausted(id, side, since) => run.retries_exhausted(id, side, since),
        Event::Reset(id, side) => run.reset_arrives(id, side),
        Event::Keepalive(id, side, due) => run.keepalive_timer_ends(id, side, due),
        Event::Datagram(index) => run.datagram_arrives(index),
        Event::Unreachable(socket) => run.port_unreachable_arrives(socket),
    }
}

impl Net {
    pub(crate) fn new() -> Self {
        Self {
            links: Links::new(),
            tcp: Connections::default(),
            tcp_ports: Ports::new(0),
            udp: Sockets::default(),
            udp_ports: Ports::new(UDP_PORTS_FROM),
            unix: unix::UnixSockets::default(),
            in_flight: InFlight::default(),
            names: Names::default(),
            addresses: AddressBook::default(),
        }
    }

    pub(crate) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.tcp.get(id)
    }

    /// Numbers of connections, listeners, UDP sockets, taken ports and link rules, over all machines.
    pub(crate) fn sizes(&self) -> [usize; 5] {
        let (connections, listeners) = self.tcp.count();
        let ports = self.tcp_ports.taken() + self.udp_ports.taken();
        [connections, listeners, self.udp.count(), ports, self.links.len()]
    }

    pub(crate) fn take_waiters(&mut self) -> Vec<Waiters> {
        self.tcp.waiters().chain(self.udp.waiters()).chain(self.unix.waiters()).map(Waiters::take).collect()
    }
}

/// Effects of faults on links and sockets.
impl Cluster {
    /// Drops what is sent in one direction, until as many heals as cuts.
    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        self.link_changed(from, to, LinkChange::Cut);
        self.net.links.cut(from, to);
        self.tcp_lose_in_flight(from, Some(to), |a, b| (a, b) == (from, to));
        self.udp_lose_in_flight(|a, b| (a, b) == (from, to));
        self.tcp_link_blocked(from, Some(to));
    }

    pub(crate) fn heal(&mut self, from: u32, to: u32) {
        self.link_changed(from, to, LinkChange::Healed);
        self.net.links.heal(from, to);
        self.retransmit_between(from, to);
    }

    pub(crate) fn isolate(&mut self, machine: u32) {
        self.link_changed(machine, machine, LinkChange::Cut);
        self.net.links.isolate(machine);
        self.tcp_lose_in_flight(machine, None, |_, _| true);
        self.udp_lose_in_flight(|a, b| a == machine || b == machine);
        self.tcp_link_blocked(machine, None);
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
        self.retransmit_between(from, to);
    }

    /// Loses the `nth` segment of a kind in one direction. Returns the number by which that is taken back.
    pub(crate) fn lose_segment(&mut self, (from, to): (u32, u32), segment: Segment, nth: u32) -> u32 {
        self.link_changed(from, to, LinkChange::Impaired);
        self.net.links.lose_segment(from, to, segment, nth)
    }

    /// Loses it no more, if it was not sent yet.
    pub(crate) fn keep_segments(&mut self, (from, to): (u32, u32), number: u32) {
        self.link_changed(from, to, LinkChange::Repaired);
        self.net.links.keep_segments(from, to, number);
    }

    /// Gives a machine other addresses, at which its name is found from now on, or its first ones back. What is sent to those that it
    /// had before finds nobody, and its sockets that have one of them send nothing.
    pub(crate) fn change_address(&mut self, machine: u32, is_first: bool) -> Ipv4Addr {
        let before = self.interfaces(machine);
        let was_changed = self.net.addresses.restore(machine);
        let is_changed = !is_first;
        if is_changed {
            self.net.addresses.change(machine);
        }
        let ip = self.net.addresses.v4(machine);
        match (was_changed, is_changed) {
            (false, true) => self.net.links.isolate(STRANDED),
            (true, false) => self.net.links.rejoin(STRANDED),
            _ => {}
        }
        if was_changed || is_changed {
            let change = MachineChange::Address { ip, is_first };
            self.kernel.happened(EventKind::Machine { machine, change });
            self.tcp_address_changed(machine);
            self.netlink_address_changed(machine, &before);
        }
        ip
    }

    /// Queues what is sent in one direction until it is released.
    pub(crate) fn hold(&mut self, from: u32, to: u32) {
        self.link_changed(from, to, LinkChange::Held);
        self.net.links.hold(from, to);
        self.tcp_link_blocked(from, Some(to));
    }

    /// Takes one hold off. After the last, held messages arrive one minimum latency later, in the order they were sent.
    pub(crate) fn release(&mut self, from: u32, to: u32) {
        self.link_changed(from, to, LinkChange::Released);
        let Some(held) = self.net.links.release(from, to) else { return };
        let at = self.kernel.now + self.net.links.range(from, to).0;
        for event in held {
            self.udp_released(event);
            self.schedule(at, event);
        }
        self.tcp_released(from, to);
    }

    fn hold_event(&mut self, from: u32, to: u32, event: Event) {
        self.net.links.hold_event(from, to, event);
        self.trace_held(event);
    }

    /// Resets every connection between two machines, as a middlebox that lost its connection table does.
    pub(crate) fn reset_connections(&mut self, a: u32, b: u32) {
        self.link_changed(a, b, LinkChange::Reset);
        self.tcp_reset_between(a, b);
    }

    fn link_changed(&mut self, from: u32, to: u32, change: LinkChange) {
        self.kernel.happened(EventKind::Link { from, to, change });
    }

    fn retransmit_between(&mut self, from: u32, to: u32) {
        if self.net.links.is_open(from, to) {
            self.tcp_healed(from, Some(to), |a, b| (a, b) == (from, to));
        }
    }

    /// A machine hears no more: its peers notice that their windows stay closed.
    pub(crate) fn machine_is_silent(&mut self, machine: u32) {
        self.tcp_link_blocked(machine, None);
    }

    /// A suspended machine neither hears what arrives from others nor does what its kernel has to. Whether the event is one of these.
    #[cold]
    fn is_slept_through(&mut self, event: Event) -> bool {
        let [connector, acceptor] = [CONNECTOR, ACCEPTOR];
        let (id, at_sender, is_arrival) = match event {
            Event::Syn(id) => (id, connector, true),
            Event::RetransmitSyn(id) => (id, connector, false),
            Event::SynAck(id) => (id, acceptor, true),
            Event::RetransmitSynAck(id) => (id, acceptor, false),
            Event::Established(id) => (id, connector, true),
            Event::ConnectFails(id, libc::ECONNREFUSED) => (id, acceptor, true),
            Event::ConnectFails(id, _) => (id, connector, false),
            Event::Deliver(id, side) => (id, side, true),
            Event::WindowUpdate(id, side) | Event::Acknowledged(id, side) => (id, side, false),
            Event::Retransmit(id, side)
            | Event::RetriesExhausted(id, side, _)
            | Event::Keepalive(id, side, _) => (id, side, false),
            Event::Reset(id, side) => (id, 1 - side, true),
            Event::Datagram(index) => {
                let within = self.net.udp.is_within_machine(index);
                return within.is_some_and(|machine| self.defers_until_awake(machine, event));
            }
            Event::Unreachable(socket) => {
                return self
                    .net
                    .udp
                    .machine_of(socket)
                    .is_some_and(|machine| self.hosts.silence(machine).is_some());
            }
        };
        let Some(connection) = self.net.tcp.get(id) else { return false };
        let (from, to) = connection.link(at_sender);
        if !is_arrival || from == to {
            return self.defers_until_awake(from, event);
        }
        let is_of_handshake =
            matches!(event, Event::SynAck(_) | Event::Established(_) | Event::ConnectFails(..));
        let is_lost = is_of_handshake && self.hosts.silence(to).is_some();
        if is_lost {
            self.handshake_segment_unheard(id);
        }
        is_lost // where others arrive that is looked at
    }

    /// A machine has power again, or is awake: its peers retransmit.
    pub(crate) fn machine_hears_again(&mut self, machine: u32) {
        self.tcp_healed(machine, None, |_, to| to == machine);
    }

    /// Closes the sockets of a machine whose process has ended. Without power it sends no FIN and no RST.
    pub(crate) fn close_sockets(&mut self, machine: u32, has_power: bool) {
        self.tcp_process_ended(machine, if has_power { CloseMode::Close } else { CloseMode::Silent });
        self.udp_process_ended(machine);
        if !has_power {
            self.net.tcp_ports.lose_time_wait(machine);
            self.machine_is_silent(machine);
        }
    }
}

/// The minimum and maximum of a range of latencies, in nanoseconds.
pub(crate) fn bounds(latency: &RangeInclusive<Duration>) -> (Nanos, Nanos) {
    let (min, max) = (nanos(*latency.start()), nanos(*latency.end()));
    assert!(min <= max, "the minimum latency is above the maximum: {latency:?}");
    (min, max)
}

/// The network of one machine: binds TCP listeners and UDP sockets, opens TCP connections, looks up names.
#[derive(Debug, Clone, Copy)]
pub struct Network(pub(crate) Process);

impl Network {
    /// Listens for TCP connections, at the first address of several that works. Port 0 takes an ephemeral port; ports below 1024 need
    /// no privilege.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable` for an address of another machine, and those of [`lookup`](Network::lookup).
    pub async fn bind(&self, address: impl ToAddress) -> io::Result<TcpListener> {
        let attempt = async |address| {
            let listener = TcpListener::listen(self.0, address);
            listener.map_err(|error| AddressError::listen(address, error))
        };
        Address::first_of(self.resolve(address.to_address()).await?, attempt).await
    }

    /// Opens a TCP connection, and tries each address of a name, or of several addresses, in turn.
    ///
    /// # Errors
    /// The error of the last address: `ConnectionRefused`, `TimedOut` (after 131 s), `HostUnreachable`, or
    /// `AddrNotAvailable` when no ephemeral port is left. Those of [`lookup`](Network::lookup).
    pub async fn connect(&self, address: impl ToAddress) -> io::Result<TcpStream> {
        let attempt = async |address| {
            let stream = TcpStream::connect(self.0, address).await;
            stream.map_err(|error| AddressError::connect(address, error))
        };
        Address::first_of(self.resolve(address.to_address()).await?, attempt).await
    }

    /// A TCP socket of IPv4, to be bound and given options before it listens or connects: tokio's `TcpSocket::new_v4`.
    ///
    /// # Errors
    /// None in the simulation; of descriptors there are enough.
    pub fn tcp_socket_v4(&self) -> io::Result<TcpSocket> {
        Ok(TcpSocket::new(self.0, false))
    }

    /// As [`tcp_socket_v4`](Network::tcp_socket_v4), of IPv6.
    ///
    /// # Errors
    /// As there.
    pub fn tcp_socket_v6(&self) -> io::Result<TcpSocket> {
        Ok(TcpSocket::new(self.0, true))
    }

    /// Binds a UDP socket. Port 0 takes an ephemeral port.
    ///
    /// # Errors
    /// As [`bind`](Network::bind).
    pub async fn bind_udp(&self, address: impl ToAddress) -> io::Result<UdpSocket> {
        let attempt = async |address| {
            let socket = UdpSocket::open(self.0, address);
            socket.map_err(|error| AddressError::listen(address, error))
        };
        Address::first_of(self.resolve(address.to_address()).await?, attempt).await
    }

    /// Resolves a name to addresses, in the order to try them: the name of a machine, `localhost`, or one that the
    /// scenario [set](crate::Sim::set_name).
    ///
    /// # Errors
    /// `InvalidInput` for a malformed address; an error of kind `Other` for an unknown name, and for a lookup that
    /// [fails](crate::Machine::trouble_lookups).
    pub async fn lookup(&self, address: impl ToAddress) -> io::Result<Vec<SocketAddr>> {
        Ok(self.resolve(address.to_address()).await?.collect())
    }
}

/// Waits until `attempt` returns a value or an error. While it returns `None`, it must register the waiter.
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
        Err(crate::machine::world::needs_machine::<Self>(factory))
    }
}

impl steelmill_core::Network for Network {
    type TcpListener = TcpListener;
    type TcpStream = TcpStream;
    type TcpSocket = TcpSocket;
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

    fn tcp_socket_v4(&self) -> io::Result<TcpSocket> {
        self.tcp_socket_v4()
    }

    fn tcp_socket_v6(&self) -> io::Result<TcpSocket> {
        self.tcp_socket_v6()
    }
}
