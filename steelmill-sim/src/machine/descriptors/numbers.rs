//! Which file a number of a process names.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{DESCRIPTORS_MAX, FIRST, FileId};

/// The descriptors that are open, by machine and number.
#[derive(Default)]
pub(super) struct Numbers {
    /// Of each machine those that programs have.
    own: Vec<Own>,
    /// Those of the runtimes that tasks are polled in, which are beyond.
    of_runtimes: BTreeMap<(u32, i32), FileId>,
}

/// What the process of a machine has open, from [`FIRST`] on.
#[derive(Default)]
struct Own {
    files: Vec<Option<FileId>>,
    /// No number below this place is free.
    taken: usize,
}

/// The place of a number among those that programs have.
#[inline(always)]
fn place_of(fd: i32) -> Option<usize> {
    let place = fd.wrapping_sub(FIRST) as usize;
    (place < DESCRIPTORS_MAX as usize).then_some(place)
}

impl Numbers {
    #[inline(always)]
    pub(super) fn get(&self, machine: u32, fd: i32) -> Option<FileId> {
        match place_of(fd) {
            Some(place) => *self.own.get(machine as usize)?.files.get(place)?,
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
            self.own.resize_with(machine + 1, Own::default);
        }
        let Own { files, taken } = &mut self.own[machine];
        if files.len() <= place {
            files.resize(place + 1, None);
        }
        files[place] = Some(id);
        while files.get(*taken).is_some_and(Option::is_some) {
            *taken += 1;
        }
    }

    pub(super) fn remove(&mut self, machine: u32, fd: i32) -> Option<FileId> {
        match place_of(fd) {
            Some(place) => {
                let own = self.own.get_mut(machine as usize)?;
                own.taken = own.taken.min(place);
                own.files.get_mut(place)?.take()
            }
            None => self.of_runtimes.remove(&(machine, fd)),
        }
    }

    /// The least number of a range that a machine has not open.
    pub(super) fn free(&self, machine: u32, numbers: Range<i32>) -> Option<i32> {
        let least = match (place_of(numbers.start), self.own.get(machine as usize)) {
            (Some(place), Some(own)) => FIRST + place.max(own.taken) as i32,
            _ => numbers.start,
        };
        (least..numbers.end).find(|fd| self.get(machine, *fd).is_none())
    }

    /// All that a machine has open, which it then has not.
    pub(super) fn take_all(&mut self, machine: u32) -> Vec<FileId> {
        let own = self.own.get_mut(machine as usize).map(std::mem::take).unwrap_or_default();
        let beyond = self.of_runtimes.extract_if((machine, 0)..(machine + 1, 0), |_, _| true);
        own.files.into_iter().flatten().chain(beyond.map(|(_, id)| id)).collect()
    }

    /// Gives those of runtimes that one machine has to another, which has none of these numbers.
    pub(super) fn move_of_runtimes(&mut self, from: u32, to: u32) {
        let moved: Vec<_> = self.of_runtimes.extract_if((from, 0)..(from + 1, 0), |_, _| true).collect();
        self.of_runtimes.extend(moved.into_iter().map(|((_, fd), id)| ((to, fd), id)));
    }

    /// All numbers of a range that a machine has open.
    pub(super) fn open(&self, machine: u32, numbers: Range<i32>) -> Vec<i32> {
        let end = self.own.get(machine as usize).map_or(FIRST, |own| FIRST + own.files.len() as i32);
        (numbers.start.max(FIRST)..numbers.end.min(end))
            .filter(|fd| self.get(machine, *fd).is_some())
            .collect()
    }

    /// The machine that has a file open.
    pub(super) fn machine_of(&self, id: FileId) -> Option<u32> {
        self.own.iter().position(|own| own.files.contains(&Some(id))).map(|machine| machine as u32)
    }

    /// How many the machines before one have.
    pub(super) fn count_before(&self, machine: u32) -> usize {
        let own = self.own.iter().take(machine as usize);
        own.flat_map(|own| &own.files).flatten().count() + self.of_runtimes.range(..(machine, 0)).count()
    }
}
