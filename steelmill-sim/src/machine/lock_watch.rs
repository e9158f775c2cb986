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

/// A lock that is watched where it was in a run before, and around that: a run leaves something in the C library's heap, and so does
/// this, so that in the next one of the process a lock lies some chunks further on. Where it is then is known at the end.
pub(crate) struct LockWatch {
    lock: LockWord,
    /// What may be the word of the lock, after the last turn.
    words: Box<[u32; WORDS]>,
    /// Who holds it, by the place of the word, in the order in which they took it; and how often.
    holders: Vec<(usize, TaskKey, String, u32)>,
}

/// How far around a lock is watched.
const REACH: usize = 1024;

/// What malloc(3) aligns chunks to.
const CHUNK: usize = 16;

const WORDS: usize = 2 * REACH / CHUNK + 1;

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
        Self { lock, words: Box::new(words_around(lock)), holders: Vec::new() }
    }

    /// A thread had the turn.
    fn had_turn(&mut self, task: TaskKey, name: impl Fn() -> String) {
        let now = words_around(self.lock);
        for (place, (word, now)) in
            self.words.iter_mut().zip(now).enumerate().filter(|(_, (word, now))| *word != now)
        {
            let (before, held) = (times_held(self.lock.kind, *word), times_held(self.lock.kind, now));
            *word = now;
            let is_it = |holder: &(usize, TaskKey, String, u32)| (holder.0, holder.1) == (place, task);
            match self.holders.iter_mut().find(|holder| is_it(holder)) {
                Some((.., times)) => *times = times.saturating_add(held).saturating_sub(before),
                None if held > before => self.holders.push((place, task, name(), held - before)),
                None => {}
            }
            self.holders.retain(|(of, .., times)| *of != place || (held > 0 && *times > 0));
        }
    }
}

fn start(lock: LockWord) -> usize {
    lock.address.saturating_sub(REACH)
}

fn words_around(lock: LockWord) -> [u32; WORDS] {
    let mut bytes = [0; 2 * REACH + size_of::<u32>()];
    read(start(lock), &mut bytes);
    let mut chunks = bytes.chunks(CHUNK);
    std::array::from_fn(|_| {
        let word = chunks.next().and_then(|chunk| chunk.first_chunk());
        word.map_or(0, |word| u32::from_ne_bytes(*word))
    })
}

/// Where a lock is among the words that are watched around another.
fn place_around(watched: LockWord, lock: LockWord) -> Option<usize> {
    let distance = lock.address.checked_sub(start(watched))?;
    let is_one = (lock.machine, lock.kind) == (watched.machine, watched.kind);
    (is_one && distance.is_multiple_of(CHUNK) && distance / CHUNK < WORDS).then_some(distance / CHUNK)
}

/// Whether a lock is watched by who watches these.
pub(crate) fn is_watched(locks: &[LockWord], lock: LockWord) -> bool {
    locks.iter().any(|watched| place_around(*watched, lock).is_some())
}

/// Memory from an address on, with zeros for what is not mapped (process_vm_readv(2)).
fn read(address: usize, to: &mut [u8]) {
    /// The smallest pages there are.
    const PAGE: usize = 4096;
    type Read = unsafe extern "C" fn(
        libc::pid_t,
        *const libc::iovec,
        libc::c_ulong,
        *const libc::iovec,
        libc::c_ulong,
        libc::c_ulong,
    ) -> isize;
    let mut at = 0;
    while at < to.len() {
        let from = address + at;
        let length = (PAGE - from % PAGE).min(to.len() - at);
        let to = libc::iovec { iov_base: to[at..at + length].as_mut_ptr().cast(), iov_len: length };
        let from = libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(from), iov_len: length };
        // SAFETY: the kernel writes what is ours, and refuses to read what is not mapped.
        unsafe {
            let this = real!("getpid", fn() -> libc::pid_t)();
            real!(@ "process_vm_readv", Read)(this, &raw const to, 1, &raw const from, 1, 0);
        }
        at += length;
    }
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
        let mut watches = self.lock_watches.iter();
        let (watch, place) = watches.find_map(|watch| Some((watch, place_around(watch.lock, lock)?)))?;
        let name =
            |(_, task, name, _): &(usize, TaskKey, String, u32)| match self.kernel.tasks.is_finished(*task) {
                false => name.clone(),
                true => format!("{name}, which has ended"),
            };
        let names: Vec<String> = watch.holders.iter().filter(|(of, ..)| *of == place).map(name).collect();
        (!names.is_empty()).then_some(Holder::Threads(names))
    }
}
