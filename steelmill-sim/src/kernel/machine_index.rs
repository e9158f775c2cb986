//! Which entries of a table belong to which machine, so that what happens to a machine costs what that machine has.
//!
//! An entry is known by its place in its table. The entries of a machine are linked in a ring, in the order they came;
//! entering and leaving cost the same however many there are.

const NONE: u32 = u32::MAX;

#[derive(Default)]
pub(crate) struct MachineIndex {
    /// The first entry of each machine.
    first: Vec<u32>,
    /// By place.
    neighbours: Vec<Neighbours>,
}

#[derive(Clone, Copy)]
struct Neighbours {
    previous: u32,
    next: u32,
}

const ABSENT: Neighbours = Neighbours { previous: NONE, next: NONE };

impl MachineIndex {
    /// Enters the entry in a place, which must not be entered.
    #[inline]
    pub(crate) fn enter(&mut self, machine: u32, place: u32) {
        if self.neighbours.len() <= place as usize || self.first.len() <= machine as usize {
            self.grow(machine as usize + 1, place as usize + 1);
        }
        debug_assert_eq!(self.neighbours[place as usize].next, NONE, "{place} is entered already");
        let first = self.first[machine as usize];
        if first == NONE {
            self.first[machine as usize] = place;
            self.neighbours[place as usize] = Neighbours { previous: place, next: place };
            return;
        }
        let last = std::mem::replace(&mut self.neighbours[first as usize].previous, place);
        self.neighbours[last as usize].next = place;
        self.neighbours[place as usize] = Neighbours { previous: last, next: first };
    }

    #[cold]
    fn grow(&mut self, machines: usize, places: usize) {
        let doubled = |length: usize, wanted: usize| length.max(wanted.next_power_of_two()).max(16);
        self.first.resize(doubled(self.first.len(), machines), NONE);
        self.neighbours.resize(doubled(self.neighbours.len(), places), ABSENT);
    }

    /// Takes an entry out, if it was entered.
    #[inline]
    pub(crate) fn leave(&mut self, machine: u32, place: u32) {
        let Some(entry) = self.neighbours.get_mut(place as usize) else { return };
        let Neighbours { previous, next } = std::mem::replace(entry, ABSENT);
        if next == NONE {
            return;
        }
        let first = &mut self.first[machine as usize];
        if next == place {
            *first = NONE; // it was alone
            return;
        }
        if *first == place {
            *first = next;
        }
        self.neighbours[previous as usize].next = next;
        self.neighbours[next as usize].previous = previous;
    }

    /// The places of a machine's entries, oldest first.
    pub(crate) fn of(&self, machine: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.first.get(machine as usize).copied().unwrap_or(NONE);
        std::iter::successors((first != NONE).then_some(first), move |place| {
            Some(self.neighbours[*place as usize].next).filter(|next| *next != first)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_by_machine_in_the_order_they_came() {
        let mut index = MachineIndex::default();
        let mut expected = vec![Vec::new(); 5];
        let mut state = 1u32;
        for _ in 0..10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = (state >> 16) % 64;
            let machine = place % 5;
            let places = &mut expected[machine as usize];
            match places.iter().position(|other| *other == place) {
                Some(at) => {
                    index.leave(machine, place);
                    places.remove(at);
                }
                None => {
                    index.enter(machine, place);
                    places.push(place);
                }
            }
            assert!(index.of(machine).eq(places.iter().copied()), "machine {machine}");
        }
        assert_eq!(index.of(77).count(), 0);
    }

    #[test]
    fn what_was_not_entered_may_leave() {
        let mut index = MachineIndex::default();
        index.leave(3, 9);
        index.enter(0, 9);
        index.leave(0, 2);
        index.leave(0, 9);
        index.leave(0, 9);
        assert_eq!(index.of(0).count(), 0);
    }
}
