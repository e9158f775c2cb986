//! How a connection ends: closed, reset, given up, or gone with its machine.

use super::{ACCEPTOR, Addresses, CONNECTOR, CloseMode, ConnectionId, ListenerId, Side, State, place};
use crate::machine::cluster::Cluster;
use crate::machine::hosts::Power;
use crate::machine::net::link::{Fate, GIVE_UP_CLOSED, next_retransmission};
use crate::machine::net::{Event, address};
use crate::schema::event::{DeliveryProblem, MessageKind};

/// Endings.
impl Cluster {
    /// One handle fewer; the last one closes the end.
    pub(crate) fn tcp_release(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let end = connection.end(side);
        end.handles = end.handles.saturating_sub(1);
        if end.handles == 0 && !end.state.is_over() {
            self.tcp_let_go(id, side, CloseMode::Close);
        }
    }

    pub(crate) fn tcp_let_go(&mut self, id: ConnectionId, side: Side, farewell: CloseMode) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let is_unread = connection.into(side).readable() > 0;
        let end = connection.end(side);
        let is_reset = farewell == CloseMode::Reset || is_unread || end.options.zero_linger;
        match end.state {
            State::Open if farewell == CloseMode::Silent => self.close_end(id, side, State::Gone),
            State::Open if is_reset => {
                self.send_reset(id, side);
                self.close_end(id, side, State::Gone);
            }
            State::Open => self.tcp_leave(id, side),
            // Linux drops an unfinished handshake without a word. Whoever finishes it then hears that there is none.
            State::SynReceived => self.forget_unaccepted(id),
            State::Closed if farewell != CloseMode::Silent => {}
            State::Unborn | State::Gone => {}
            State::SynSent | State::Broken | State::Closed => self.close_end(id, side, State::Gone),
        }
    }

    /// Closes an end as programs normally do: what was written and the end of the stream are still sent.
    fn tcp_leave(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.end(side).state = State::Closed;
        let pipe = connection.out(side);
        pipe.finish();
        if let Some(since) = pipe.stalled_since {
            let at = next_retransmission(since, self.kernel.now).max(since + GIVE_UP_CLOSED);
            self.schedule(at, Event::GiveUp(id, side, since));
        }
        self.transmit(id, side);
        self.close_end(id, side, State::Closed);
    }

    /// `side` tells the other that there is no such connection. Whether that gets through.
    pub(super) fn send_reset(&mut self, id: ConnectionId, side: Side) -> bool {
        let Some(connection) = self.net.tcp.get(id) else {
            return false;
        };
        let (from, to) = connection.way(side);
        let not_before = connection.out(side).not_before();
        self.leaves(MessageKind::Reset, Some(id.number()), from, to, &[]);
        match self.message_fate(from, to, 0) {
            Fate::Arrives(at) => self.schedule(at.max(not_before), Event::Reset(id, 1 - side)),
            Fate::Held => self.keep(from, to, Event::Reset(id, 1 - side)),
            Fate::Lost => return false,
        }
        true
    }

    pub(crate) fn reset_arrives(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (machine, _) = connection.way(side);
        if self.hosts[machine].power == Power::Off {
            return;
        }
        // As Linux's tcp_reset(): where the peer had finished before, it is a broken pipe.
        let is_half_closed = connection.into(side).is_ended() && !connection.out(side).is_finished();
        match connection.end(side).state {
            State::SynSent => self.break_end(id, side, libc::ECONNREFUSED),
            State::Open if is_half_closed => self.break_end(id, side, libc::EPIPE),
            State::Open => self.break_end(id, side, libc::ECONNRESET),
            State::SynReceived => self.forget_unaccepted(id),
            State::Closed => self.close_end(id, side, State::Gone),
            State::Unborn | State::Broken | State::Gone => {}
        }
    }

    /// Resets every connection between two machines, at both ends and at once.
    pub(crate) fn tcp_reset_between(&mut self, a: u32, b: u32) {
        for (id, side) in self.net.tcp.ends_of(a) {
            let Some(connection) = self.net.tcp.get(id).filter(|connection| connection.way(side).1 == b)
            else {
                continue;
            };
            let is_open = [CONNECTOR, ACCEPTOR].map(|side| connection.end(side).state == State::Open);
            for side in [CONNECTOR, ACCEPTOR] {
                if is_open[usize::from(side)] {
                    self.break_end(id, side, libc::ECONNRESET);
                }
            }
        }
    }

    /// An end can be used no more; its owner has still to learn why. What had arrived can still be read.
    pub(super) fn break_end(&mut self, id: ConnectionId, side: Side, code: i32) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.end(side).state = State::Broken;
        connection.end(side).error = Some(code);
        connection.into(side).lose_flights();
        self.flights_lost(id, 1 - side, DeliveryProblem::Reset);
        self.unsent_lost(id, side);
        self.net.tcp.end_stall(id, side);
        self.net.tcp.end_wait(id, side);
        self.wake_end(id, side);
    }

    /// Nobody holds an end any more.
    pub(super) fn close_end(&mut self, id: ConnectionId, side: Side, state: State) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let end = connection.end(side);
        end.state = state;
        end.error = None;
        let (readers, writers) = (std::mem::take(&mut end.readers), std::mem::take(&mut end.writers));
        let is_over = connection.ends.iter().all(|end| end.state.is_over());
        self.kernel.discard_all(readers);
        self.kernel.discard_all(writers);
        self.net.tcp.end_wait(id, side);
        if state == State::Gone {
            self.net.tcp.end_stall(id, side);
        }
        if is_over {
            self.tcp_forget(id);
        }
    }

    /// Both ends are gone: the place and the port are free again.
    pub(super) fn tcp_forget(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (machine, other) = connection.way(CONNECTOR);
        let Addresses { local, peer } = *connection.addresses(CONNECTOR);
        for (machine, side) in [(machine, CONNECTOR), (other, ACCEPTOR)] {
            self.unsent_lost(id, side);
            self.net.tcp.end_stall(id, side);
            self.net.tcp.end_wait(id, side);
            self.net.tcp.ends.remove(machine, place(id.index, side));
        }
        let connection = self.net.tcp.get(id).expect("looked at above");
        connection.generation = connection.generation.wrapping_add(1);
        connection.pipes = Default::default();
        self.net.tcp.free.push(id.index);
        self.net.tcp_ports.close(machine, address::plain(local), address::plain(peer));
    }

    /// A machine's process has ended: its kernel closes what it held. Or its power is gone, and nothing is said.
    pub(crate) fn tcp_machine_gone(&mut self, machine: u32, farewell: CloseMode) {
        for index in self.net.tcp_ports.of(machine) {
            let generation = self.net.tcp.listeners[index as usize].generation;
            self.tcp_unlisten(ListenerId { index, generation }, farewell != CloseMode::Silent);
        }
        for (id, side) in self.net.tcp.ends_of(machine) {
            self.tcp_let_go(id, side, farewell);
        }
    }

    pub(super) fn wake_end(&mut self, id: ConnectionId, side: Side) {
        self.wake_readers(id, side);
        self.wake_writers(id, side);
    }

    #[inline]
    pub(super) fn wake_readers(&mut self, id: ConnectionId, side: Side) {
        if let Some(connection) = self.net.tcp.get(id) {
            let readers = connection.end(side).readers.take();
            self.kernel.wake_all(readers);
        }
    }

    pub(super) fn wake_writers(&mut self, id: ConnectionId, side: Side) {
        if let Some(connection) = self.net.tcp.get(id) {
            let writers = connection.end(side).writers.take();
            self.kernel.wake_all(writers);
        }
    }
}
