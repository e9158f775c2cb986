//! An index from machines to the entries of a table, so that an operation on a machine costs what its entries cost.
//!
//! An entry is its index in that table. A machine's entries form a linked ring; insertion and removal are O(1).

const NONE: u32 = u32::MAX;

#[derive(Default)]
pub(crate) struct MachineIndex {
    /// The oldest entry of each machine.
    first: Vec<u32>,
    neighbours: Vec<Neighbours>,
}

#[derive(Clone, Copy)]
struct Neighbours {
    previous: u32,
    next: u32,
}

const ABSENT: Neighbours = Neighbours { previous: NONE, next: NONE };

impl MachineIndex {
    /// Inserts an entry, which must not be in the index.
    #[inline]
    pub(crate) fn insert(&mut self, machine: u32, entry: u32) {
        if self.neighbours.len() <= entry as usize || self.first.len() <= machine as usize {
            self.grow(machine as usize + 1, entry as usize + 1);
        }
        debug_assert_eq!(self.neighbours[entry as usize].next, NONE, "{entry} is in the index already");
        let first = self.first[machine as usize];
        if first == NONE {
            self.first[machine as usize] = entry;
            self.neighbours[entry as usize] = Neighbours { previous: entry, next: entry };
            return;
        }
        let last = std::mem::replace(&mut self.neighbours[first as usize].previous, entry);
        self.neighbours[last as usize].next = entry;
        self.neighbours[entry as usize] = Neighbours { previous: last, next: first };
    }

    #[cold]
    fn grow(&mut self, machines: usize, entries: usize) {
        let doubled = |length: usize, wanted: usize| length.max(wanted.next_power_of_two()).max(16);
        self.first.resize(doubled(self.first.len(), machines), NONE);
        self.neighbours.resize(doubled(self.neighbours.len(), entries), ABSENT);
    }

    /// Removes an entry, if it is in the index.
    #[inline]
    pub(crate) fn remove(&mut self, machine: u32, entry: u32) {
        let Some(neighbours) = self.neighbours.get_mut(entry as usize) else { return };
        let Neighbours { previous, next } = std::mem::replace(neighbours, ABSENT);
        if next == NONE {
            return;
        }
        let first = &mut self.first[machine as usize];
        if next == entry {
            *first = NONE; // it was the only one
            return;
        }
        if *first == entry {
            *first = next;
        }
        self.neighbours[previous as usize].next = next;
        self.neighbours[next as usize].previous = previous;
    }

    /// A machine's entries, oldest first.
    pub(crate) fn of(&self, machine: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.first.get(machine as usize).copied().unwrap_or(NONE);
        std::iter::successors((first != NONE).then_some(first), move |entry| {
            Some(self.neighbours[*entry as usize].next).filter(|next| *next != first)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machines_entries_keep_the_order_of_insertion() {
        let mut index = MachineIndex::default();
        let mut expected = vec![Vec::new(); 5];
        let mut state = 1u32;
        for _ in 0..10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let entry = (state >> 16) % 64;
            let machine = entry % 5;
            let entries = &mut expected[machine as usize];
            match entries.iter().position(|other| *other == entry) {
                Some(at) => {
                    index.remove(machine, entry);
                    entries.remove(at);
                }
                None => {
                    index.insert(machine, entry);
                    entries.push(entry);
                }
            }
            assert!(index.of(machine).eq(entries.iter().copied()), "machine {machine}");
        }
        assert_eq!(index.of(77).count(), 0);
    }

    #[test]
    fn an_absent_entry_can_be_removed() {
        let mut index = MachineIndex::default();
        index.remove(3, 9);
        index.insert(0, 9);
        index.remove(0, 2);
        index.remove(0, 9);
        index.remove(0, 9);
        assert_eq!(index.of(0).count(), 0);
    }
}
