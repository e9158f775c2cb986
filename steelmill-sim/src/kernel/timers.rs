//! The timing wheel: timers and pending events by virtual time; entries of the same time in the order of insertion.
//!
//! The wheel is hierarchical (Varghese and Lauck, SOSP 1987), with eleven levels of 64 slots each, enough for 64 bits of
//! nanoseconds. An entry is in the slot of the highest six-bit digit in which its time differs from the wheel's; when the
//! wheel gets there, the slot cascades to the levels below. Lists are linked through the entries, so insertion and
//! cancellation take constant time, and cancelled entries do not pile up.

use std::time::Duration;

use crate::kernel::machine_index::MachineIndex;
use crate::kernel::waiter::Waiter;

/// Virtual nanoseconds since the run began.
pub(crate) type Nanos = u64;

/// The nanoseconds of a duration, at most [`FAR_FUTURE`].
#[inline]
pub(crate) fn nanos(duration: Duration) -> Nanos {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(duration.subsec_nanos())).min(FAR_FUTURE)
}

/// "Never": six years before the numbers overflow, so that durations can be added to it.
pub(crate) const FAR_FUTURE: Nanos = Nanos::MAX - 200_000_000_000_000_000;

/// The id of a timer. The generation distinguishes the timers that reuse an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerId {
    index: u32,
    generation: u32,
}

impl TimerId {
    /// Its entry, which is reused after its release.
    pub(crate) fn index(self) -> u32 {
        self.index
    }
}

pub(crate) enum Due<E> {
    /// A timer, with the waiter to wake.
    Timer(Option<Waiter>),
    Event(E),
}

const LEVELS: usize = 11;
const DIGIT: u32 = 6;
const SLOTS: usize = 1 << DIGIT;
const NONE: u32 = u32::MAX;
const UNUSED: u16 = u16::MAX;

pub(crate) struct Timers<E> {
    /// The wheel's time; no entry is earlier.
    elapsed: Nanos,
    /// Bit sets of the levels, and of the slots of each level, that have entries.
    levels: u16,
    occupied: [u64; LEVELS],
    /// The slots of the levels used so far. A slot is valid only if its bit in `occupied` is set.
    slots: Vec<List>,
    level_starts: [u16; LEVELS],
    entries: Vec<Entry<E>>,
    /// The free list, linked by `next`, and its length.
    free: u32,
    free_len: usize,
    /// The list of due entries not taken yet: off the wheel, linked by `next`.
    due: u32,
    /// The timers of each machine. Built when a clock first drifts, as it does in few runs.
    by_machine: Option<Box<MachineIndex>>,
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
    /// Whether its entries may be due at different times.
    is_mixed: bool,
}

const EMPTY: List = List { first: NONE, last: NONE, is_mixed: false };

struct Entry<E> {
    at: Nanos,
    previous: u32,
    next: u32,
    generation: u32,
    /// A timer's machine, and its deadline on that machine's clock.
    machine: u32,
    local: Nanos,
    kind: EntryKind<E>,
}

enum EntryKind<E> {
    Free,
    Timer(Option<Waiter>),
    /// A timer that has fired and is not released yet.
    Fired,
    Event(E),
}

impl<E> Timers<E> {
    pub(crate) fn new() -> Self {
        Self {
            elapsed: 0,
            levels: 0,
            occupied: [0; LEVELS],
            slots: Vec::new(),
            level_starts: [UNUSED; LEVELS],
            entries: Vec::with_capacity(16),
            free: NONE,
            free_len: 0,
            due: NONE,
            by_machine: None,
        }
    }

    #[inline]
    pub(crate) fn schedule(&mut self, at: Nanos, event: E) {
        self.insert(at, 0, 0, EntryKind::Event(event));
    }

    /// Arms a timer of `machine`, due at virtual time `at`, which is `local` on the machine's clock.
    #[inline]
    pub(crate) fn arm(&mut self, at: Nanos, machine: u32, local: Nanos, waiter: Waiter) -> TimerId {
        let index = self.insert(at, machine, local, EntryKind::Timer(Some(waiter)));
        if let Some(by_machine) = &mut self.by_machine {
            by_machine.insert(machine, index);
        }
        TimerId { index, generation: self.entries[index as usize].generation }
    }

    #[inline]
    fn insert(&mut self, at: Nanos, machine: u32, local: Nanos, kind: EntryKind<E>) -> u32 {
        let index = match self.entries.get_mut(self.free as usize) {
            Some(entry) => {
                (entry.at, entry.machine, entry.local, entry.kind) = (at, machine, local, kind);
                self.free_len -= 1;
                std::mem::replace(&mut self.free, entry.next)
            }
            None => {
                self.entries.push(Entry {
                    at,
                    previous: NONE,
                    next: NONE,
                    generation: 0,
                    machine,
                    local,
                    kind,
                });
                u32::try_from(self.entries.len() - 1).expect("fewer than four billion entries")
            }
        };
        self.link(index, at);
        index
    }

    /// The level and the slot of a time.
    #[inline]
    fn slot_of(&self, at: Nanos) -> (usize, usize) {
        let level = (at ^ self.elapsed).checked_ilog2().unwrap_or(0) / DIGIT;
        (level as usize, (at >> (level * DIGIT)) as usize % SLOTS)
    }

    #[inline]
    fn list(&mut self, level: usize, slot: usize) -> &mut List {
        &mut self.slots[usize::from(self.level_starts[level]) + slot]
    }

    #[cold]
    fn add_level(&mut self, level: usize) {
        self.level_starts[level] = self.slots.len() as u16;
        self.slots.resize(self.slots.len() + SLOTS, EMPTY);
    }

    #[inline]
    fn link(&mut self, index: u32, at: Nanos) {
        let (level, slot) = self.slot_of(at);
        let mut last = NONE;
        if self.occupied[level] & 1 << slot != 0 {
            let place = usize::from(self.level_starts[level]) + slot;
            let list = &mut self.slots[place];
            last = std::mem::replace(&mut list.last, index);
            let before = &mut self.entries[last as usize];
            before.next = index;
            list.is_mixed |= before.at != at;
        } else {
            if self.level_starts[level] == UNUSED {
                self.add_level(level);
            }
            let (first, last) = (index, index);
            *self.list(level, slot) = List { first, last, ..EMPTY };
            self.occupied[level] |= 1 << slot;
            self.levels |= 1 << level;
        }
        let entry = &mut self.entries[index as usize];
        (entry.previous, entry.next) = (last, NONE);
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        debug_assert_eq!(self.due, NONE, "no entry is cancelled while due entries are being taken");
        let Entry { at, previous, next, .. } = self.entries[index as usize];
        let (level, slot) = self.slot_of(at);
        match self.entries.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.list(level, slot).first = next,
        }
        match self.entries.get_mut(next as usize) {
            Some(after) => after.previous = previous,
            None => self.list(level, slot).last = previous,
        }
        if previous == NONE && next == NONE {
            self.vacate(level, slot);
        }
    }

    #[inline]
    fn vacate(&mut self, level: usize, slot: usize) {
        self.occupied[level] &= !(1 << slot);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    #[inline]
    fn free(&mut self, index: u32) -> EntryKind<E> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = std::mem::replace(&mut self.free, index);
        self.free_len += 1;
        std::mem::replace(&mut entry.kind, EntryKind::Free)
    }

    /// Whether a timer has fired; then it is released. Otherwise registers `waiter` in place of the former one. The waiter
    /// that is not registered is returned, to be dropped outside of the borrow.
    #[inline]
    pub(crate) fn check(&mut self, id: TimerId, waiter: Waiter) -> (bool, Option<Waiter>) {
        let entry = &mut self.entries[id.index as usize];
        debug_assert_eq!(entry.generation, id.generation, "a timer is released once");
        if let EntryKind::Timer(registered) = &mut entry.kind {
            return (false, registered.replace(waiter));
        }
        self.free(id.index);
        (true, Some(waiter))
    }

    /// Releases a timer and frees its entry; its waiter is returned, to be dropped outside of the borrow.
    pub(crate) fn release(&mut self, id: TimerId) -> Option<Waiter> {
        let entry = &self.entries[id.index as usize];
        if entry.generation != id.generation {
            return None;
        }
        if let EntryKind::Timer(_) = entry.kind {
            if let Some(by_machine) = &mut self.by_machine {
                by_machine.remove(entry.machine, id.index);
            }
            self.unlink(id.index);
        }
        match self.free(id.index) {
            EntryKind::Timer(waiter) => waiter,
            _ => None,
        }
    }

    /// Takes all registrations for timers, after the run.
    pub(crate) fn take_waiters(&mut self) -> impl Iterator<Item = Waiter> + '_ {
        self.entries.iter_mut().filter_map(|entry| match &mut entry.kind {
            EntryKind::Timer(waiter) => waiter.take(),
            _ => None,
        })
    }

    /// The time of the next due entry. Until that is taken, no earlier entry may be inserted.
    #[inline]
    pub(crate) fn next_at(&mut self) -> Option<Nanos> {
        loop {
            let (level, slot) = self.first_slot()?;
            let list = *self.list(level, slot);
            if !list.is_mixed {
                return Some(self.entries[list.first as usize].at);
            }
            self.cascade(level, slot, list);
        }
    }

    /// The slot of the earliest entries: the first of the lowest level.
    #[inline]
    fn first_slot(&self) -> Option<(usize, usize)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// Advances the wheel to the earliest entry of a slot, and moves the slot's entries, in order, to lower levels.
    fn cascade(&mut self, level: usize, slot: usize, list: List) {
        self.vacate(level, slot);
        let following = |entries: &[Entry<E>], index: u32| {
            entries.get(index as usize).map(|entry| (entry.at, entry.next))
        };
        let (mut earliest, mut index) = (Nanos::MAX, list.first);
        while let Some((at, next)) = following(&self.entries, index) {
            earliest = earliest.min(at);
            index = next;
        }
        self.elapsed = earliest;
        index = list.first;
        while let Some((at, next)) = following(&self.entries, index) {
            self.link(index, at);
            index = next;
        }
    }

    /// Peeks at what [`pop_due`](Self::pop_due) takes next at `now`: `Ok` for an event, `Err` for a timer's index.
    pub(crate) fn peek_due(&self, now: Nanos) -> Option<Result<&E, u32>> {
        let index = match self.due {
            NONE => {
                let (level, slot) = self.first_slot()?;
                self.slots[usize::from(self.level_starts[level]) + slot].first
            }
            due => due,
        };
        let entry = &self.entries[index as usize];
        match &entry.kind {
            EntryKind::Event(event) => (entry.at == now).then_some(Ok(event)),
            _ => (entry.at == now).then_some(Err(index)),
        }
    }

    /// Takes the next entry due at `now`, from [`next_at`](Self::next_at). All must be taken before one is cancelled.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: Nanos) -> Option<Due<E>> {
        if self.due == NONE {
            let (level, slot) = self.first_slot()?;
            let first = self.list(level, slot).first;
            if self.entries[first as usize].at != now {
                return None;
            }
            self.vacate(level, slot);
            self.due = first;
            self.elapsed = now;
        }
        let index = self.due;
        let entry = &mut self.entries[index as usize];
        self.due = entry.next;
        if let EntryKind::Timer(waiter) = &mut entry.kind {
            let waiter = waiter.take();
            entry.kind = EntryKind::Fired;
            if let Some(by_machine) = &mut self.by_machine {
                by_machine.remove(entry.machine, index);
            }
            return Some(Due::Timer(waiter));
        }
        match self.free(index) {
            EntryKind::Event(event) => Some(Due::Event(event)),
            EntryKind::Free | EntryKind::Timer(_) | EntryKind::Fired => {
                unreachable!("only timers and events are linked")
            }
        }
    }

    /// Moves the timers of a machine whose clock's rate has changed. `at` maps a time of that clock to virtual time.
    pub(crate) fn reschedule(&mut self, machine: u32, at: impl Fn(Nanos) -> Nanos) {
        let by_machine = self.by_machine.get_or_insert_with(|| index_timers(&self.entries));
        for index in by_machine.of(machine).collect::<Vec<u32>>() {
            let at = at(self.entries[index as usize].local).max(self.elapsed);
            self.unlink(index);
            self.entries[index as usize].at = at;
            self.link(index, at);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free_len
    }
}

fn index_timers<E>(entries: &[Entry<E>]) -> Box<MachineIndex> {
    let mut by_machine = Box::<MachineIndex>::default();
    for (index, entry) in entries.iter().enumerate() {
        if let EntryKind::Timer(_) = entry.kind {
            by_machine.insert(entry.machine, index as u32);
        }
    }
    by_machine
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::task::TaskKey;

    fn waiter() -> Waiter {
        Waiter::Task(TaskKey::new(0, 0, 0))
    }

    fn drain<E>(timers: &mut Timers<E>) -> Vec<(Nanos, E)> {
        let mut seen = Vec::new();
        while let Some(now) = timers.next_at() {
            while let Some(due) = timers.pop_due(now) {
                if let Due::Event(event) = due {
                    seen.push((now, event));
                }
            }
        }
        seen
    }

    #[test]
    fn events_come_in_order_and_ties_in_the_order_of_insertion() {
        let mut timers = Timers::new();
        for (at, name) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b'), (1 << 40, 'e'), (u64::MAX, 'f')] {
            timers.schedule(at, name);
        }
        let names: String = drain(&mut timers).iter().map(|(_, name)| name).collect();
        assert_eq!(names, "abcdef");
    }

    /// Compares with a sorted set, at all distances, with insertions between the events.
    #[test]
    fn the_wheel_agrees_with_a_sorted_set() {
        let mut state = 7u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut timers = Timers::new();
        let mut expected = std::collections::BTreeSet::new();
        for name in 0..200u64 {
            let at = random(10);
            timers.schedule(at, name);
            expected.insert((at, name));
        }
        let mut name = 200;
        while let Some(now) = timers.next_at() {
            while let Some(due) = timers.pop_due(now) {
                let Due::Event(event) = due else { panic!("there are no timers") };
                assert_eq!(expected.pop_first(), Some((now, event)));
                for _ in 0..random(3) {
                    if name < 20_000 {
                        let at = now + (random(1 << 31) << random(10) >> random(40));
                        timers.schedule(at, name);
                        expected.insert((at, name));
                        name += 1;
                    }
                }
            }
        }
        assert!(expected.is_empty());
        assert!(name > 10_000, "only {name} events");
    }

    #[test]
    fn cancelled_timers_do_not_pile_up() {
        let mut timers = Timers::<()>::new();
        for n in 0..100_000 {
            let id = timers.arm(1_000_000 + n, 0, 0, waiter());
            timers.release(id);
        }
        assert_eq!((timers.len(), timers.entries.len()), (0, 1));
        assert_eq!(timers.next_at(), None);
    }

    #[test]
    fn a_reused_entry_is_not_mistaken_for_its_former_timer() {
        let mut timers = Timers::<()>::new();
        let old = timers.arm(1, 0, 1, waiter());
        timers.release(old);
        let new = timers.arm(2, 0, 2, waiter());
        assert!(timers.release(old).is_none());
        assert_eq!(timers.next_at(), Some(2));
        assert!(timers.pop_due(2).is_some());
        assert!(timers.check(new, waiter()).0);
        assert_eq!(timers.len(), 0);
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

    #[test]
    fn timers_that_are_gone_do_not_move_and_later_ones_do() {
        let mut timers = Timers::<()>::new();
        let [fired, released, kept] = [10, 20, 30].map(|at| timers.arm(at, 1, at, waiter()));
        timers.reschedule(1, |local| local + 1);
        let later = timers.arm(40, 1, 40, waiter());
        timers.release(released);
        assert_eq!(timers.next_at(), Some(11));
        assert!(timers.pop_due(11).is_some());
        assert!(timers.check(fired, waiter()).0);
        let other = timers.arm(50, 2, 50, waiter()); // in an entry that was machine 1's
        timers.reschedule(1, |local| local + 100);
        assert_eq!(timers.next_at(), Some(50));
        timers.release(other);
        assert_eq!(timers.next_at(), Some(130));
        for id in [kept, later] {
            assert!(timers.release(id).is_some());
        }
        assert_eq!((timers.len(), timers.next_at()), (0, None));
    }
}
