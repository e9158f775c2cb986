//! TCP connections: the state machine between two ends, driven by what arrives when.
//!
//! Nothing here is a packet. A handshake is three events (SYN, its answer, the accept); data is one event for each
//! flight that arrives; acknowledgements are implied. What cannot get through stalls and is sent again later, as TCP's
//! retransmission would; see [`link`](super::link) for the times.

mod data; // how bytes go from one end to the other
mod ending; // how a connection ends
mod handshake; // how a connection begins

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;

use super::address;
use super::pipe::Pipe;
use crate::kernel::machine_index::MachineIndex;
use crate::kernel::timers::Nanos;
use crate::kernel::waiter::Waiters;

/// Names a connection. The generation tells a reused place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    index: u32,
    generation: u32,
}

impl ConnectionId {
    /// What a trace calls it.
    pub(crate) fn number(self) -> u32 {
        self.index
    }
}

/// Which end of a connection: the one that connected, or the one that accepted.
pub(crate) type Side = u8;
pub(crate) const CONNECTOR: Side = 0;
pub(crate) const ACCEPTOR: Side = 1;

/// A connection. What every message looks at lies together, and what few do behind it: with a thousand connections it
/// is the cache lines that count.
#[repr(C)]
pub(crate) struct Connection {
    generation: u32,
    ends: [End; 2],
    /// The pipe of a side carries what that side writes.
    pipes: [Pipe; 2],
    addresses: [Addresses; 2],
    /// When the connector began.
    since: Nanos,
    /// Whose backlog it goes to.
    listener: Option<ListenerId>,
}

/// The addresses of an end, as its owner sees them.
pub(crate) struct Addresses {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

pub(crate) struct End {
    machine: u32,
    pub(crate) state: State,
    /// How many handles own it: a stream, or the two halves of one.
    pub(crate) handles: u8,
    /// An error its owner has not seen yet, as Linux's number for it.
    error: Option<i32>,
    pub(crate) readers: Waiters,
    pub(crate) writers: Waiters,
    pub(crate) options: Options,
}

/// Socket options that a program can set and read back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) nodelay: bool,
    pub(crate) zero_linger: bool,
    pub(crate) ttl: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodelay: false, zero_linger: false, ttl: 64 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing of this end exists yet.
    Unborn,
    /// The connector has asked.
    SynSent,
    /// The acceptor has answered.
    SynReceived,
    Open,
    /// Reset or given up; its owner still holds it.
    Broken,
    /// Its owner has let go of it after everything was read; its machine still sends what there is, and the end.
    Closed,
    /// Its machine knows it no more: whatever arrives for it is answered with a reset.
    Gone,
}

/// How an end is let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseMode {
    /// As the kernel closes a socket: a FIN, or a reset when something was left unread.
    Close,
    Reset,
    /// Without a word: the machine has lost its power.
    Silent,
}

/// Names a listener. The generation tells a reused place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenerId {
    index: u32,
    generation: u32,
}

pub(crate) struct Listener {
    generation: u32,
    machine: u32,
    local: SocketAddr,
    /// Connections that wait to be accepted, and how many more are on the way there.
    backlog: VecDeque<ConnectionId>,
    coming: usize,
    pub(crate) waiters: Waiters,
    /// What is set for it holds for what it accepts.
    pub(crate) options: Options,
}

#[derive(Default)]
pub(crate) struct Connections {
    all: Vec<Connection>,
    free: Vec<u32>,
    listeners: Vec<Listener>,
    free_listeners: Vec<u32>,
    /// The ends of each machine, from their connection's beginning until it is forgotten.
    ends: MachineIndex,
    /// Ends whose bytes do not get through.
    stalled: OnWays,
    /// Ends whose writers wait for room.
    waiting: OnWays,
}

/// Ends, by the way they are on: entered twice, by the machine at either end of it, and then by the other.
#[derive(Default)]
struct OnWays(BTreeSet<(u32, u32, u32)>);

impl Connections {
    pub(super) fn waiters(&mut self) -> impl Iterator<Item = &mut Waiters> {
        let ends = self.all.iter_mut().flat_map(|connection| &mut connection.ends);
        let ends = ends.flat_map(|end| [&mut end.readers, &mut end.writers]);
        ends.chain(self.listeners.iter_mut().map(|listener| &mut listener.waiters))
    }
}

impl OnWays {
    fn enter(&mut self, (from, to): (u32, u32), place: u32) {
        self.0.insert((from, to, place));
        self.0.insert((to, from, place));
    }

    fn leave(&mut self, (from, to): (u32, u32), place: u32) {
        self.0.remove(&(from, to, place));
        self.0.remove(&(to, from, place));
    }

    /// Those on the ways between a machine and another, or all others.
    fn between(&self, machine: u32, other: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        let (least, greatest) = other.map_or((0, u32::MAX), |other| (other, other));
        self.0.range((machine, least, 0)..=(machine, greatest, u32::MAX)).map(|(_, _, place)| *place)
    }
}

impl End {
    fn new(machine: u32, state: State) -> Self {
        Self {
            machine,
            state,
            handles: 1,
            error: None,
            readers: Waiters::default(),
            writers: Waiters::default(),
            options: Options::default(),
        }
    }

    /// The error to report, once.
    #[inline]
    pub(crate) fn take_error(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), |code| Err(address::os_error(code)))
    }
}

impl Addresses {
    /// It belongs to an IPv6 socket.
    fn show_as_ipv6(&mut self) {
        self.local = address::as_ipv6(self.local);
        self.peer = address::as_ipv6(self.peer);
    }
}

impl State {
    /// Whether nobody holds the end any more, or yet.
    fn is_over(self) -> bool {
        matches!(self, State::Unborn | State::Closed | State::Gone)
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

    /// What `side` writes.
    #[inline]
    pub(crate) fn out(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[usize::from(side)]
    }

    /// What `side` reads.
    #[inline]
    fn into(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[usize::from(1 - side)]
    }

    /// The machine of `side`, and that of the other.
    #[inline]
    pub(crate) fn way(&self, side: Side) -> (u32, u32) {
        (self.ends[usize::from(side)].machine, self.ends[usize::from(1 - side)].machine)
    }

    /// Whether a read of `side` would not block.
    pub(crate) fn is_readable(&mut self, side: Side) -> bool {
        self.end(side).state != State::Open || self.into(side).readable() > 0 || self.into(side).is_ended()
    }
}

/// The place of an end in what is kept of ends.
fn place(index: u32, side: Side) -> u32 {
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

    /// Adds a connection between two of the machines there are; the acceptor's may be none of them.
    fn insert(
        &mut self,
        since: Nanos,
        ends: [End; 2],
        addresses: [Addresses; 2],
        machines: usize,
    ) -> ConnectionId {
        let [connector, acceptor] = [CONNECTOR, ACCEPTOR].map(|side| ends[usize::from(side)].machine);
        let pipes = Default::default();
        let mut connection = Connection { generation: 0, ends, pipes, addresses, since, listener: None };
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
        self.ends.insert(connector, place(index, CONNECTOR));
        if (acceptor as usize) < machines {
            self.ends.insert(acceptor, place(index, ACCEPTOR));
        }
        ConnectionId { index, generation: self.all[index as usize].generation }
    }

    /// The ends a machine has, those that have not begun or are closed included.
    fn ends_of(&self, machine: u32) -> Vec<(ConnectionId, Side)> {
        self.ends.of(machine).map(|place| self.end_in(place)).collect()
    }

    fn end_in(&self, place: u32) -> (ConnectionId, Side) {
        let index = place >> 1;
        (ConnectionId { index, generation: self.all[index as usize].generation }, (place & 1) as Side)
    }

    /// Takes note of an end whose bytes do not get through.
    fn enter_stalled(&mut self, id: ConnectionId, side: Side) {
        self.stalled.enter(self.all[id.index as usize].way(side), place(id.index, side));
    }

    /// What an end sends gets through, or nobody waits for that any more.
    fn end_stall(&mut self, id: ConnectionId, side: Side) {
        if self.all[id.index as usize].out(side).stalled_since.take().is_some() {
            self.stalled.leave(self.all[id.index as usize].way(side), place(id.index, side));
        }
    }

    /// Takes note of an end whose writer waits for room.
    fn enter_waiting(&mut self, id: ConnectionId, side: Side) {
        if !std::mem::replace(&mut self.all[id.index as usize].out(side).writer_waits, true) {
            self.waiting.enter(self.all[id.index as usize].way(side), place(id.index, side));
        }
    }

    /// The writer of an end waits for room no more.
    fn end_wait(&mut self, id: ConnectionId, side: Side) {
        if std::mem::take(&mut self.all[id.index as usize].out(side).writer_waits) {
            self.waiting.leave(self.all[id.index as usize].way(side), place(id.index, side));
        }
    }

    /// The ends on ways between a machine and another, or all others, whose writers wait for room.
    fn waiting(&self, machine: u32, other: Option<u32>) -> Vec<(ConnectionId, Side)> {
        self.waiting.between(machine, other).map(|place| self.end_in(place)).collect()
    }

    /// The stalled ends on ways between a machine and another, or all others.
    fn stalled(&self, machine: u32, other: Option<u32>) -> Vec<(ConnectionId, Side)> {
        self.stalled.between(machine, other).map(|place| self.end_in(place)).collect()
    }

    /// How many connections and listeners there are: for tests that none is left.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.all.len() - self.free.len(), self.listeners.len() - self.free_listeners.len())
    }
}
