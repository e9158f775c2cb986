//! The bookkeeping of the search: what has no place in the order yet, and small sets.

use std::iter::successors;

/// The invocations and returns of operations that have no place yet: a doubly linked list in one array.
pub(super) struct Timeline {
    events: Vec<Event>,
    /// Where each operation's invocation and return are.
    places: Vec<(Place, Place)>,
}

/// An event's index, which stays the same.
pub(super) type Place = usize;

#[derive(Clone, Copy)]
struct Event {
    operation: usize,
    is_return: bool,
    order: usize,
    before: Place,
    after: Place,
}

impl Timeline {
    /// The list's own place, before its first event and after its last.
    pub(super) const START: Place = 0;

    /// From when each operation was invoked and when it returned.
    pub(super) fn new(spans: impl ExactSizeIterator<Item = (usize, usize)>) -> Self {
        let mut places = vec![(0, 0); spans.len()];
        let mut events = vec![Event {
            operation: usize::MAX,
            is_return: true,
            order: 0,
            before: 0,
            after: 0,
        }];
        for (operation, (invoked, returned)) in spans.enumerate() {
            for (order, is_return) in [(invoked, false), (returned, true)] {
                events.push(Event {
                    operation,
                    is_return,
                    order,
                    before: 0,
                    after: 0,
                });
            }
        }
        events[1..].sort_by_key(|event| event.order);
        let len = events.len();
        for (place, event) in events.iter_mut().enumerate() {
            event.before = (place + len - 1) % len;
            event.after = (place + 1) % len;
            match places.get_mut(event.operation) {
                Some((invocation, _)) if !event.is_return => *invocation = place,
                Some((_, ret)) => *ret = place,
                None => {}
            }
        }
        Self { events, places }
    }

    /// Which operation returns first, and when: one invoked after that cannot come next. `None` if none is left.
    pub(super) fn horizon(&self) -> Option<(usize, usize)> {
        let place = self.events[self.last_invocation()].after;
        (place != Self::START).then(|| (self.events[place].operation, self.events[place].order))
    }

    /// A place after which there is no invocation before the horizon.
    pub(super) fn last_invocation(&self) -> Place {
        let mut place = Self::START;
        while self.next_invocation(&mut place).is_some() {}
        place
    }

    /// Moves on from `place` to the next operation that was invoked before the horizon.
    pub(super) fn next_invocation(&self, place: &mut Place) -> Option<usize> {
        let after = self.events[*place].after;
        let event = &self.events[after];
        (!event.is_return).then(|| {
            *place = after;
            event.operation
        })
    }

    pub(super) fn lift(&mut self, operation: usize) {
        let (invocation, ret) = self.places[operation];
        for place in [invocation, ret] {
            let Event { before, after, .. } = self.events[place];
            self.events[before].after = after;
            self.events[after].before = before;
        }
    }

    /// Undoes the last `lift`: what was lifted last is put back first.
    pub(super) fn put_back(&mut self, operation: usize) {
        let (invocation, ret) = self.places[operation];
        for place in [ret, invocation] {
            let Event { before, after, .. } = self.events[place];
            self.events[before].after = place;
            self.events[after].before = place;
        }
    }
}

/// A set of small numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Bits(Box<[u64]>);

impl Bits {
    pub(super) fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)].into())
    }

    pub(super) fn insert(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    pub(super) fn remove(&mut self, bit: usize) {
        self.0[bit / 64] &= !(1 << (bit % 64));
    }

    pub(super) fn contains(&self, bit: usize) -> bool {
        self.0[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// What is in this set and not in the other.
    pub(super) fn minus(&self, other: &Self) -> impl Iterator<Item = usize> {
        self.0
            .iter()
            .zip(&other.0)
            .enumerate()
            .flat_map(|(word, (these, those))| {
                let first = |bits: u64| (bits != 0).then_some(bits);
                successors(first(these & !those), move |bits| first(bits & (bits - 1)))
                    .map(move |bits| 64 * word + bits.trailing_zeros() as usize)
            })
    }
}
