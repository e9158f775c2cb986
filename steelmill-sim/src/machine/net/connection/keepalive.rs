//! Keepalive probes (SO_KEEPALIVE of socket(7), tcp(7)): how an end that has nothing on its way finds out that its peer is gone.
//!
//! A probe that is answered leaves nothing that either program could see. So none is sent while both ends are there and both
//! directions open: an end is watched from a cut, a loss of power or a lost reset on, until a probe is answered. Meanwhile its timer
//! does what Linux's `tcp_keepalive_timer()` does, at the times at which that would have been.

use super::{Connection, ConnectionId, Side, State};
use crate::kernel::timers::Nanos;
use crate::machine::cluster::Cluster;
use crate::machine::net::Event;
use crate::machine::net::options::Options;

/// The keepalive timer of an end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Keepalive {
    /// When the end was established, or the answer to its last probe arrived.
    heard_at: Nanos,
    /// From when on idle time counts at the earliest: the option was set then.
    counts_from: Nanos,
    /// When the timer ends; 0 while the end is not watched.
    due: Nanos,
    /// While it is watched, since when it has heard nothing, and how many probes it has sent.
    silent_since: Nanos,
    probes: u8,
}

impl Connection {
    /// Whether all that `side` has sent is acknowledged: only then it probes. Else retransmissions find out.
    fn has_all_acknowledged(&mut self, side: Side) -> bool {
        let pipe = self.out(side);
        pipe.stalled_since.is_none() && !pipe.has_unsent() && !pipe.has_flights()
    }

    /// When `side` heard of its peer last. Acknowledgements take so long.
    fn last_heard(&mut self, side: Side, latency_back: Nanos) -> Nanos {
        let acknowledged = match self.out(side).arrived_at() {
            0 => 0,
            at => at + latency_back,
        };
        let heard_at = self.keepalives[usize::from(side)].heard_at;
        heard_at.max(self.into(side).arrived_at()).max(acknowledged)
    }

    fn keepalive(&mut self, side: Side) -> &mut Keepalive {
        &mut self.keepalives[usize::from(side)]
    }
}

impl Cluster {
    /// An end is established.
    #[inline]
    pub(super) fn keepalive_begins(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        if let Some(connection) = self.net.tcp.get(id) {
            *connection.keepalive(side) =
                Keepalive { heard_at: now, counts_from: now, ..Keepalive::default() };
            if connection.options(side).keepalive {
                self.watch_if_unanswered(id, side);
            }
        }
    }

    /// Options of an end were changed.
    pub(crate) fn keepalive_options_changed(&mut self, id: ConnectionId, side: Side, before: &Options) {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let options = *connection.options(side);
        let is_switched = options.keepalive != before.keepalive;
        if !is_switched && options.keep_idle() == before.keep_idle() {
            return;
        }
        let keepalive = connection.keepalive(side);
        keepalive.due = 0;
        // An idle time that is over already has the timer end at once.
        keepalive.counts_from = if is_switched { now } else { now.saturating_sub(options.keep_idle()) };
        self.watch_if_unanswered(id, side);
    }

    /// Ends between `machine` and `other`, or any other machine, may get no answers from now on.
    #[cold]
    pub(super) fn watch_ends(&mut self, machine: u32, other: Option<u32>) {
        for (id, own) in self.net.tcp.ends_of(machine) {
            for side in [own, 1 - own] {
                let Some(connection) = self.net.tcp.get(id) else { continue };
                let (from, to) = connection.link(side);
                if from != to && other.is_none_or(|other| [from, to].contains(&other)) {
                    self.watch_if_unanswered(id, side);
                }
            }
        }
    }

    /// Whether the peer of `side` is there for a probe.
    fn has_peer(&mut self, id: ConnectionId, side: Side) -> bool {
        self.net.tcp.get(id).is_some_and(|connection| {
            let other = connection.other(side);
            matches!(connection.end(other).state, State::Established | State::SynReceived | State::Orphaned)
        })
    }

    /// Begins to watch an end, if a probe would get no answer, or a reset.
    fn watch_if_unanswered(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id).filter(|one| one.options[usize::from(side)].keepalive)
        else {
            return;
        };
        let way = connection.way(side);
        if !self.has_round_trip(way.0, way.1) || !self.has_peer(id, side) {
            self.watch(id, side);
        }
    }

    /// Begins to watch an end, if it has the option.
    pub(super) fn watch(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        let is_over = self.tcp_is_over(id, side);
        let Some(connection) = self.net.tcp.get(id).filter(|_| !is_over) else {
            return;
        };
        let (options, link) = (*connection.options(side), connection.link(side));
        let is_watched = connection.keepalive(side).due != 0;
        let is_open = connection.end(side).state == State::Established && !connection.is_self;
        if !options.keepalive || is_watched || !is_open || !connection.has_all_acknowledged(side) {
            return;
        }
        let back = self.net.links.range(link.1, link.0).0;
        let round_trip = self.net.links.range(link.0, link.1).0 + back;
        let connection = self.net.tcp.get(id).expect("checked above");
        let mut silent_since = connection.last_heard(side, back).max(connection.keepalive(side).counts_from);
        let mut due = silent_since + options.keep_idle();
        if due < now {
            // Those until now were answered.
            let period = (options.keep_idle() + round_trip).max(options.keep_interval());
            let last = due + (now - due) / period * period;
            (silent_since, due) = (last + round_trip, last + period);
        }
        let keepalive = connection.keepalive(side);
        (keepalive.due, keepalive.silent_since, keepalive.probes) = (due, silent_since, 0);
        self.schedule(due, Event::Keepalive(id, side, due));
    }

    /// The timer of a watched end ends: it sends a probe, or gives up after so many.
    pub(crate) fn keepalive_timer_ends(&mut self, id: ConnectionId, side: Side, due: Nanos) {
        let now = self.kernel.now;
        let is_over = self.tcp_is_over(id, side);
        let Some(connection) =
            self.net.tcp.get(id).filter(|one| one.keepalives[usize::from(side)].due == due && !is_over)
        else {
            return;
        };
        connection.keepalive(side).due = 0;
        let options = *connection.options(side);
        if connection.end(side).state != State::Established || !connection.has_all_acknowledged(side) {
            return;
        }
        let (link, way, other) = (connection.link(side), connection.way(side), connection.other(side));
        let back = self.net.links.range(link.1, link.0).0;
        let heard_at = connection.last_heard(side, back);
        let keepalive = connection.keepalive(side);
        if heard_at > keepalive.silent_since {
            (keepalive.silent_since, keepalive.probes) = (heard_at, 0);
        }
        let Keepalive { silent_since, probes, .. } = *keepalive;
        let gives_up = match options.user_timeout() {
            Some(timeout) => probes > 0 && now - silent_since >= timeout,
            None => probes >= options.keep_count(),
        };
        if gives_up {
            self.send_reset(id, side);
            return self.fail_end(id, side, libc::ETIMEDOUT);
        }
        let is_answered = self.has_round_trip(way.0, way.1);
        if is_answered && self.has_peer(id, side) {
            let connection = self.net.tcp.get(id).expect("checked above");
            connection.keepalive(side).heard_at = now + self.net.links.range(link.0, link.1).0 + back;
            return;
        }
        if silent_since + options.keep_idle() > now && probes == 0 {
            return self.schedule_keepalive(id, side, silent_since + options.keep_idle());
        }
        if is_answered && self.send_reset(id, other) {
            return;
        }
        let connection = self.net.tcp.get(id).expect("checked above");
        connection.keepalive(side).probes += 1;
        self.schedule_keepalive(id, side, now + options.keep_interval());
    }

    fn schedule_keepalive(&mut self, id: ConnectionId, side: Side, at: Nanos) {
        if let Some(connection) = self.net.tcp.get(id) {
            connection.keepalive(side).due = at;
            self.schedule(at, Event::Keepalive(id, side, at));
        }
    }
}
