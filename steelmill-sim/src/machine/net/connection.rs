//! The TCP state machine: connections, their two ends, listeners and backlogs, driven by arrival events.
//!
//! A handshake is three events (SYN, SYN-ACK, ACK); data is one event per flight that arrives, of as many segments as were
//! sent at once; acknowledgements are implied, unless [`congestion`](super::congestion) counts them. A sender behind a cut stalls and retransmits; [`link`](super::link) has the
//! timeouts.

mod data; // read, write, window, retransmission, half-close
mod ending; // close, reset, orphan, power loss
mod keepalive; // how an end finds out that its peer is gone
mod stranding; // ends whose address their machine has lost
mod handshake; // listen, SYN, SYN-ACK, ACK, accept

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use super::address;
use super::link::STRANDED;
use super::options::Options;
use super::pipe::Pipe;
use crate::kernel::machine_index::MachineIndex;
use crate::kernel::timers::Nanos;
use crate::kernel::waiter::Waiters;
use keepalive::Keepalive;

/// A connection's index in [`Connections::all`]. The generation detects a reused slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    index: u32,
    generation: u32,
}

impl ConnectionId {
    /// The connection number in a trace; not unique over a run.
    pub(crate) fn number(self) -> u32 {
        self.index
    }
}

/// An end of a connection: the connector (active open) or the acceptor (passive open).
pub(crate) type Side = u8;
pub(crate) const CONNECTOR: Side = 0;
pub(crate) const ACCEPTOR: Side = 1;

/// A connection. Fields that every message reads come first: with a thousand connections cache lines dominate the cost.
#[repr(C)]
pub(crate) struct Connection {
    generation: u32,
    ends: [End; 2],
    /// Indexed by the side that writes.
    pipes: [Pipe; 2],
    addresses: [Addresses; 2],
    /// The base of the SYN retransmission schedule.
    connect_started_at: Nanos,
    /// When the first SYN arrived: the base of the SYN-ACK retransmission schedule.
    syn_arrived_at: Nanos,
    /// By the side that sent it, when the segment of the handshake that is in flight arrives; `HELD` while it is held, or after
    /// that.
    handshake_due: [Nanos; 2],
    listener: Option<ListenerId>,
    /// The port that the connector was bound to before, if the connection has to give it back.
    pub(super) bound: Option<ListenerId>,
    options: [Options; 2],
    /// Whether an end is entered among the connections of its port.
    has_port: [bool; 2],
    /// By side, whether its machine no longer has its address.
    is_stranded: [bool; 2],
    /// What [`way`](Connection::way) gives, by side.
    ways: [(u32, u32); 2],
    keepalives: [Keepalive; 2],
    /// The last ACK of its handshake found the backlog full, and no SYN-ACK was sent again since.
    is_ack_dropped: bool,
    /// Its SYN was answered by a cookie: the SYN-ACK is not sent again.
    has_cookie: bool,
    /// Whether its segments are those of IPv6.
    is_ipv6: bool,
    /// Whether a socket has connected to itself: what the connector writes it reads, and there is no acceptor.
    is_self: bool,
}

/// The arrival of a segment that nothing can be lost of.
const HELD: Nanos = Nanos::MAX;

/// The addresses of an end, in the address family of its socket.
pub(crate) struct Addresses {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

pub(crate) struct End {
    machine: u32,
    pub(crate) state: State,
    /// Handles that own the end: one stream, or two halves.
    pub(crate) handles: u8,
    /// An error its owner has not seen yet, as Linux's number for it.
    pub(super) error: Option<i32>,
    /// Whether its owner reads no more (`SHUT_RD`).
    pub(crate) is_read_shut: bool,
    pub(crate) readers: Waiters,
    pub(crate) writers: Waiters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The acceptor's end before a SYN has arrived, or after its handshake was dropped.
    NotCreated,
    SynSent,
    SynReceived,
    Established,
    /// Reset or timed out; handles still own it.
    Failed,
    /// Closed by its handles after all data was read. The kernel still sends unsent bytes and the FIN.
    Orphaned,
    /// No socket is left: segments that arrive are answered with a RST.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseMode {
    /// close(2): a FIN, or a RST when received data was left unread.
    Close,
    Reset,
    /// The machine has lost power: nothing is sent.
    Silent,
}

/// A listener's index in [`Connections::listeners`]. The generation detects a reused slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenerId {
    index: u32,
    generation: u32,
}

pub(crate) struct Listener {
    generation: u32,
    machine: u32,
    pub(super) local: SocketAddr,
    /// Connections that wait to be accepted, and how many handshakes it remembers (those with a cookie it does not).
    pub(super) backlog: VecDeque<ConnectionId>,
    /// It is full when there are more than so many.
    pub(super) backlog_max: usize,
    syn_queue_len: usize,
    pub(crate) waiters: Waiters,
    /// Inherited by accepted connections.
    pub(crate) options: Options,
    /// It is only bound as yet: whoever connects is refused.
    pub(crate) is_listening: bool,
}

impl Listener {
    /// Whether a SYN, or the last ACK of a handshake, is dropped (`sk_acceptq_is_full()`).
    fn is_full(&self) -> bool {
        self.backlog.len() > self.backlog_max
    }
}

#[derive(Default)]
pub(crate) struct Connections {
    all: Vec<Connection>,
    free: Vec<u32>,
    listeners: Vec<Listener>,
    free_listeners: Vec<u32>,
    /// The ends of each machine, until their connection is freed.
    ends: MachineIndex,
    /// Ends whose data or acknowledgements do not get through.
    stalled: EndsByLink,
    blocked_writers: EndsByLink,
}

/// Slots of ends by the pair of machines they connect; each slot has an entry for either order of the pair.
#[derive(Default)]
struct EndsByLink(BTreeSet<(u32, u32, u32)>);

impl Connections {
    pub(super) fn waiters(&mut self) -> impl Iterator<Item = &mut Waiters> {
        let ends = self.all.iter_mut().flat_map(|connection| &mut connection.ends);
        let ends = ends.flat_map(|end| [&mut end.readers, &mut end.writers]);
        ends.chain(self.listeners.iter_mut().map(|listener| &mut listener.waiters))
    }
}

impl EndsByLink {
    fn enter(&mut self, (from, to): (u32, u32), slot: u32) {
        self.0.insert((from, to, slot));
        self.0.insert((to, from, slot));
    }

    fn leave(&mut self, (from, to): (u32, u32), slot: u32) {
        self.0.remove(&(from, to, slot));
        self.0.remove(&(to, from, slot));
    }

    /// Slots between `machine` and `other`, or any other machine.
    fn between(&self, machine: u32, other: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        let (least, greatest) = other.map_or((0, u32::MAX), |other| (other, other));
        self.0.range((machine, least, 0)..=(machine, greatest, u32::MAX)).map(|(_, _, slot)| *slot)
    }
}

impl End {
    fn new(machine: u32, state: State) -> Self {
        Self {
            machine,
            state,
            handles: 1,
            error: None,
            is_read_shut: false,
            readers: Waiters::default(),
            writers: Waiters::default(),
        }
    }

    #[inline]
    pub(crate) fn take_error(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), |code| Err(address::os_error(code)))
    }
}

impl Addresses {
    /// Maps IPv4 addresses to IPv6, for an IPv6 socket.
    fn map_to_ipv6(&mut self) {
        self.local = address::ipv6_mapped(self.local);
        self.peer = address::ipv6_mapped(self.peer);
    }
}

impl State {
    fn has_no_owner(self) -> bool {
        matches!(self, State::NotCreated | State::Orphaned | State::Closed)
    }
}

impl Connection {
    #[inline]
    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[usize::from(side)]
    }

    pub(crate) fn addresses(&mut self, side: Side) -> &mut Addresses {
        &mut self.addresses[usize::from(side)]
    }

    /// Whether a RST that an end's host sends for no socket is lost: from another IPv6 address of the machine Linux finds no way to ::1, as
    /// it asks for the interface at which the segment came (`tcp_v6_send_response()`).
    fn is_answered_by_nobody(&mut self, side: Side) -> bool {
        let Addresses { local, peer } = self.addresses(side);
        peer.ip() == Ipv6Addr::LOCALHOST && local.ip() != Ipv6Addr::LOCALHOST
    }

    /// The side that reads what `side` writes.
    #[inline]
    fn other(&self, side: Side) -> Side {
        if self.is_self { side } else { 1 - side }
    }

    pub(crate) fn options(&mut self, side: Side) -> &mut Options {
        &mut self.options[usize::from(side)]
    }

    /// The pipe that `side` writes.
    #[inline]
    pub(crate) fn out(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[usize::from(side)]
    }

    /// The pipe that `side` reads.
    #[inline]
    pub(super) fn into(&mut self, side: Side) -> &mut Pipe {
        let other = self.other(side);
        &mut self.pipes[usize::from(other)]
    }

    /// The link that `side` sends on: its own machine and its peer's.
    #[inline]
    pub(crate) fn link(&self, side: Side) -> (u32, u32) {
        (self.ends[usize::from(side)].machine, self.ends[usize::from(1 - side)].machine)
    }

    /// As [`link`](Connection::link), for [`Links`](super::link::Links): nothing gets through if an end has lost its address.
    #[inline]
    pub(crate) fn way(&self, side: Side) -> (u32, u32) {
        self.ways[usize::from(side)]
    }

    /// Whether the machine of `side` no longer has its address; returns whether that was so before.
    fn set_stranded(&mut self, side: Side, is_stranded: bool) -> bool {
        let was_stranded = std::mem::replace(&mut self.is_stranded[usize::from(side)], is_stranded);
        let mark = if self.is_stranded == [false; 2] { 0 } else { STRANDED };
        self.ways = [CONNECTOR, ACCEPTOR].map(|side| {
            let (from, to) = self.link(side);
            (from | mark, to)
        });
        was_stranded
    }

    /// Half-closes what `side` writes. Whether it was not before.
    fn queue_fin(&mut self, side: Side) -> bool {
        let has_ended = self.into(side).has_fin_arrived();
        let pipe = self.out(side);
        let is_new = !pipe.has_fin();
        if is_new {
            pipe.is_closed_first = !has_ended;
            pipe.queue_fin();
        }
        is_new
    }

    /// Whether a side that is gone is left in TIME_WAIT: both were closed in order, and it was closed first.
    fn ends_in_time_wait(&mut self, side: Side) -> bool {
        let ends = [side, self.other(side)];
        ends.into_iter().all(|end| self.end(end).state == State::Orphaned) && self.out(side).is_closed_first
    }

    pub(crate) fn is_readable(&mut self, side: Side) -> bool {
        self.end(side).state != State::Established
            || self.end(side).is_read_shut
            || self.into(side).readable() > 0
            || self.into(side).has_fin_arrived()
    }

    /// Whether a write would not block: it fails, or there is room.
    pub(crate) fn is_writable(&mut self, side: Side, now: Nanos) -> bool {
        self.end(side).state != State::Established
            || self.out(side).is_write_shut()
            || self.out(side).usable_window(now) > 0
    }
}

/// The key of an end in [`MachineIndex`] and [`EndsByLink`].
fn end_slot(index: u32, side: Side) -> u32 {
    index << 1 | u32::from(side)
}

impl Connections {
    #[inline]
    pub(crate) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.all.get_mut(id.index as usize).filter(|connection| connection.generation == id.generation)
    }

    pub(crate) fn listener(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.listeners.get_mut(id.index as usize).filter(|listener| listener.generation == id.generation)
    }

    /// Adds a connection. The acceptor's machine may not exist, if it is not below `machines`.
    fn insert(
        &mut self,
        connect_started_at: Nanos,
        ends: [End; 2],
        addresses: [Addresses; 2],
        options: Options,
        machines: usize,
    ) -> ConnectionId {
        let [connector, acceptor] = [CONNECTOR, ACCEPTOR].map(|side| ends[usize::from(side)].machine);
        let is_ipv6 = address::canonical(addresses[usize::from(CONNECTOR)].peer).is_ipv6();
        let pipes = Default::default();
        let mut connection = Connection {
            generation: 0,
            ends,
            pipes,
            addresses,
            connect_started_at,
            syn_arrived_at: 0,
            handshake_due: [HELD; 2],
            listener: None,
            bound: None,
            options: [options; 2],
            has_port: [true, false],
            is_stranded: [false; 2],
            ways: [(connector, acceptor), (acceptor, connector)],
            keepalives: Default::default(),
            is_ack_dropped: false,
            has_cookie: false,
            is_ipv6,
            is_self: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                connection.generation = self.all[index as usize].generation;
                self.all[index as usize] = connection;
                index
            }
            None => {
                self.all.push(connection);
                (self.all.len() - 1) as u32
            }
        };
        self.ends.insert(connector, end_slot(index, CONNECTOR));
        if (acceptor as usize) < machines {
            self.ends.insert(acceptor, end_slot(index, ACCEPTOR));
        }
        ConnectionId { index, generation: self.all[index as usize].generation }
    }

    /// The ends of a machine in any state.
    fn ends_of(&self, machine: u32) -> Vec<(ConnectionId, Side)> {
        self.ends.of(machine).map(|slot| self.end_at(slot)).collect()
    }

    fn end_at(&self, slot: u32) -> (ConnectionId, Side) {
        let index = slot >> 1;
        (ConnectionId { index, generation: self.all[index as usize].generation }, (slot & 1) as Side)
    }

    fn mark_stalled(&mut self, id: ConnectionId, side: Side) {
        self.stalled.enter(self.all[id.index as usize].link(side), end_slot(id.index, side));
    }

    fn clear_stalled(&mut self, id: ConnectionId, side: Side) {
        if self.all[id.index as usize].out(side).stalled_since.take().is_some() {
            self.stalled.leave(self.all[id.index as usize].link(side), end_slot(id.index, side));
        }
    }

    fn mark_writer_blocked(&mut self, id: ConnectionId, side: Side) {
        if !std::mem::replace(&mut self.all[id.index as usize].out(side).is_writer_blocked, true) {
            self.blocked_writers.enter(self.all[id.index as usize].link(side), end_slot(id.index, side));
        }
    }

    fn clear_writer_blocked(&mut self, id: ConnectionId, side: Side) {
        if std::mem::take(&mut self.all[id.index as usize].out(side).is_writer_blocked) {
            self.blocked_writers.leave(self.all[id.index as usize].link(side), end_slot(id.index, side));
        }
    }

    /// Ends between `machine` and `other`, or any other machine, whose writers wait for window.
    fn blocked_writers(&self, machine: u32, other: Option<u32>) -> Vec<(ConnectionId, Side)> {
        self.blocked_writers.between(machine, other).map(|slot| self.end_at(slot)).collect()
    }

    /// Stalled ends between `machine` and `other`, or any other machine.
    fn stalled(&self, machine: u32, other: Option<u32>) -> Vec<(ConnectionId, Side)> {
        self.stalled.between(machine, other).map(|slot| self.end_at(slot)).collect()
    }

    /// Numbers of connections and listeners, for leak tests.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.all.len() - self.free.len(), self.listeners.len() - self.free_listeners.len())
    }
}
