//! Messages on their way, told one by one.
//!
//! The network keeps no messages: it schedules what comes of them, and a stream's bytes are positions in a pipe. So what a
//! message is, and how it fares, is kept here, and only where there is a trace.
//!
//! A single message (a datagram, a part of a handshake, a reset) is named by the event that it will be. What a stream sends
//! is named by the connection, the side and the position that it goes up to; several flights may arrive with one event.
//! What cannot leave because the way is cut or held has left all the same, as far as its sender knows, and is late.

use std::collections::{BTreeMap, VecDeque};

use super::record::start_of;
use super::{Carries, Trace, What, Why};
use crate::hosts::Power;
use crate::net::{ConnectionId, Event, Side};
use crate::run::Run;
use crate::timers::Nanos;

/// What is on its way.
#[derive(Default)]
pub(super) struct Flying {
    /// How many messages there were.
    messages: u32,
    /// What was put together last and has not been scheduled yet.
    leaving: Leaving,
    /// What the network has to come, and what led to it.
    due: BTreeMap<Event, VecDeque<Due>>,
    /// What each side of a connection has sent and the other has not.
    streams: BTreeMap<(ConnectionId, Side), VecDeque<Part>>,
    /// A datagram that has got to its machine, and not to a socket yet.
    landing: Option<Message>,
}

#[derive(Default, Clone, Copy)]
enum Leaving {
    #[default]
    Nothing,
    Message(Message),
    /// All that a side of a connection has not sent.
    Stream(ConnectionId, Side),
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
    why: Option<Why>,
}

/// It is not known when: the way is cut, or held.
const LATER: Nanos = Nanos::MAX;

/// Leaving.
impl Run {
    /// A single message leaves. What becomes of it is told by what comes next: its fate, and its being scheduled.
    #[inline]
    pub(crate) fn leaves(
        &mut self,
        carries: Carries,
        connection: Option<u32>,
        from: u32,
        to: u32,
        bytes: &[u8],
    ) {
        if self.trace.is_some() {
            let message = self.note_message(
                carries,
                connection,
                (from, to),
                bytes.len() as u64,
                start_of(bytes.iter()),
            );
            self.set_leaving(Leaving::Message(message));
        }
    }

    #[cold]
    fn note_message(
        &mut self,
        carries: Carries,
        connection: Option<u32>,
        (from, to): (u32, u32),
        bytes: u64,
        start: [u8; 16],
    ) -> Message {
        let recorder = self.trace.as_mut().expect("asked for where there is a trace");
        let number = recorder.flying.messages;
        recorder.flying.messages += 1;
        let event = self.note(What::Message { message: number, carries, connection, from, to, bytes, start });
        Message { number, event, left: self.now, to }
    }

    fn set_leaving(&mut self, leaving: Leaving) {
        if let Some(recorder) = &mut self.trace {
            recorder.flying.leaving = leaving;
        }
    }

    /// A side of a connection sends what it has not sent. What of that is no message yet becomes one.
    #[inline]
    pub(crate) fn flight_leaves(&mut self, id: ConnectionId, side: Side) {
        if self.trace.is_some() {
            self.note_flight(id, side);
        }
    }

    #[cold]
    fn note_flight(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.connection(id) else { return };
        let way = connection.way(side);
        let pipe = connection.out(side);
        let stream = self.trace.as_ref().and_then(|recorder| recorder.flying.streams.get(&(id, side)));
        let kept = stream.and_then(|stream| stream.back()).filter(|part| part.at == LATER);
        let (upto, has_end) = kept.map_or((0, false), |part| (part.upto, part.has_end));
        let unsent = pipe.unsent_after(upto);
        let asks_end = unsent.asks_end && !has_end;
        if unsent.bytes > 0 || asks_end {
            let carries = if asks_end { Carries::End } else { Carries::Bytes };
            let message = self.note_message(carries, Some(id.number()), way, unsent.bytes, unsent.start);
            let part = Part { message, upto: unsent.upto, has_end: asks_end, at: LATER, why: None };
            if let Some(recorder) = &mut self.trace {
                recorder.flying.streams.entry((id, side)).or_default().push_back(part);
            }
        }
        self.set_leaving(Leaving::Stream(id, side));
    }

    /// What a side of a connection had not sent is on its way, to arrive at `at`.
    #[inline]
    pub(crate) fn flight_left(&mut self, id: ConnectionId, side: Side, at: Nanos) {
        if self.trace.is_some() {
            self.note_flight_left(id, side, at);
        }
    }

    #[cold]
    fn note_flight_left(&mut self, id: ConnectionId, side: Side, at: Nanos) {
        let now = self.now;
        let mut late = Vec::new();
        for part in self.parts(id, side).filter(|part| part.at == LATER) {
            part.at = at;
            let by = now - part.message.left;
            if by > 0 {
                late.push(What::Delayed {
                    message: part.message.number,
                    by,
                    why: part.why.unwrap_or(Why::Cut),
                });
            }
        }
        self.set_leaving(Leaving::Nothing);
        for delayed in late {
            self.note(delayed);
        }
    }

    fn parts(&mut self, id: ConnectionId, side: Side) -> impl Iterator<Item = &mut Part> {
        let stream = self.trace.as_mut().and_then(|recorder| recorder.flying.streams.get_mut(&(id, side)));
        stream.into_iter().flatten()
    }

    /// What leaves will be late.
    #[cold]
    pub(crate) fn leaves_late(&mut self, by: Nanos, why: Why) {
        let Some(recorder) = &self.trace else { return };
        let late: Vec<u32> = match recorder.flying.leaving {
            Leaving::Nothing => Vec::new(),
            Leaving::Message(message) => vec![message.number],
            Leaving::Stream(id, side) => {
                self.parts(id, side).filter(|part| part.at == LATER).map(|part| part.message.number).collect()
            }
        };
        for message in late.into_iter().filter(|_| by > 0) {
            self.note(What::Delayed { message, by, why });
        }
    }

    /// What leaves does not get there: a single message is lost, and a stream's will be sent again.
    #[cold]
    pub(crate) fn leaves_in_vain(&mut self, why: Why) {
        let Some(recorder) = &mut self.trace else { return };
        match std::mem::take(&mut recorder.flying.leaving) {
            Leaving::Nothing => {}
            Leaving::Message(message) => {
                self.note(What::Lost { message: message.number, why });
            }
            Leaving::Stream(id, side) => {
                self.parts(id, side).filter(|part| part.at == LATER).for_each(|part| part.why = Some(why));
            }
        }
    }

    /// Something of the network will happen at `at`: what leaves arrives, or something is looked at again.
    #[cold]
    pub(crate) fn note_scheduled(&mut self, at: Nanos, event: Event) {
        let now = self.now;
        let Some(recorder) = &mut self.trace else { return };
        let because = recorder.because;
        let due = recorder.flying.due.entry(event).or_default();
        if let Some(held) = due.iter_mut().find(|due| due.at == LATER) {
            held.at = at;
            if let Some(message) = held.message {
                self.note(What::Delayed { message: message.number, by: now - message.left, why: Why::Held });
            }
            return;
        }
        let message = match std::mem::take(&mut recorder.flying.leaving) {
            Leaving::Message(message) => Some(message),
            Leaving::Nothing | Leaving::Stream(..) => None,
        };
        due.push_back(Due { at, cause: because, message });
    }

    /// What leaves waits until its way is released.
    #[inline]
    pub(crate) fn note_kept(&mut self, event: Event) {
        if self.trace.is_some() {
            self.note_scheduled(LATER, event);
        }
    }
}

/// Arriving.
impl Run {
    /// Something of the network happens now. What is a message has arrived, or is lost.
    #[cold]
    pub(crate) fn note_due(&mut self, event: Event) {
        let now = self.now;
        let Some(recorder) = &mut self.trace else { return };
        let mut found = None;
        if let Some(all) = recorder.flying.due.get_mut(&event) {
            found = all.iter().position(|due| due.at == now).and_then(|place| all.remove(place));
            if all.is_empty() {
                recorder.flying.due.remove(&event);
            }
        }
        recorder.because = found.as_ref().and_then(|due| due.cause);
        if let Event::Deliver(id, side) = event {
            return self.note_delivered(id, side);
        }
        let Some(message) = found.and_then(|due| due.message) else { return };
        recorder.because = message.event;
        if let Event::Datagram(_) = event {
            recorder.flying.landing = Some(message);
        } else if self.hosts[message.to].power == Power::Off {
            self.note(What::Lost { message: message.number, why: Why::PowerOff });
        } else {
            self.note_arrival(message);
        }
    }

    fn note_arrival(&mut self, message: Message) {
        self.now_comes_of(message.event);
        let arrival = self.note(What::Arrive { message: message.number });
        self.now_comes_of(arrival);
    }

    /// What a side of a connection has sent arrives, as far as it is due.
    fn note_delivered(&mut self, id: ConnectionId, side: Side) {
        let now = self.now;
        while let Some(message) = self.take_part(id, side, |part| part.at <= now) {
            if self.hosts[message.to].power == Power::Off {
                self.note(What::Lost { message: message.number, why: Why::PowerOff });
            } else {
                self.note_arrival(message);
            }
        }
    }

    /// Takes the first message off a stream of which something holds.
    fn take_part(&mut self, id: ConnectionId, side: Side, is_it: impl Fn(&Part) -> bool) -> Option<Message> {
        let streams = &mut self.trace.as_mut()?.flying.streams;
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
    pub(crate) fn flights_lost(&mut self, id: ConnectionId, side: Side, why: Why) {
        if self.trace.is_some() {
            while let Some(message) = self.take_part(id, side, |_| true) {
                self.note(What::Lost { message: message.number, why });
            }
        }
    }

    /// What a side of a connection has not sent will never be; what it has sent flies on.
    #[inline]
    pub(crate) fn unsent_lost(&mut self, id: ConnectionId, side: Side) {
        if self.trace.is_some() {
            while let Some(message) = self.take_part(id, side, |part| part.at == LATER) {
                self.note(What::Lost { message: message.number, why: Why::Reset });
            }
        }
    }

    /// The datagram that has got to its machine is there, or is lost.
    #[inline]
    pub(crate) fn datagram_landed(&mut self, lost: Option<Why>) {
        if self.trace.is_some() {
            self.note_landed(lost);
        }
    }

    #[cold]
    fn note_landed(&mut self, lost: Option<Why>) {
        let landing = self.trace.as_mut().and_then(|recorder| recorder.flying.landing.take());
        match (landing, lost) {
            (Some(message), None) => self.note_arrival(message),
            (Some(message), Some(why)) => {
                self.note(What::Lost { message: message.number, why });
            }
            (None, _) => {}
        }
    }
}

/// The story of a message. Places are those of events in the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Its number.
    pub message: u32,
    /// Where it left: a [`What::Message`].
    pub left: usize,
    /// What made it late: each a [`What::Delayed`].
    pub delays: Vec<usize>,
    /// Where it ended: a [`What::Arrive`] or a [`What::Lost`]; `None` for one that is still on its way when the run ends.
    pub ended: Option<usize>,
}

impl Trace {
    /// All messages, in the order they left. One whose leaving was not kept is none.
    pub fn messages(&self) -> Vec<Passage> {
        let mut messages: Vec<Passage> = Vec::new();
        for (place, event) in self.events.iter().enumerate() {
            match event.what {
                // Numbers begin with 0, and go up by one.
                What::Message { message, .. } => {
                    messages.push(Passage { message, left: place, delays: Vec::new(), ended: None });
                }
                What::Delayed { message, .. } => messages[message as usize].delays.push(place),
                What::Arrive { message } | What::Lost { message, .. } => {
                    messages[message as usize].ended = Some(place);
                }
                _ => {}
            }
        }
        messages
    }
}
