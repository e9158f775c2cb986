//! Closing TCP connections: close(2), RST, orphaned sockets, process exit and power loss; frees slots and ports.

use super::{ACCEPTOR, Addresses, CONNECTOR, CloseMode, ConnectionId, ListenerId, Side, State, end_slot};
use crate::machine::cluster::Cluster;
use crate::machine::net::link::{Delivery, ORPHAN_RETRIES_TIMEOUT, next_retransmission};
use crate::machine::net::{Event, address};
use crate::schema::event::{DeliveryProblem, MessageKind};
use crate::schema::segment::Segment;

impl Cluster {
    /// Drops one handle; the last one closes the end.
    pub(crate) fn tcp_release(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let end = connection.end(side);
        end.handles = end.handles.saturating_sub(1);
        if end.handles > 0 {
            return;
        }
        let is_owned = !end.state.has_no_owner();
        let bound = connection.bound.take_if(|_| side == CONNECTOR);
        if let Some(bound) = bound {
            self.tcp_unlisten(bound, true);
        }
        if is_owned {
            self.tcp_close(id, side, CloseMode::Close);
        }
    }

    pub(crate) fn tcp_close(&mut self, id: ConnectionId, side: Side, mode: CloseMode) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let is_unread = connection.into(side).readable() > 0;
        // With both FINs sent there is nothing left to reset (RFC 9293 §3.10.4: CLOSING, LAST-ACK, TIME-WAIT).
        let has_both_ended = connection.out(side).has_fin() && connection.into(side).has_fin_arrived();
        let is_reset = !has_both_ended
            && (mode == CloseMode::Reset || is_unread || connection.options(side).is_zero_linger());
        match connection.end(side).state {
            State::Established if mode == CloseMode::Silent => self.close_end(id, side, State::Closed),
            State::Established if is_reset => {
                self.send_reset(id, side);
                self.close_end(id, side, State::Closed);
            }
            State::Established => self.tcp_orphan(id, side),
            // Linux drops a half-open connection silently. A late ACK is answered with a RST.
            State::SynReceived => self.drop_handshake(id),
            State::Orphaned if mode != CloseMode::Silent => {}
            State::NotCreated | State::Closed => {}
            State::SynSent | State::Failed | State::Orphaned => self.close_end(id, side, State::Closed),
        }
    }

    /// Closes an end in order: the kernel still sends written bytes and the FIN.
    fn tcp_orphan(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.end(side).state = State::Orphaned;
        let has_new_fin = connection.queue_fin(side);
        let pipe = connection.out(side);
        if let Some(since) = pipe.stalled_since {
            let at =
                next_retransmission(pipe.resends_from, self.kernel.now).max(since + ORPHAN_RETRIES_TIMEOUT);
            self.schedule(at, Event::RetriesExhausted(id, side, since));
        }
        if has_new_fin {
            self.transmit(id, side);
        }
        self.close_end(id, side, State::Orphaned);
    }

    /// Sends a RST from `side`. Whether it will arrive, now or after a hold.
    pub(super) fn send_reset(&mut self, id: ConnectionId, side: Side) -> bool {
        let Some(connection) = self.net.tcp.get(id) else {
            return false;
        };
        let (from, to) = connection.link(side);
        let not_before = connection.out(side).not_before();
        let other = connection.other(side);
        self.trace_message(MessageKind::Reset, Some(id.number()), from, to, &[]);
        match self.send_segment(id, (from, to), Segment::Reset) {
            Delivery::Arrives(at) => self.schedule(at.max(not_before), Event::Reset(id, other)),
            Delivery::Held => self.hold_event(from, to, Event::Reset(id, other)),
            Delivery::Lost => {
                self.watch(id, other);
                return false;
            }
        }
        true
    }

    pub(crate) fn reset_arrives(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (machine, _) = connection.link(side);
        if self.hosts.silence(machine).is_some() || connection.is_stranded[usize::from(side)] {
            return;
        }
        match connection.end(side).state {
            State::SynSent => self.fail_end(id, side, libc::ECONNREFUSED),
            State::Established => self.reset_end(id, side),
            State::SynReceived => self.drop_handshake(id),
            State::Orphaned => self.close_end(id, side, State::Closed),
            State::NotCreated | State::Failed | State::Closed => {}
        }
    }

    /// A RST ends an established end, as Linux's `tcp_reset()`: with EPIPE if the peer's FIN came before and the own one was not
    /// sent (CLOSE-WAIT), else with ECONNRESET. With both FINs arrived there is nothing to reset.
    fn reset_end(&mut self, id: ConnectionId, side: Side) {
        if self.tcp_is_over(id, side) {
            return;
        }
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let is_close_wait = connection.into(side).has_fin_arrived() && !connection.out(side).has_fin();
        self.fail_end(id, side, if is_close_wait { libc::EPIPE } else { libc::ECONNRESET });
    }

    /// Resets every connection between two machines, at both ends without latency.
    pub(crate) fn tcp_reset_between(&mut self, a: u32, b: u32) {
        for (id, side) in self.net.tcp.ends_of(a) {
            let Some(connection) = self.net.tcp.get(id).filter(|connection| connection.link(side).1 == b)
            else {
                continue;
            };
            let is_open = [CONNECTOR, ACCEPTOR].map(|side| connection.end(side).state == State::Established);
            for side in [CONNECTOR, ACCEPTOR] {
                if is_open[usize::from(side)] {
                    self.reset_end(id, side);
                }
            }
        }
    }

    /// Fails an end with an errno for its handles. Arrived data can still be read.
    pub(super) fn fail_end(&mut self, id: ConnectionId, side: Side, code: i32) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.end(side).state = State::Failed;
        connection.end(side).error = Some(code);
        self.release_port(id, side);
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.into(side).lose_flights();
        let writer = connection.other(side);
        self.trace_flights_lost(id, writer, DeliveryProblem::Reset);
        self.trace_unsent_lost(id, side);
        self.net.tcp.clear_stalled(id, side);
        self.net.tcp.clear_writer_blocked(id, side);
        self.wake_end(id, side);
    }

    /// Removes the waiters of an end without handles, and frees the connection once both ends are closed.
    pub(super) fn close_end(&mut self, id: ConnectionId, side: Side, state: State) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let end = connection.end(side);
        end.state = state;
        end.error = None;
        let (readers, writers) = (std::mem::take(&mut end.readers), std::mem::take(&mut end.writers));
        let has_no_owner = connection.ends.iter().all(|end| end.state.has_no_owner());
        self.kernel.discard_all(readers);
        self.kernel.discard_all(writers);
        self.net.tcp.clear_writer_blocked(id, side);
        if state == State::Closed {
            self.release_port(id, side);
            self.net.tcp.clear_stalled(id, side);
        }
        if has_no_owner {
            self.tcp_free(id);
        }
    }

    pub(super) fn tcp_free(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (machine, other) = connection.link(CONNECTOR);
        for (machine, side) in [(machine, CONNECTOR), (other, ACCEPTOR)] {
            self.release_port(id, side);
            self.trace_unsent_lost(id, side);
            self.net.tcp.clear_stalled(id, side);
            self.net.tcp.clear_writer_blocked(id, side);
            self.net.tcp.ends.remove(machine, end_slot(id.index, side));
        }
        let connection = self.net.tcp.get(id).expect("checked above");
        connection.generation = connection.generation.wrapping_add(1);
        connection.pipes = Default::default();
        self.net.tcp.free.push(id.index);
    }

    /// Gives an end's port back; in TIME_WAIT after a while.
    pub(crate) fn release_port(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let time_wait = connection.ends_in_time_wait(side);
        self.release_port_into(id, side, time_wait);
    }

    fn release_port_into(&mut self, id: ConnectionId, side: Side, time_wait: bool) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if !std::mem::take(&mut connection.has_port[usize::from(side)]) {
            return;
        }
        let (machine, _) = connection.link(side);
        let Addresses { local, peer } = *connection.addresses(side);
        let place = (machine, self.kernel.now);
        self.net.tcp_ports.close(place, address::canonical(local), address::canonical(peer), time_wait);
    }

    /// Gives back the ports of a machine's connections that are over, and of which a socket is left: no event marks the moment at
    /// which the last acknowledgement arrives. Whether there were any.
    pub(crate) fn tcp_release_ports_of_ended(&mut self, machine: u32) -> bool {
        let mut was_any = false;
        for (id, side) in self.net.tcp.ends_of(machine) {
            let has_port = self.net.tcp.get(id).is_some_and(|one| one.has_port[usize::from(side)]);
            if has_port && self.tcp_is_over(id, side) {
                self.tcp_release_port_of_ended(id, side);
                was_any = true;
            }
        }
        was_any
    }

    /// Gives back the port of a connection that has ended, of which a socket is left; in TIME_WAIT, if it was closed first.
    pub(crate) fn tcp_release_port_of_ended(&mut self, id: ConnectionId, side: Side) {
        let is_over = self.tcp_is_over(id, side);
        if let Some(connection) = self.net.tcp.get(id) {
            let time_wait = is_over && connection.out(side).is_closed_first;
            self.release_port_into(id, side, time_wait);
        }
    }

    /// Closes all listeners and ends of a machine whose process exited or that lost power.
    pub(crate) fn tcp_process_ended(&mut self, machine: u32, mode: CloseMode) {
        for index in self.net.tcp_ports.owners_on(machine) {
            let generation = self.net.tcp.listeners[index as usize].generation;
            self.tcp_unlisten(ListenerId { index, generation }, mode != CloseMode::Silent);
        }
        for (id, side) in self.net.tcp.ends_of(machine) {
            if mode == CloseMode::Silent {
                self.lose_what_was_not_sent(id, side);
            }
            self.tcp_close(id, side, mode);
        }
    }

    /// The machine of `side` has lost power. What arrives later than the way takes was still in its queue, or would have been sent
    /// again.
    fn lose_what_was_not_sent(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.link(side);
        let last = self.kernel.now + self.net.links.range(from, to).1;
        connection.out(side).lose_flights_after(last);
        self.trace_flights_lost_after(id, side, last);
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
