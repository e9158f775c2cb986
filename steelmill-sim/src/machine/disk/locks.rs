//! Locks on files: of whole files by flock(2), of ranges by fcntl(2). The two do not see each other, as on Linux.
//!
//! A range is locked by a process, which loses it with any of its descriptors of the file (POSIX), or by an open file.

use super::{Cluster, Ino};
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::descriptors::{FileId, Object};

/// Who has a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An open file.
    File(FileId),
    /// The process of a machine.
    Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    Shared,
    Exclusive,
}

/// A lock of a range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) owner: Owner,
    pub(crate) kind: LockKind,
    pub(crate) start: u64,
    /// Exclusive; the greatest number for all that may come.
    pub(crate) end: u64,
}

/// What is to be locked, or unlocked without a kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Locking {
    /// Whether it is one of flock(2).
    pub(crate) is_whole: bool,
    pub(crate) owner: Owner,
    pub(crate) kind: Option<LockKind>,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The locks of a file.
#[derive(Default)]
pub(super) struct Locks {
    whole: Vec<Record>,
    ranges: Vec<Record>,
    waiters: Waiters,
}

impl Locks {
    fn of(&self, locking: &Locking) -> &[Record] {
        if locking.is_whole { &self.whole } else { &self.ranges }
    }

    /// A lock of another that does not go with one.
    fn conflict(&self, locking: &Locking) -> Option<Record> {
        let is_in_the_way = |held: &&Record| {
            let is_exclusive = held.kind == LockKind::Exclusive || locking.kind == Some(LockKind::Exclusive);
            held.owner != locking.owner
                && is_exclusive
                && held.start < locking.end
                && locking.start < held.end
        };
        let conflict = self.of(locking).iter().find(is_in_the_way);
        conflict.filter(|_| locking.kind.is_some()).copied()
    }

    /// A lock of the owner's in the range that it would unlock.
    fn own(&self, locking: &Locking) -> Option<Record> {
        let is_touched = |held: &&Record| {
            held.owner == locking.owner && held.start < locking.end && locking.start < held.end
        };
        self.of(locking).iter().find(is_touched).copied()
    }

    /// Gives a range to an owner, or takes it away; whether it took something away.
    ///
    /// As on Linux an owner's locks stand together, by their start, and those of a kind that touch are one. So it is told which
    /// is in the way first.
    fn set(&mut self, locking: &Locking) -> bool {
        let Locking { owner, start, end, .. } = *locking;
        let held = if locking.is_whole { &mut self.whole } else { &mut self.ranges };
        let place = held.iter().position(|record| record.owner == owner).unwrap_or(held.len());
        let mut new = locking.kind.map(|kind| Record { owner, kind, start, end });
        let (mut rest, mut took) = (Vec::new(), false);
        for record in held.extract_if(.., |record| record.owner == owner) {
            match &mut new {
                Some(new) if new.kind == record.kind && record.start <= end && start <= record.end => {
                    (new.start, new.end) = (new.start.min(record.start), new.end.max(record.end));
                }
                _ if record.start < end && start < record.end => {
                    took = true;
                    rest.extend((record.start < start).then_some(Record { end: start, ..record }));
                    rest.extend((end < record.end).then_some(Record { start: end, ..record }));
                }
                _ => rest.push(record),
            }
        }
        rest.extend(new);
        rest.sort_by_key(|record| record.start);
        held.splice(place..place, rest);
        took
    }

    fn take_all(&mut self, owner: Owner) -> bool {
        let before = self.whole.len() + self.ranges.len();
        self.whole.retain(|record| record.owner != owner);
        self.ranges.retain(|record| record.owner != owner);
        self.whole.len() + self.ranges.len() < before
    }
}

impl Cluster {
    fn locks(&mut self, machine: u32, ino: Ino) -> &mut Locks {
        self.disk(machine).tree.get_mut(ino).locks.get_or_insert_default()
    }

    /// Sets a lock if nobody is in the way; whether it has. Else a waiter is woken when a lock has gone.
    pub(crate) fn try_lock(
        &mut self,
        machine: u32,
        ino: Ino,
        locking: &Locking,
        waiter: impl FnOnce() -> Option<Waiter>,
    ) -> bool {
        let locks = self.locks(machine, ino);
        if locks.conflict(locking).is_some() {
            if let Some(waiter) = waiter() {
                let redundant = locks.waiters.add(waiter);
                self.kernel.discard(redundant);
            }
            return false;
        }
        if locks.set(locking) {
            let waiters = locks.waiters.take();
            self.kernel.wake_all(waiters);
        }
        true
    }

    /// A lock that is in the way of one (F_GETLK).
    pub(crate) fn lock_in_the_way(&mut self, machine: u32, ino: Ino, locking: &Locking) -> Option<Record> {
        let locks = self.locks(machine, ino);
        // Asked by an open file for what to unlock, it is what that has locked.
        if locking.kind.is_none() { locks.own(locking) } else { locks.conflict(locking) }
    }

    /// Takes all locks on a file from an owner.
    pub(crate) fn unlock_all(&mut self, machine: u32, ino: Ino, owner: Owner) {
        let Some(locks) = &mut self.disk(machine).tree.get_mut(ino).locks else { return };
        if locks.take_all(owner) {
            let waiters = locks.waiters.take();
            self.kernel.wake_all(waiters);
        }
    }

    /// A process closes a descriptor: it loses its locks of ranges, whichever descriptor it locked them by (fcntl(2)).
    pub(crate) fn descriptor_unlocks(&mut self, id: FileId) {
        if let Object::File(open) = self.descriptors.get(id).object {
            self.unlock_all(open.machine, open.ino, Owner::Process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locking(owner: FileId, kind: Option<LockKind>, start: u64, end: u64) -> Locking {
        Locking { is_whole: false, owner: Owner::File(owner), kind, start, end }
    }

    #[test]
    fn a_range_is_split_and_a_lock_in_the_way_is_told() {
        let mut locks = Locks::default();
        assert!(!locks.set(&locking(1, Some(LockKind::Exclusive), 0, 100)));
        assert!(locks.set(&locking(1, None, 40, 60)));
        assert_eq!(locks.conflict(&locking(2, Some(LockKind::Shared), 40, 60)), None);
        let held = locks.conflict(&locking(2, Some(LockKind::Shared), 40, 61)).expect("the second half");
        assert_eq!((held.start, held.end), (60, 100));
        assert_eq!(locks.conflict(&locking(1, Some(LockKind::Exclusive), 0, 100)), None, "its own");
        assert!(locks.set(&locking(1, Some(LockKind::Shared), 0, 100)), "what it has is changed");
        assert!(
            !locks.set(&locking(1, Some(LockKind::Shared), 100, 120)),
            "nobody is let in by more of them"
        );
        let held = locks.conflict(&locking(2, Some(LockKind::Exclusive), 110, 111)).expect("one of both");
        assert_eq!((held.start, held.end), (0, 120), "what touches is one");
        assert_eq!(locks.conflict(&locking(2, Some(LockKind::Shared), 0, 100)), None);
        assert!(locks.take_all(Owner::File(1)));
        assert_eq!(locks.conflict(&locking(2, Some(LockKind::Exclusive), 0, 100)), None);
    }
}
