//! Messages on their way, told one by one.
//!
//! The network keeps no messages: it schedules what comes of them, and a stream's bytes are positions in a pipe. So what a
//! message is, and how it fares, is kept here, and only where there is a trace.
//!
//! A single message (a datagram, a part of a handshake, a reset) is named by the event that it will be. What a stream sends
//! is named by the connection, the side and the position that it goes up to; several flights may arrive with one event.
//! What cannot leave because the way is cut or held has left all the same, as far as its sender knows, and is late.

use std::collections::{BTreeMap, VecDeque};

use super::{ConnectionId, Event, Side};
use crate::kernel::recorder::start_of;
use crate::kernel::timers::Nanos;
use crate::machine::cluster::Cluster;
use crate::machine::hosts::Power;
use crate::schema::event::{DeliveryProblem, EventKind, MessageKind};

/// What is on its way.
#[derive(Default)]
pub(super) struct InFlight {
    /// How many messages there were.
    messages: u32,
    /// A single message that was put together last, and has not been scheduled yet.
    leaving: Option<Message>,
    /// What makes the flight late that is about to leave, and why it does not leave.
    late: Vec<(Nanos, DeliveryProblem)>,
    in_vain: Option<DeliveryProblem>,
    /// What the network has to come, and what led to it.
    due: BTreeMap<Event, VecDeque<Due>>,
    /// What each side of a connection has sent and the other has not.
    streams: BTreeMap<(ConnectionId, Side), VecDeque<Part>>,
    /// A datagram that has got to its machine, and not to a socket yet.
    landing: Option<Message>,
}

#[derive(Clone, Copy)]
struct Message {
    number: u32,
    /// Its place among the events.
    event: Option<u32>,
    left: Nanos,
    to: u32,
}

struct Due {
    at: Nanos,
    cause: Option<u32>,
    message: Option<Message>,
}

/// A message of a stream.
struct Part {
    message: Message,
    /// The position after its last byte.
    upto: u64,
    has_end: bool,
    /// When it arrives.
    at: Nanos,
    /// Why it has not been sent.
    why: Option<DeliveryProblem>,
}

/// It is not known when: the way is cut, or held.
const LATER: Nanos = Nanos::MAX;

/// Leaving.
impl Cluster {
    /// A single message leaves. What becomes of it is told by what comes next: its fate, and its being scheduled.
    #[inline]
    pub(crate) fn leaves(
        &mut self,
        carries: MessageKind,
        connection: Option<u32>,
        from: u32,
        to: u32,
        bytes: &[u8],
    ) {
        if self.kernel.recorder.is_some() {
            let message = self.note_message(
                carries,
                connection,
                (from, to),
                bytes.len() as u64,
                start_of(bytes.iter()),
            );
            self.net.in_flight.leaving = Some(message);
        }
    }

    #[cold]
    fn note_message(
        &mut self,
        carries: MessageKind,
        connection: Option<u32>,
        (from, to): (u32, u32),
        bytes: u64,
        start: [u8; 16],
    ) -> Message {
        let number = self.net.in_flight.messages;
        self.net.in_flight.messages += 1;
        let event = self.kernel.note(EventKind::Message {
            message: number,
            carries,
            connection,
            from,
            to,
            bytes,
            start,
        });
        Message { number, event, left: self.kernel.now, to }
    }

    /// A side of a connection has sent all that it had.
    #[cold]
    pub(crate) fn note_flight(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        self.note_written(id, side);
        let Some(connection) = self.net.connection(id) else { return };
        let at = connection.out(side).not_before();
        let late = std::mem::take(&mut self.net.in_flight.late);
        let mut delayed = Vec::new();
        for part in self.parts(id, side).filter(|part| part.at == LATER) {
            part.at = at;
            let message = part.message.number;
            let waited = (now - part.message.left, part.why.unwrap_or(DeliveryProblem::Cut));
            let late = late.iter().copied().chain([waited]).filter(|(by, _)| *by > 0);
            delayed.extend(late.map(|(by, why)| EventKind::Delayed { message, by, why }));
        }
        for what in delayed {
            self.kernel.note(what);
        }
    }

    /// What a side of a connection has to send does not get through, and will be sent again.
    #[cold]
    pub(crate) fn flight_stalls(&mut self, id: ConnectionId, side: Side) {
        if self.kernel.recorder.is_some() {
            self.note_written(id, side);
            self.net.in_flight.late.clear();
            let why = self.net.in_flight.in_vain.take();
            self.parts(id, side).filter(|part| part.at == LATER).for_each(|part| part.why = why);
        }
    }

    /// What a side of a connection has written and is no message yet becomes one.
    fn note_written(&mut self, id: ConnectionId, side: Side) {
        let last = self.net.in_flight.streams.get(&(id, side)).and_then(|stream| stream.back());
        let last = last.map(|part| (part.upto, part.has_end));
        let Some(connection) = self.net.connection(id) else { return };
        let (way, written) =
            (connection.way(side), connection.out(side).written_after(last.map(|(upto, _)| upto)));
        let has_end = written.is_ending && last.is_none_or(|(_, has_end)| !has_end);
        if written.bytes == 0 && !has_end {
            return;
        }
        let carries = if has_end { MessageKind::Fin } else { MessageKind::Bytes };
        let message = self.note_message(carries, Some(id.number()), way, written.bytes, written.start);
        let part = Part { message, upto: written.upto, has_end, at: LATER, why: None };
        self.net.in_flight.streams.entry((id, side)).or_default().push_back(part);
    }

    fn parts(&mut self, id: ConnectionId, side: Side) -> impl Iterator<Item = &mut Part> {
        self.net.in_flight.streams.get_mut(&(id, side)).into_iter().flatten()
    }

    /// What leaves will be late.
    #[cold]
    pub(crate) fn leaves_late(&mut self, by: Nanos, why: DeliveryProblem, is_flight: bool) {
        if self.kernel.recorder.is_none() || by == 0 {
            return;
        }
        if is_flight {
            self.net.in_flight.late.push((by, why));
        } else if let Some(message) = self.net.in_flight.leaving {
            self.kernel.note(EventKind::Delayed { message: message.number, by, why });
        }
    }

    /// What leaves does not get there: a single message is lost, and a flight will be sent again.
    #[cold]
    pub(crate) fn leaves_in_vain(&mut self, why: DeliveryProblem, is_flight: bool) {
        if self.kernel.recorder.is_none() {
            return;
        }
        if is_flight {
            self.net.in_flight.in_vain = Some(why);
        } else if let Some(message) = self.net.in_flight.leaving.take() {
            self.kernel.note(EventKind::Lost { message: message.number, why });
        }
    }

    /// Something of the network will happen at `at`: what leaves arrives, or something is looked at again.
    #[cold]
    pub(crate) fn note_scheduled(&mut self, at: Nanos, event: Event) {
        let now = self.kernel.now;
        let Some(recorder) = &mut self.kernel.recorder else { return };
        let because = recorder.cause;
        let message = self.net.in_flight.leaving.take();
        let due = self.net.in_flight.due.entry(event).or_default();
        // Where nothing leaves, something that was held may be let go.
        let held = due.iter_mut().find(|due| due.at == LATER);
        if let Some(held) = held.filter(|_| message.is_none()) {
            held.at = at;
            if let Some(message) = held.message {
                self.kernel.note(EventKind::Delayed {
                    message: message.number,
                    by: now - message.left,
                    why: DeliveryProblem::Held,
                });
            }
            return;
        }
        due.push_back(Due { at, cause: because, message });
    }

    /// What leaves waits until its way is released.
    #[inline]
    pub(crate) fn note_kept(&mut self, event: Event) {
        if self.kernel.recorder.is_some() {
            self.note_scheduled(LATER, event);
        }
    }
}

/// Arriving.
impl Cluster {
    /// Something of the network happens now. What is a message has arrived, or is lost.
    pub(crate) fn note_arrivals(&mut self, event: Event) {
        let now = self.kernel.now;
        let Some(recorder) = &mut self.kernel.recorder else { return };
        let mut found = None;
        if let Some(all) = self.net.in_flight.due.get_mut(&event) {
            found = all.iter().position(|due| due.at == now).and_then(|place| all.remove(place));
            if all.is_empty() {
                self.net.in_flight.due.remove(&event);
            }
        }
        recorder.cause = found.as_ref().and_then(|due| due.cause);
        if let Event::Deliver(id, side) = event {
            return self.note_delivered(id, side);
        }
        let Some(message) = found.and_then(|due| due.message) else { return };
        recorder.cause = message.event;
        if let Event::Datagram(_) = event {
            self.net.in_flight.landing = Some(message);
        } else if self.hosts[message.to].power == Power::Off {
            self.kernel.note(EventKind::Lost { message: message.number, why: DeliveryProblem::PowerOff });
        } else {
            self.note_arrival(message);
        }
    }

    fn note_arrival(&mut self, message: Message) {
        self.kernel.replace_cause(message.event);
        let arrival = self.kernel.note(EventKind::Arrive { message: message.number });
        self.kernel.replace_cause(arrival);
    }

    /// What a side of a connection has sent arrives, as far as it is due.
    fn note_delivered(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        while let Some(message) = self.take_part(id, side, |part| part.at <= now) {
            if self.hosts[message.to].power == Power::Off {
                self.kernel.note(EventKind::Lost { message: message.number, why: DeliveryProblem::PowerOff });
            } else {
                self.note_arrival(message);
            }
        }
    }

    /// Takes the first message off a stream of which something holds.
    fn take_part(&mut self, id: ConnectionId, side: Side, is_it: impl Fn(&Part) -> bool) -> Option<Message> {
        let streams = &mut self.net.in_flight.streams;
        let stream = streams.get_mut(&(id, side))?;
        let place = stream.iter().position(is_it)?;
        let part = stream.remove(place)?;
        if stream.is_empty() {
            streams.remove(&(id, side));
        }
        Some(part.message)
    }

    /// What a side of a connection has sent, and what it has not, will not arrive any more.
    #[inline]
    pub(crate) fn flights_lost(&mut self, id: ConnectionId, side: Side, why: DeliveryProblem) {
        if self.kernel.recorder.is_some() {
            while let Some(message) = self.take_part(id, side, |_| true) {
                self.kernel.note(EventKind::Lost { message: message.number, why });
            }
        }
    }

    /// What a side of a connection has not sent will never be; what it has sent flies on.
    #[inline]
    pub(crate) fn unsent_lost(&mut self, id: ConnectionId, side: Side) {
        if self.kernel.recorder.is_some() {
            while let Some(message) = self.take_part(id, side, |part| part.at == LATER) {
                self.kernel.note(EventKind::Lost { message: message.number, why: DeliveryProblem::Reset });
            }
        }
    }

    /// The datagram that has got to its machine is there, or is lost.
    #[inline]
    pub(crate) fn datagram_landed(&mut self, lost: Option<DeliveryProblem>) {
        if self.kernel.recorder.is_some() {
            self.note_landed(lost);
        }
    }

    #[cold]
    fn note_landed(&mut self, lost: Option<DeliveryProblem>) {
        let landing = self.net.in_flight.landing.take();
        match (landing, lost) {
            (Some(message), None) => self.note_arrival(message),
            (Some(message), Some(why)) => {
                self.kernel.note(EventKind::Lost { message: message.number, why });
            }
            (None, _) => {}
        }
    }
}
