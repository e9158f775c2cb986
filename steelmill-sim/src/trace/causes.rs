//! Causality (happens-before) between events.
//!
//! The run records the direct cause of each event. The cause of a poll is the wake or the spawn that made its task
//! ready; of anything during a poll, the poll; of a wake from outside of a task, the timer or the arrival; of a timer,
//! the poll that armed it; of an arrival, the send. So causes form a chain, consequences a tree.

use super::{Event, Trace};

impl Trace {
    /// The direct cause of each event. `None` if it has none, or the trace does not contain it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steelmill_sim::trace::EventKind;
    /// use steelmill_sim::{Seed, Settings, simulate};
    ///
    /// let settings = Settings { trace: true, ..Settings::new(Seed(1)) };
    /// let outcome = simulate(settings, &|sim| async move {
    ///     sim.clock().sleep(Duration::from_secs(1)).await;
    ///     sim.count("naps", 1);
    ///     Ok(())
    /// });
    /// let trace = outcome.trace.expect("it was asked for");
    /// let causes = trace.causes();
    /// let mut event = trace.events.iter().position(|event| matches!(event.what, EventKind::Count { .. }));
    /// let mut story = vec![];
    /// while let Some(number) = event {
    ///     story.push(trace.line(&trace.events[number]).what);
    ///     event = causes[number];
    /// }
    /// let names = ["count 1 naps", "poll", "wake", "a timer of", "poll", "spawn"];
    /// assert!(story.iter().zip(names).all(|(what, name)| what.starts_with(name)), "{story:?}");
    /// assert_eq!(story.len(), names.len());
    /// ```
    pub fn causes(&self) -> Vec<Option<usize>> {
        self.events.iter().map(|event| event.cause.map(|cause| cause as usize)).collect()
    }

    /// For each event the nearest cause that `is_shown`: [`causes`](Trace::causes) with hidden events skipped.
    pub fn nearest(&self, is_shown: impl Fn(&Event) -> bool) -> Vec<Option<usize>> {
        let mut nearest: Vec<Option<usize>> = Vec::with_capacity(self.events.len());
        for event in &self.events {
            // A cause precedes its consequences, so its own nearest cause is known already.
            let cause = event.cause.map(|cause| cause as usize);
            nearest.push(match cause {
                Some(cause) if is_shown(&self.events[cause]) => Some(cause),
                Some(cause) => nearest[cause],
                None => None,
            });
        }
        nearest
    }

    /// The direct consequences of each event: the inverse of [`causes`](Trace::causes) or [`nearest`](Trace::nearest).
    pub fn consequences(causes: &[Option<usize>]) -> Vec<Vec<usize>> {
        let mut consequences = vec![Vec::new(); causes.len()];
        for (event, cause) in causes.iter().enumerate() {
            if let Some(cause) = cause {
                consequences[*cause].push(event);
            }
        }
        consequences
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::event::EventKind;

    fn trace(causes: &[Option<u32>]) -> Trace {
        let event = |(at, cause): (usize, &Option<u32>)| Event {
            at: at as u64,
            task: None,
            cause: *cause,
            what: EventKind::Time { to: at as u64 },
            digest: 0,
        };
        Trace { events: causes.iter().enumerate().map(event).collect(), ..Trace::default() }
    }

    #[test]
    fn what_is_not_shown_is_skipped() {
        let trace = trace(&[None, Some(0), Some(1), Some(2), None, Some(4)]);
        assert_eq!(trace.causes(), [None, Some(0), Some(1), Some(2), None, Some(4)]);
        let even = trace.nearest(|event| event.at % 2 == 0);
        assert_eq!(even, [None, Some(0), Some(0), Some(2), None, Some(4)]);
        assert_eq!(trace.nearest(|_| false), [None; 6]);
    }

    #[test]
    fn consequences_are_causes_the_other_way_round() {
        let consequences = Trace::consequences(&trace(&[None, Some(0), Some(0), Some(2)]).causes());
        assert_eq!(consequences, [vec![1, 2], vec![], vec![3], vec![]]);
    }
}
