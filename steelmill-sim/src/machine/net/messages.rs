//! Message tracing: sent, delayed, lost and arrived messages with their causes; does nothing unless the run is traced.
//!
//! The network itself keeps no messages: it schedules arrival events, and a stream is positions in a pipe.
//!
//! A single message (a datagram, a handshake segment, a RST) is keyed by its arrival event. A stream segment is keyed
//! by connection, side and end position; one event may deliver several flights. A segment behind a cut or hold counts
//! as sent when it was written, and as delayed.

use std::collections::{BTreeMap, VecDeque};

use super::{ConnectionId, Event, Side};
use crate::kernel::recorder::start_of;
use crate::kernel::timers::Nanos;
use crate::machine::cluster::Cluster;
use crate::schema::event::{DeliveryProblem, EventKind, MessageKind};

#[derive(Default)]
pub(super) struct InFlight {
    /// The next message's number.
    messages: u32,
    /// The latest single message, until its arrival event is scheduled.
    unscheduled: Option<Message>,
    /// Delays of the flight being sent, or why it is not sent.
    delays: Vec<(Nanos, DeliveryProblem)>,
    loss: Option<DeliveryProblem>,
    due: BTreeMap<Event, VecDeque<Due>>,
    /// Segments of each side of a connection that have not arrived.
    streams: BTreeMap<(ConnectionId, Side), VecDeque<Segment>>,
    /// A datagram at its machine, before a socket has taken it.
    arriving_datagram: Option<Message>,
}

#[derive(Clone, Copy)]
struct Message {
    number: u32,
    /// The index of its [`EventKind::Message`] event.
    event: Option<u32>,
    sent_at: Nanos,
    to: u32,
}

struct Due {
    at: Nanos,
    cause: Option<u32>,
    message: Option<Message>,
}

/// Written bytes of a stream, and perhaps the FIN.
struct Segment {
    message: Message,
    /// The position after the last byte.
    upto: u64,
    has_fin: bool,
    at: Nanos,
    stalled_by: Option<DeliveryProblem>,
}

/// The arrival time of a message on a link that is cut or held.
const NOT_SCHEDULED: Nanos = Nanos::MAX;

impl Cluster {
    /// Records a single message. Call before its delivery is decided and its arrival is scheduled.
    #[inline]
    pub(crate) fn trace_message(
        &mut self,
        carries: MessageKind,
        connection: Option<u32>,
        from: u32,
        to: u32,
        bytes: &[u8],
    ) {
        if self.kernel.recorder.is_some() {
            let message = self.trace_new_message(
                carries,
                connection,
                (from, to),
                bytes.len() as u64,
                start_of(bytes.iter()),
            );
            self.net.in_flight.unscheduled = Some(message);
        }
    }

    #[cold]
    fn trace_new_message(
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
        Message { number, event, sent_at: self.kernel.now, to }
    }

    /// Records that a flight with unsent bytes of a side was sent: a segment counts as sent with its last byte.
    #[cold]
    pub(crate) fn trace_flight(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        self.trace_written(id, side);
        let Some(connection) = self.net.connection(id) else { return };
        let pipe = connection.out(side);
        let (at, sent, is_fin_sent) = (pipe.not_before(), pipe.sent(), !pipe.has_unsent());
        let delays = std::mem::take(&mut self.net.in_flight.delays);
        let mut delayed = Vec::new();
        let is_sent = |segment: &&mut Segment| {
            segment.at == NOT_SCHEDULED && segment.upto <= sent && (is_fin_sent || !segment.has_fin)
        };
        for segment in self.segments(id, side).filter(is_sent) {
            segment.at = at;
            let message = segment.message.number;
            let waited = (now - segment.message.sent_at, segment.stalled_by.unwrap_or(DeliveryProblem::Cut));
            let by_cause = delays.iter().copied().chain([waited]).filter(|(by, _)| *by > 0);
            delayed.extend(by_cause.map(|(by, why)| EventKind::Delayed { message, by, why }));
        }
        for what in delayed {
            self.kernel.note(what);
        }
    }

    /// Records that unsent bytes of a side were not sent, because it stalled.
    #[cold]
    pub(crate) fn trace_stalled_flight(&mut self, id: ConnectionId, side: Side) {
        if self.kernel.recorder.is_some() {
            self.trace_written(id, side);
            self.net.in_flight.delays.clear();
            let why = self.net.in_flight.loss.take();
            self.segments(id, side)
                .filter(|segment| segment.at == NOT_SCHEDULED)
                .for_each(|segment| segment.stalled_by = why);
        }
    }

    /// Adds a segment with the bytes written since the last one.
    fn trace_written(&mut self, id: ConnectionId, side: Side) {
        let last = self.net.in_flight.streams.get(&(id, side)).and_then(|stream| stream.back());
        let last = last.map(|segment| (segment.upto, segment.has_fin));
        let Some(connection) = self.net.connection(id) else { return };
        let (link, written) =
            (connection.link(side), connection.out(side).written_after(last.map(|(upto, _)| upto)));
        let has_fin = written.is_fin_pending && last.is_none_or(|(_, has_fin)| !has_fin);
        if written.bytes == 0 && !has_fin {
            return;
        }
        let carries = if has_fin { MessageKind::Fin } else { MessageKind::Bytes };
        let message = self.trace_new_message(carries, Some(id.number()), link, written.bytes, written.start);
        let segment = Segment { message, upto: written.upto, has_fin, at: NOT_SCHEDULED, stalled_by: None };
        self.net.in_flight.streams.entry((id, side)).or_default().push_back(segment);
    }

    fn segments(&mut self, id: ConnectionId, side: Side) -> impl Iterator<Item = &mut Segment> {
        self.net.in_flight.streams.get_mut(&(id, side)).into_iter().flatten()
    }

    /// Records a delay of the message or flight being sent.
    #[cold]
    pub(crate) fn trace_delay(&mut self, by: Nanos, why: DeliveryProblem, is_flight: bool) {
        if self.kernel.recorder.is_none() || by == 0 {
            return;
        }
        if is_flight {
            self.net.in_flight.delays.push((by, why));
        } else if let Some(message) = self.net.in_flight.unscheduled {
            self.kernel.note(EventKind::Delayed { message: message.number, by, why });
        }
    }

    /// Records that the message being sent is lost, or why the flight stalls.
    #[cold]
    pub(crate) fn trace_loss(&mut self, why: DeliveryProblem, is_flight: bool) {
        if self.kernel.recorder.is_none() {
            return;
        }
        if is_flight {
            self.net.in_flight.loss = Some(why);
        } else if let Some(message) = self.net.in_flight.unscheduled.take() {
            self.kernel.note(EventKind::Lost { message: message.number, why });
        }
    }

    /// Records the scheduling of an arrival or timer event.
    #[cold]
    pub(crate) fn trace_scheduled(&mut self, at: Nanos, event: Event) {
        let now = self.kernel.now;
        let Some(recorder) = &mut self.kernel.recorder else { return };
        let because = recorder.cause;
        let message = self.net.in_flight.unscheduled.take();
        let due = self.net.in_flight.due.entry(event).or_default();
        // Without a message being sent this may be the release of a held one.
        let held = due.iter_mut().find(|due| due.at == NOT_SCHEDULED);
        if let Some(held) = held.filter(|_| message.is_none()) {
            held.at = at;
            if let Some(message) = held.message {
                self.kernel.note(EventKind::Delayed {
                    message: message.number,
                    by: now - message.sent_at,
                    why: DeliveryProblem::Held,
                });
            }
            return;
        }
        due.push_back(Due { at, cause: because, message });
    }

    #[inline]
    pub(crate) fn trace_held(&mut self, event: Event) {
        if self.kernel.recorder.is_some() {
            self.trace_scheduled(NOT_SCHEDULED, event);
        }
    }
}

impl Cluster {
    /// Sets the cause of the event that is due now, and records the arrival or loss of its message.
    pub(crate) fn trace_due(&mut self, event: Event) {
        let now = self.kernel.now;
        let Some(recorder) = &mut self.kernel.recorder else { return };
        let mut found = None;
        if let Some(all) = self.net.in_flight.due.get_mut(&event) {
            found = all.iter().position(|due| due.at == now).and_then(|position| all.remove(position));
            if all.is_empty() {
                self.net.in_flight.due.remove(&event);
            }
        }
        recorder.cause = found.as_ref().and_then(|due| due.cause);
        if let Event::Deliver(id, side) = event {
            return self.trace_segments(id, side);
        }
        let Some(message) = found.and_then(|due| due.message) else { return };
        recorder.cause = message.event;
        if let Event::Datagram(_) = event {
            self.net.in_flight.arriving_datagram = Some(message);
        } else if let Some(why) = self.hosts.silence(message.to) {
            self.kernel.note(EventKind::Lost { message: message.number, why });
        } else {
            self.trace_arrival(message);
        }
    }

    fn trace_arrival(&mut self, message: Message) {
        self.kernel.replace_cause(message.event);
        let arrival = self.kernel.note(EventKind::Arrive { message: message.number });
        self.kernel.replace_cause(arrival);
    }

    /// Records the arrival of the segments of a side that are due.
    fn trace_segments(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        while let Some(message) = self.take_segment(id, side, |segment| segment.at <= now) {
            if let Some(why) = self.hosts.silence(message.to) {
                self.kernel.note(EventKind::Lost { message: message.number, why });
            } else {
                self.trace_arrival(message);
            }
        }
    }

    fn take_segment(
        &mut self,
        id: ConnectionId,
        side: Side,
        matches: impl Fn(&Segment) -> bool,
    ) -> Option<Message> {
        let streams = &mut self.net.in_flight.streams;
        let stream = streams.get_mut(&(id, side))?;
        let position = stream.iter().position(matches)?;
        let segment = stream.remove(position)?;
        if stream.is_empty() {
            streams.remove(&(id, side));
        }
        Some(segment.message)
    }

    /// Records the loss of all segments of a side, sent or not.
    #[inline]
    pub(crate) fn trace_flights_lost(&mut self, id: ConnectionId, side: Side, why: DeliveryProblem) {
        if self.kernel.recorder.is_some() {
            while let Some(message) = self.take_segment(id, side, |_| true) {
                self.kernel.note(EventKind::Lost { message: message.number, why });
            }
        }
    }

    /// Records the loss of the segments of a side that would have arrived after `at`, as it has lost power.
    #[inline]
    pub(crate) fn trace_flights_lost_after(&mut self, id: ConnectionId, side: Side, at: Nanos) {
        if self.kernel.recorder.is_some() {
            while let Some(message) = self.take_segment(id, side, |segment| segment.at > at) {
                self.kernel.note(EventKind::Lost { message: message.number, why: DeliveryProblem::PowerOff });
            }
        }
    }

    /// Records the loss of the unsent segments of a side; those in flight still arrive.
    #[inline]
    pub(crate) fn trace_unsent_lost(&mut self, id: ConnectionId, side: Side) {
        if self.kernel.recorder.is_some() {
            while let Some(message) = self.take_segment(id, side, |segment| segment.at == NOT_SCHEDULED) {
                self.kernel.note(EventKind::Lost { message: message.number, why: DeliveryProblem::Reset });
            }
        }
    }

    /// Records that a socket took the datagram, or why it was dropped.
    #[inline]
    pub(crate) fn trace_datagram(&mut self, lost: Option<DeliveryProblem>) {
        if self.kernel.recorder.is_some() {
            self.trace_datagram_slow(lost);
        }
    }

    #[cold]
    fn trace_datagram_slow(&mut self, lost: Option<DeliveryProblem>) {
        let datagram = self.net.in_flight.arriving_datagram.take();
        match (datagram, lost) {
            (Some(message), None) => self.trace_arrival(message),
            (Some(message), Some(why)) => {
                self.kernel.note(EventKind::Lost { message: message.number, why });
            }
            (None, _) => {}
        }
    }
}
