//! Which threads hold a lock that stuck ones wait for. A lock does not say; but of the threads of a process one executes at a
//! time. So a failed run is repeated, and after each turn of a thread the lock's word is looked at: whoever had the turn
//! changed it.
#![allow(
    unsafe_code,
    reason = "reading memory that may not be there yet; the argument stands beside the one place"
)]

use super::cluster::{Cluster, Isolation};
use super::real::real;
use crate::schema::look::{LockKind, LockWord};
use crate::schema::outcome::Holder;
use crate::schema::task::TaskKey;

/// A lock that is watched, and who holds it.
pub(crate) struct LockWatch {
    lock: LockWord,
    /// How often it was held after the last turn.
    held: u32,
    /// Those that hold it, in the order in which they took it, and how often.
    holders: Vec<(TaskKey, String, u32)>,
}

/// How often a lock is held whose word has a value, as std has them on Linux (`std::sys::sync::{mutex, rwlock}::futex`); the
/// mutexes of glibc have the same.
fn times_held(kind: LockKind, word: u32) -> u32 {
    const READERS: u32 = (1 << 30) - 1;
    match kind {
        // 1: nobody waits for it; 2: somebody may.
        LockKind::Mutex => u32::from(matches!(word, 1 | 2)),
        // All ones: a writer has it.
        LockKind::RwLock if word & READERS == READERS => 1,
        LockKind::RwLock => word & READERS,
    }
}

impl LockWatch {
    pub(crate) fn new(lock: LockWord) -> Self {
        Self {
            lock,
            held: read(lock.address).map_or(0, |word| times_held(lock.kind, word)),
            holders: Vec::new(),
        }
    }

    /// A thread had the turn.
    fn had_turn(&mut self, task: TaskKey, name: impl FnOnce() -> String) {
        let held = read(self.lock.address).map_or(0, |word| times_held(self.lock.kind, word));
        let before = std::mem::replace(&mut self.held, held);
        match self.holders.iter().position(|(holder, ..)| *holder == task) {
            Some(place) => {
                let times = &mut self.holders[place].2;
                *times = times.saturating_add(held).saturating_sub(before);
                if *times == 0 {
                    self.holders.remove(place);
                }
            }
            None if held > before => self.holders.push((task, name(), held - before)),
            None => {}
        }
        if held == 0 {
            self.holders.clear();
        }
    }
}

/// The word at an address, unless nothing is mapped there (process_vm_readv(2)).
fn read(address: usize) -> Option<u32> {
    let mut word = 0_u32;
    let size = size_of::<u32>();
    let to = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: size };
    let from = libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(address), iov_len: size };
    type Read = unsafe extern "C" fn(
        libc::pid_t,
        *const libc::iovec,
        libc::c_ulong,
        *const libc::iovec,
        libc::c_ulong,
        libc::c_ulong,
    ) -> isize;
    // SAFETY: the kernel writes the one word of ours, and refuses to read what is not mapped.
    let transferred = unsafe {
        let this = real!("getpid", fn() -> libc::pid_t)();
        real!(@ "process_vm_readv", Read)(this, &raw const to, 1, &raw const from, 1, 0)
    };
    (transferred == size as isize).then_some(word)
}

impl Cluster {
    /// The lock that a thread waits for in a futex, where it can be found again: in a process of which nothing else uses the memory.
    pub(crate) fn lock_of(&self, task: TaskKey, kind: LockKind) -> Option<LockWord> {
        /// Of the bits that say that somebody waits for an `RwLock`; the word beside it, at which writers wait, counts from 0.
        const WAITED_FOR: u32 = 0b11 << 30;
        let (machine, address, value) = self.futexes.wait_of(task)?;
        let address = match kind {
            LockKind::RwLock if value & WAITED_FOR == 0 => address - size_of::<u32>(),
            _ => address,
        };
        (self.isolation == Isolation::Own).then_some(LockWord { machine, address, kind })
    }

    /// The thread that is the current task had the turn, in a run in which locks are watched.
    pub(super) fn look_at_locks(&mut self, machine: u32) {
        let Some(task) = self.kernel.tasks.current_key() else { return };
        // Another process has something else at that address.
        for watch in self.lock_watches.iter_mut().filter(|watch| watch.lock.machine == machine) {
            watch.had_turn(task, || self.kernel.task_report(task.index()).who());
        }
    }

    /// Who holds a lock, if it is one that was watched.
    pub(crate) fn holder_of_watched(&mut self, lock: LockWord) -> Option<Holder> {
        let watch = self.lock_watches.iter().find(|watch| watch.lock == lock)?;
        let name = |(task, name, _): &(TaskKey, String, u32)| match self.kernel.tasks.is_finished(*task) {
            false => name.clone(),
            true => format!("{name}, which has ended"),
        };
        let names: Vec<String> = watch.holders.iter().map(name).collect();
        (!names.is_empty()).then_some(Holder::Threads(names))
    }
}
