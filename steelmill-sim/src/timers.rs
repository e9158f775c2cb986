//! What is going to happen: one queue of events in virtual time, ties broken by the order they were asked for.
//!
//! Timers of tasks live in a table of their own, so that a cancelled one frees its place at once; its entry in the
//! queue goes stale, and when most entries are stale the queue is swept.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::waker::Waiter;

/// Virtual nanoseconds since the run began.
pub(crate) type Nanos = u64;

/// Names a timer. The generation tells a reused place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerId {
    index: u32,
    generation: u32,
}

/// Something that is due. `E` is what the queue's owner schedules beside timers.
pub(crate) enum Due<E> {
    /// A timer's waiter is to be woken.
    Timer(Option<Waiter>),
    Event(E),
}

struct Entry<E> {
    at: Nanos,
    sequence: u64,
    what: What<E>,
}

enum What<E> {
    Timer(TimerId),
    Event(E),
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |entry: &Self| u128::from(entry.at) << 64 | u128::from(entry.sequence);
        key(self).cmp(&key(other))
    }
}

struct Timer {
    generation: u32,
    state: State,
    /// Whose clock it runs on, and its deadline there.
    machine: u32,
    local: Nanos,
    waiter: Option<Waiter>,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum State {
    Free,
    Armed,
    Fired,
}

pub(crate) struct Timers<E> {
    queue: BinaryHeap<Reverse<Entry<E>>>,
    sequence: u64,
    timers: Vec<Timer>,
    free: Vec<u32>,
    /// Entries of the queue whose timer was cancelled.
    stale: usize,
}

impl<E> Timers<E> {
    pub(crate) fn new() -> Self {
        Self {
            queue: BinaryHeap::new(),
            sequence: 0,
            timers: Vec::new(),
            free: Vec::new(),
            stale: 0,
        }
    }

    #[inline]
    fn push(&mut self, at: Nanos, what: What<E>) {
        self.sequence += 1;
        self.queue.push(Reverse(Entry {
            at,
            sequence: self.sequence,
            what,
        }));
    }

    #[inline]
    pub(crate) fn schedule(&mut self, at: Nanos, event: E) {
        self.push(at, What::Event(event));
    }

    /// Arms a timer of `machine` whose own clock shows `local` when the run's shows `at`.
    #[inline]
    pub(crate) fn arm(&mut self, at: Nanos, machine: u32, local: Nanos, waiter: Waiter) -> TimerId {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.timers.push(Timer {
                    generation: 0,
                    state: State::Free,
                    machine,
                    local,
                    waiter: None,
                });
                u32::try_from(self.timers.len() - 1).expect("fewer than four billion timers")
            }
        };
        let timer = &mut self.timers[index as usize];
        timer.state = State::Armed;
        timer.machine = machine;
        timer.local = local;
        timer.waiter = Some(waiter);
        let id = TimerId {
            index,
            generation: timer.generation,
        };
        self.push(at, What::Timer(id));
        id
    }

    /// Whether it has fired. If not, `waiter` is who will be woken from now on; the former one is handed back.
    pub(crate) fn check(&mut self, id: TimerId, waiter: Waiter) -> (bool, Option<Waiter>) {
        let timer = &mut self.timers[id.index as usize];
        if timer.generation != id.generation || timer.state == State::Fired {
            return (true, Some(waiter));
        }
        (false, timer.waiter.replace(waiter))
    }

    /// Gives a timer's place back; its waiter is handed out to be dropped elsewhere.
    #[inline]
    pub(crate) fn release(&mut self, id: TimerId) -> Option<Waiter> {
        let timer = &mut self.timers[id.index as usize];
        if timer.generation != id.generation {
            return None;
        }
        self.stale += usize::from(timer.state == State::Armed);
        timer.state = State::Free;
        timer.generation = timer.generation.wrapping_add(1);
        let waiter = timer.waiter.take();
        self.free.push(id.index);
        if self.stale > 64 && self.stale > self.queue.len() / 2 {
            self.sweep();
        }
        waiter
    }

    #[cold]
    fn sweep(&mut self) {
        let timers = &self.timers;
        self.queue.retain(|Reverse(entry)| match entry.what {
            What::Timer(id) => is_armed(timers, id),
            What::Event(_) => true,
        });
        self.stale = 0;
    }

    /// When the next event is due.
    #[inline]
    pub(crate) fn next_at(&mut self) -> Option<Nanos> {
        loop {
            let Reverse(entry) = self.queue.peek()?;
            match entry.what {
                What::Timer(id) if !is_armed(&self.timers, id) => {
                    self.queue.pop();
                    self.stale = self.stale.saturating_sub(1);
                }
                _ => return Some(entry.at),
            }
        }
    }

    /// Takes the next event that is due at `now`.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: Nanos) -> Option<Due<E>> {
        loop {
            if self.queue.peek()?.0.at > now {
                return None;
            }
            let Reverse(entry) = self.queue.pop()?;
            match entry.what {
                What::Event(event) => return Some(Due::Event(event)),
                What::Timer(id) => {
                    let timer = &mut self.timers[id.index as usize];
                    if timer.generation == id.generation && timer.state == State::Armed {
                        timer.state = State::Fired;
                        return Some(Due::Timer(timer.waiter.take()));
                    }
                    self.stale = self.stale.saturating_sub(1);
                }
            }
        }
    }

    /// Moves the timers of a machine whose clock has changed its pace: `at` tells when its clock will show a time.
    pub(crate) fn reschedule(&mut self, machine: u32, at: impl Fn(Nanos) -> Nanos) {
        let timers = &self.timers;
        let mut entries = std::mem::take(&mut self.queue).into_vec();
        for Reverse(entry) in &mut entries {
            if let What::Timer(id) = entry.what
                && is_armed(timers, id)
                && timers[id.index as usize].machine == machine
            {
                entry.at = at(timers[id.index as usize].local);
            }
        }
        self.queue = entries.into();
    }

    /// How many places are taken and how long the queue is: for tests that nothing piles up.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.timers.len() - self.free.len(), self.queue.len())
    }
}

#[inline]
fn is_armed(timers: &[Timer], id: TimerId) -> bool {
    let timer = &timers[id.index as usize];
    timer.generation == id.generation && timer.state == State::Armed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waker::TaskKey;

    fn waiter() -> Waiter {
        Waiter::Task(TaskKey::new(0, 0, 0))
    }

    #[test]
    fn events_come_in_order_and_ties_in_the_order_they_were_asked_for() {
        let mut timers = Timers::new();
        for (at, name) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            timers.schedule(at, name);
        }
        let mut seen = String::new();
        while let Some(now) = timers.next_at() {
            while let Some(Due::Event(name)) = timers.pop_due(now) {
                seen.push(name);
            }
        }
        assert_eq!(seen, "abcd");
    }

    #[test]
    fn cancelled_timers_do_not_pile_up() {
        let mut timers = Timers::<()>::new();
        for n in 0..100_000 {
            let id = timers.arm(1_000_000 + n, 0, 0, waiter());
            timers.release(id);
        }
        let (taken, queued) = timers.sizes();
        assert_eq!(taken, 0);
        assert!(queued < 200, "{queued} stale entries");
        assert_eq!(timers.next_at(), None);
    }

    #[test]
    fn a_place_is_not_mistaken_for_its_former_timer() {
        let mut timers = Timers::<()>::new();
        let old = timers.arm(1, 0, 1, waiter());
        timers.release(old);
        let new = timers.arm(2, 0, 2, waiter());
        assert!(timers.release(old).is_none());
        assert_eq!(timers.next_at(), Some(2));
        assert!(timers.pop_due(2).is_some());
        assert!(timers.check(new, waiter()).0);
    }

    #[test]
    fn only_the_timers_of_the_machine_move() {
        let mut timers = Timers::<()>::new();
        timers.arm(10, 1, 10, waiter());
        timers.arm(10, 2, 10, waiter());
        timers.reschedule(1, |local| local / 2);
        assert_eq!(timers.next_at(), Some(5));
        assert!(timers.pop_due(5).is_some());
        assert_eq!(timers.next_at(), Some(10));
    }
}
