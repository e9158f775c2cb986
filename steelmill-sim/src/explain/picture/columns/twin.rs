//! A green run beside a red one: what they have in common at the beginning is shown once, then the events of both.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Builder, Columns, shows};
use crate::schema::event::{Event, EventKind};
use crate::schema::trace::Trace;

/// Which lanes and events are those of a green run that is shown beside a red one.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Twin {
    /// Its lanes, in the order of the red run's.
    lanes: Vec<u32>,
    /// The number of events at the beginning that are common to both runs, and shown in the red run's lanes only.
    common: usize,
    /// What makes it differ.
    differs: String,
}

impl Columns {
    /// The columns of a red run and a green one, whose lanes follow. What they have in common at the beginning is shown once;
    /// then the events of both are in order of time. `None` if a trace is not whole, or has more than `most` events to show.
    pub(in crate::explain::picture) fn of_both(
        red: &Trace,
        green: &Trace,
        differs: String,
        most: usize,
    ) -> Option<Self> {
        for trace in [red, green] {
            let shown = trace.events.iter().filter(|event| shows(&event.what)).count();
            if trace.skipped + trace.dropped > 0 || shown > most {
                return None;
            }
        }
        let is_same = |(a, b): &(&Event, &Event)| (a.at, a.task, a.what) == (b.at, b.task, b.what);
        let common = red.events.iter().zip(&green.events).take_while(is_same).count();
        let mut ours = Builder::new(red, 0..red.events.len());
        let mut theirs = Builder::new(green, 0..green.events.len());
        theirs.first_lane = red.machines.len() as u32;
        ours.columns.lanes.extend(green.machines.iter().cloned());
        let spanning = Spanning::of(green, common);
        for (event, followed) in red.events.iter().zip(&green.events).take(common) {
            theirs.with_page_of(&mut ours, |theirs| theirs.follow(followed, &spanning));
            ours.add(event, shows(&event.what));
        }
        let common_shown = ours.columns.events.kind.len();
        let (mut a, mut b) =
            (red.events[common..].iter().peekable(), green.events[common..].iter().peekable());
        loop {
            // Of two at the same time, the red run's is first.
            match (a.peek(), b.peek()) {
                (Some(event), other) if other.is_none_or(|other| event.at <= other.at) => {
                    ours.add(event, shows(&event.what));
                    a.next();
                }
                (_, Some(event)) => {
                    theirs.with_page_of(&mut ours, |theirs| theirs.add(event, shows(&event.what)));
                    b.next();
                }
                _ => break,
            }
        }
        ours.finish();
        let faults = ours.columns.faults.clone();
        theirs.with_page_of(&mut ours, Builder::finish);
        let lanes = (theirs.first_lane..).take(green.machines.len()).chain(theirs.nobody).collect();
        ours.columns.faults = faults;
        ours.columns.twin = Some(Twin { lanes, common: common_shown, differs });
        Some(ours.columns)
    }
}

/// Messages and operations that begin in the common part of two runs and end after it.
struct Spanning {
    messages: BTreeSet<u32>,
    operations: BTreeSet<u32>,
}

impl Spanning {
    fn of(trace: &Trace, common: usize) -> Self {
        let mut spanning = Self { messages: BTreeSet::new(), operations: BTreeSet::new() };
        for event in &trace.events[common..] {
            match event.what {
                EventKind::Arrive { message } | EventKind::Lost { message, .. } => {
                    spanning.messages.insert(message);
                }
                EventKind::Return { operation } => {
                    spanning.operations.insert(operation);
                }
                _ => {}
            }
        }
        spanning
    }
}

impl<'a> Builder<'a> {
    /// Builds on the page of another builder.
    fn with_page_of(&mut self, other: &mut Self, build: impl FnOnce(&mut Self)) {
        let swap = |a: &mut Self, b: &mut Self| {
            std::mem::swap(&mut a.columns, &mut b.columns);
            std::mem::swap(&mut a.words, &mut b.words);
            std::mem::swap(&mut a.at, &mut b.at);
        };
        swap(self, other);
        build(self);
        swap(self, other);
    }

    /// Follows an event that another run has, too, and adds next.
    fn follow(&mut self, event: &'a Event, spanning: &Spanning) {
        self.number_connection(event.what);
        let number = shows(&event.what).then_some(self.columns.events.kind.len());
        let nearest = event.cause.and_then(|cause| self.nearest.get(cause as usize).copied().flatten());
        let continues = match event.what {
            EventKind::Message { message, .. } => spanning.messages.contains(&message),
            EventKind::Invoke { operation } => spanning.operations.contains(&operation),
            EventKind::State { .. } | EventKind::Health { .. } => true,
            EventKind::Machine { .. } | EventKind::Delayed { .. } => true,
            _ => false,
        };
        if continues {
            self.of(event, number.is_some());
        }
        self.numbers.push(number);
        self.nearest.push(number.or(nearest));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{all, trace};
    use super::super::{Kind, Messages, Operations};
    use super::*;
    use crate::machine::sim::Sim;
    use crate::trace::history::{History, Kv, KvOp, KvReply};

    #[test]
    fn of_two_runs_the_common_part_is_shown_once() {
        let run = |is_green: bool| {
            trace(move |sim: Sim| async move {
                let (a, b) = (sim.client("a"), sim.client("b"));
                let inbox = b.network().bind_udp("0.0.0.0:9").await?;
                let socket = a.network().bind_udp("0.0.0.0:0").await?;
                socket.send_to(b"same", "b:9").await?;
                inbox.recv(&mut [0; 9]).await?;
                let history = History::<Kv>::default();
                let call = history.invoke(sim.elapsed(), "c", "k", KvOp::Get);
                let hold = sim.hold(&a, &b);
                socket.send_to(b"under way", "b:9").await?;
                sim.clock().sleep(Duration::from_secs(1)).await;
                if is_green {
                    sim.clock().sleep(Duration::from_secs(1)).await;
                }
                hold.release();
                inbox.recv(&mut [0; 9]).await?;
                call.returned(sim.elapsed(), KvReply::Value(is_green.then(|| "1".into())));
                Ok(())
            })
        };
        let (red, green) = (run(false), run(true));
        let ours = all(&red);
        let both = Columns::of_both(&red, &green, String::new(), usize::MAX).expect("both are whole");
        let twin = both.twin.as_ref().expect("there is one");
        assert_eq!((&twin.lanes[..], &both.lanes[..3]), (&[3, 4, 5][..], &ours.lanes[..]));
        assert!(both.events.lane[..twin.common].iter().all(|lane| *lane < 3));
        assert!(both.events.lane[twin.common..].iter().any(|lane| *lane >= 3));
        // What is under way when they part arrives twice, and both come from the same event.
        let Messages { sent, arrived, from, to, .. } = &both.messages;
        let whats: Vec<_> = both.messages.what.iter().map(|what| both.word(*what)).collect();
        assert_eq!(whats, ["same", "under way", "under way"]);
        assert!(sent[1] == sent[2] && sent[1] < twin.common, "{sent:?}");
        let mut lanes = [(from[1], to[1]), (from[2], to[2])];
        lanes.sort_unstable();
        assert_eq!(lanes, [(1, 2), (4, 5)]);
        for arrived in &arrived[1..] {
            let arrived = *arrived as usize;
            assert!(both.is(arrived, Kind::Arrival) && both.cause(arrived) == sent[1]);
        }
        let Operations { invoke, returned, lane, told, .. } = &both.operations;
        assert!(invoke[0] == invoke[1] && returned[0] != returned[1] && lane[0].abs_diff(lane[1]) == 3);
        assert_ne!(both.word(told[0]), both.word(told[1]));
        let count = |columns: &Columns| columns.events.kind.len();
        assert_eq!(count(&both), count(&ours) + count(&all(&green)) - twin.common);
        assert!(Columns::of_both(&red, &green, String::new(), 5).is_none(), "too long");
    }
}
