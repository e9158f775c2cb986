//! Which file a number of a process names.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{FIRST, FileId, LIMIT};

/// The descriptors that are open, by machine and number.
#[derive(Default)]
pub(super) struct Numbers {
    /// Of each machine those that programs have, from [`FIRST`] on.
    own: Vec<Vec<Option<FileId>>>,
    /// Those of the runtimes that tasks are polled in, which are beyond.
    of_runtimes: BTreeMap<(u32, i32), FileId>,
}

/// The place of a number among those that programs have.
#[inline(always)]
fn place_of(fd: i32) -> Option<usize> {
    let place = fd.wrapping_sub(FIRST) as usize;
    (place < LIMIT).then_some(place)
}

impl Numbers {
    #[inline(always)]
    pub(super) fn get(&self, machine: u32, fd: i32) -> Option<FileId> {
        match place_of(fd) {
            Some(place) => *self.own.get(machine as usize)?.get(place)?,
            None => self.of_runtimes.get(&(machine, fd)).copied(),
        }
    }

    pub(super) fn insert(&mut self, machine: u32, fd: i32, id: FileId) {
        let Some(place) = place_of(fd) else {
            self.of_runtimes.insert((machine, fd), id);
            return;
        };
        let machine = machine as usize;
        if self.own.len() <= machine {
            self.own.resize_with(machine + 1, Vec::new);
        }
        let own = &mut self.own[machine];
        if own.len() <= place {
            own.resize(place + 1, None);
        }
        own[place] = Some(id);
    }

    pub(super) fn remove(&mut self, machine: u32, fd: i32) -> Option<FileId> {
        match place_of(fd) {
            Some(place) => self.own.get_mut(machine as usize)?.get_mut(place)?.take(),
            None => self.of_runtimes.remove(&(machine, fd)),
        }
    }

    /// The least number of a range that a machine has not open.
    pub(super) fn free(&self, machine: u32, mut numbers: Range<i32>) -> Option<i32> {
        numbers.find(|fd| self.get(machine, *fd).is_none())
    }

    /// All that a machine has open, which it then has not.
    pub(super) fn take_all(&mut self, machine: u32) -> Vec<FileId> {
        let own = self.own.get_mut(machine as usize).map(std::mem::take).unwrap_or_default();
        let beyond = self.of_runtimes.extract_if((machine, 0)..(machine + 1, 0), |_, _| true);
        own.into_iter().flatten().chain(beyond.map(|(_, id)| id)).collect()
    }

    /// Gives those of runtimes that one machine has to another, which has none of these numbers.
    pub(super) fn move_of_runtimes(&mut self, from: u32, to: u32) {
        let moved: Vec<_> = self.of_runtimes.extract_if((from, 0)..(from + 1, 0), |_, _| true).collect();
        self.of_runtimes.extend(moved.into_iter().map(|((_, fd), id)| ((to, fd), id)));
    }

    /// The machine that has a file open.
    pub(super) fn machine_of(&self, id: FileId) -> Option<u32> {
        self.own.iter().position(|own| own.contains(&Some(id))).map(|machine| machine as u32)
    }

    /// How many the machines before one have.
    pub(super) fn count_before(&self, machine: u32) -> usize {
        let own = self.own.iter().take(machine as usize);
        own.flatten().flatten().count() + self.of_runtimes.range(..(machine, 0)).count()
    }
}
