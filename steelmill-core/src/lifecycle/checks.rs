//! Whom to ask for its health, and when: a state machine without executor and user code.
//!
//! What always holds: a daemon is asked one question at a time, so one that never answers costs one task. All questions have the
//! same timeout, so they expire in the order in which they were asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::control::SlotId;
use crate::{Health, HealthChecks};

/// The shortest time between two rounds.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// The questions that the daemons of a factory are asked. `A` is what the supervisor keeps of a question.
pub(super) struct Checks<A> {
    settings: HealthChecks,
    slots: Vec<Check<A>>,
    /// Questions that may be unanswered: when each expires, in that order.
    in_flight: VecDeque<(Instant, SlotId, u64)>,
    /// When all are asked again; `None` before the factory runs and when it stops.
    next_round: Option<Instant>,
    /// Daemons that have begun a run.
    fresh: Vec<SlotId>,
    questions: u64,
}

struct Check<A> {
    health: Option<Health>,
    /// The unanswered question.
    asked: Option<(u64, A)>,
    has_check: bool,
}

/// What is to be done now.
#[derive(Default)]
pub(super) struct Due {
    pub(super) ask: Vec<SlotId>,
    /// Who has not answered in time, and what it had answered before.
    pub(super) late: Vec<(SlotId, Option<Health>)>,
}

impl<A> Checks<A> {
    pub(super) fn new(settings: HealthChecks, slots: usize) -> Self {
        let slots = (0..slots).map(|_| Check { health: None, asked: None, has_check: true }).collect();
        let settings = HealthChecks { every: settings.every.max(EVERY_MIN), ..settings };
        let (in_flight, fresh) = (VecDeque::new(), Vec::new());
        Checks { settings, slots, in_flight, next_round: None, fresh, questions: 0 }
    }

    pub(super) fn health(&self, id: SlotId) -> Option<&Health> {
        self.slots[id.index()].health.as_ref()
    }

    /// The factory runs: the first round is at once.
    pub(super) fn begin(&mut self, now: Instant) {
        self.next_round.get_or_insert(now);
    }

    /// The factory stops: nobody is asked any more.
    pub(super) fn end(&mut self) {
        self.next_round = None;
        self.fresh.clear();
        self.in_flight.clear();
        for check in &mut self.slots {
            check.asked = None;
        }
    }

    /// A daemon begins a run, or ends one: what it answered does not count any more. True if that changes its health.
    pub(super) fn renew(&mut self, id: SlotId, is_running: bool) -> bool {
        if is_running && self.next_round.is_some() {
            self.fresh.push(id);
        }
        let check = &mut self.slots[id.index()];
        // The task of an earlier run may hang. Its answer is ignored then.
        check.asked = None;
        if !check.has_check {
            return false;
        }
        check.health.take().is_some()
    }

    /// When something is due next.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let expires = self.in_flight.front().map(|(at, ..)| *at);
        [expires, self.next_round].into_iter().flatten().min()
    }

    /// Whom to ask: all that are due and run.
    pub(super) fn due(&mut self, now: Instant, is_running: impl Fn(SlotId) -> bool) -> Due {
        let mut due = Due::default();
        while let Some((at, id, question)) = self.in_flight.front().copied()
            && at <= now
        {
            self.in_flight.pop_front();
            let timeout = self.settings.timeout;
            let check = &mut self.slots[id.index()];
            if check.asked.as_ref().is_some_and(|(asked, _)| *asked == question) {
                let late = Health::Unresponsive(format!("did not answer within {timeout:?}").into());
                due.late.push((id, check.health.replace(late)));
            }
        }
        let Some(next_round) = self.next_round else { return due };
        if next_round <= now {
            self.next_round = now.checked_add(self.settings.every);
            self.fresh.clear();
            due.ask.extend((0..self.slots.len() as u32).map(SlotId));
        } else {
            due.ask.append(&mut self.fresh);
        }
        let may_be_asked = |id: &SlotId| {
            let check = &self.slots[id.index()];
            check.asked.is_none() && check.has_check && is_running(*id)
        };
        due.ask.retain(may_be_asked);
        due
    }

    /// The number of the next question.
    pub(super) fn next_question(&mut self) -> u64 {
        self.questions += 1;
        self.questions
    }

    /// A daemon is asked.
    pub(super) fn asked(&mut self, id: SlotId, question: u64, asking: A, now: Instant) {
        self.slots[id.index()].asked = Some((question, asking));
        if let Some(expires) = now.checked_add(self.settings.timeout) {
            self.in_flight.push_back((expires, id, question));
        }
    }

    /// What is kept of the question that a daemon has not answered in time.
    pub(super) fn give_up(&mut self, id: SlotId) -> Option<&mut A> {
        self.slots[id.index()].asked.as_mut().map(|(_, asking)| asking)
    }

    /// A question is answered; `None`: its task was interrupted. True if that changes the health of the daemon.
    pub(super) fn answered(&mut self, id: SlotId, question: u64, health: Option<Health>) -> bool {
        let check = &mut self.slots[id.index()];
        if check.asked.take_if(|(asked, _)| *asked == question).is_none() {
            return false;
        }
        check.has_check = health != Some(Health::Unchecked);
        health.is_some_and(|health| check.set(health))
    }
}

impl<A> Check<A> {
    /// Sets the health; true if it has changed.
    fn set(&mut self, health: Health) -> bool {
        let health = Some(health);
        let is_new = self.health != health;
        self.health = health;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: SlotId = SlotId(0);
    const GATEWAY: SlotId = SlotId(1);
    const SECOND: Duration = Duration::from_secs(1);

    struct Factory {
        checks: Checks<()>,
        begun: Instant,
    }

    impl Factory {
        /// Two daemons, asked every five seconds, with a second to answer.
        fn new() -> Factory {
            #[expect(clippy::disallowed_methods, reason = "any instant serves")]
            let begun = Instant::now();
            let mut checks = Checks::new(HealthChecks::default(), 2);
            checks.begin(begun);
            Factory { checks, begun }
        }

        /// Asks whoever is due so many seconds after the begin; returns them, and who is late.
        fn at(&mut self, seconds: u32) -> (Vec<SlotId>, Vec<SlotId>) {
            let now = self.begun + seconds * SECOND;
            let Due { ask, late } = self.checks.due(now, |_| true);
            let late = late.into_iter().map(|(id, _)| id).collect();
            for id in &ask {
                let question = self.checks.next_question();
                self.checks.asked(*id, question, (), now);
            }
            (ask, late)
        }

        fn wakes_after(&self) -> Option<u64> {
            self.checks.wake_at().map(|at| (at - self.begun).as_secs())
        }
    }

    #[test]
    fn all_are_asked_at_once_and_then_every_so_often() {
        let mut factory = Factory::new();
        assert_eq!(factory.at(0), (vec![STORE, GATEWAY], vec![]));
        assert!(factory.checks.answered(STORE, 1, Some(Health::Healthy)));
        assert!(factory.checks.answered(GATEWAY, 2, Some(Health::failing("full"))));
        assert_eq!(factory.at(4), (vec![], vec![]));
        assert_eq!(factory.at(5), (vec![STORE, GATEWAY], vec![]));
        assert!(!factory.checks.answered(STORE, 3, Some(Health::Healthy)), "nothing has changed");
        assert_eq!(factory.checks.health(GATEWAY), Some(&Health::failing("full")));
    }

    #[test]
    fn who_does_not_answer_in_time_is_unresponsive_and_is_not_asked_again_until_it_has() {
        let mut factory = Factory::new();
        factory.at(0);
        factory.checks.answered(STORE, 1, Some(Health::Healthy));
        assert_eq!(factory.wakes_after(), Some(1));
        assert_eq!(factory.at(1), (vec![], vec![GATEWAY]));
        let late = factory.checks.health(GATEWAY).expect("it is late");
        assert_eq!(late.to_string(), "unresponsive: did not answer within 1s");
        assert_eq!(factory.at(5).0, [STORE], "the other one is being asked");
        assert!(!factory.checks.answered(GATEWAY, 2, None), "it was interrupted");
        assert!(factory.at(10).0.contains(&GATEWAY));
    }

    #[test]
    fn who_has_no_check_is_asked_once() {
        let mut factory = Factory::new();
        factory.at(0);
        assert!(factory.checks.answered(STORE, 1, Some(Health::Unchecked)));
        assert!(!factory.checks.renew(STORE, true), "nor in another run");
        assert_eq!(factory.checks.health(STORE), Some(&Health::Unchecked));
        assert_eq!(factory.at(5).0, []);
    }

    #[test]
    fn a_run_that_begins_is_asked_at_once_and_the_answer_to_an_earlier_one_is_ignored() {
        let mut factory = Factory::new();
        factory.at(0);
        factory.checks.answered(GATEWAY, 2, Some(Health::Healthy));
        assert!(factory.checks.renew(GATEWAY, true));
        assert!(!factory.checks.renew(STORE, true));
        assert!(!factory.checks.answered(STORE, 1, Some(Health::failing("the former run"))));
        assert_eq!(factory.at(2).0, [GATEWAY, STORE]);
        assert_eq!(factory.checks.health(STORE), None);
    }

    #[test]
    fn nobody_is_asked_after_the_end() {
        let mut factory = Factory::new();
        factory.at(0);
        factory.checks.end();
        assert_eq!(factory.wakes_after(), None);
        assert_eq!(factory.at(9), (vec![], vec![]));
    }
}
