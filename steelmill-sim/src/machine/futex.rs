//! Threads that wait at an address (futex(2)): what mutexes, condition variables and thread parkers of std and tokio wait
//! on.
#![allow(unsafe_code, reason = "reading the words that threads wait at; the argument stands beside it")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use steelmill_core::World as _;

use super::cluster::{self, Cluster};
use super::threads;
use super::world::{Process, SimWorld};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::Waiter;
use crate::schema::decision::Stream;
use crate::schema::task::TaskKey;

/// In place of a machine's number: statics that all processes share, such as the lock of standard output.
const SHARED: u32 = u32::MAX;

/// Who waits at which address of which machine. Addresses only ever look waiters up: none decides anything.
#[derive(Default)]
pub(crate) struct Futexes {
    waiting: BTreeMap<(u32, usize), Vec<Waiting>>,
    /// The waits that were not woken yet, by number.
    pending: BTreeSet<u64>,
    next: u64,
}

struct Waiting {
    machine: u32,
    number: u64,
    /// Whom FUTEX_WAKE_BITSET may wake.
    bits: u32,
    /// What the word was.
    value: u32,
    thread: TaskKey,
}

/// How a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    Woken,
    TimedOut,
    /// A signal was handled (signal(7)).
    Interrupted,
}

/// Waits at an address on a guest thread until it is woken, or a duration has passed on the machine's clock. Without a
/// timeout the wait goes on after handlers that were set with SA_RESTART.
pub(crate) fn wait(
    place: Process,
    address: usize,
    value: u32,
    bits: u32,
    timeout: Option<Duration>,
) -> WaitEnd {
    let thread = threads::current_task();
    let number = cluster::with(place.run, |run| {
        run.futexes.next += 1;
        let number = run.futexes.next;
        run.futexes.pending.insert(number);
        let waiting = Waiting { machine: place.machine, number, bits, value, thread };
        let key = run.futex_key(place.machine, address);
        run.futexes.waiting.entry(key).or_default().push(waiting);
        number
    });
    let mut sleep = timeout.map(|timeout| SimWorld(place).clock().sleep(timeout));
    let wait = poll_fn(|context| {
        if !cluster::with(place.run, |run| run.futexes.pending.contains(&number)) {
            return Poll::Ready(WaitEnd::Woken);
        }
        if sleep.as_mut().is_some_and(|sleep| Pin::new(sleep).poll(context).is_ready()) {
            return Poll::Ready(WaitEnd::TimedOut);
        }
        cluster::with(place.run, |run| run.kernel.waits_for(WaitsFor::Futex));
        Poll::Pending
    });
    let woken = threads::block_on_interruptible(timeout.is_none(), wait).unwrap_or(WaitEnd::Interrupted);
    if woken != WaitEnd::Woken {
        cluster::with(place.run, |run| run.futexes.leave(number));
    }
    woken
}

impl Futexes {
    /// Where a thread waits: its machine, the address, and what the word was.
    pub(super) fn wait_of(&self, thread: TaskKey) -> Option<(u32, usize, u32)> {
        let all =
            self.waiting.iter().flat_map(|((_, address), list)| list.iter().map(move |one| (address, one)));
        let (address, waiting) = all.into_iter().find(|(_, waiting)| waiting.thread == thread)?;
        Some((waiting.machine, *address, waiting.value))
    }

    fn leave(&mut self, number: u64) {
        self.pending.remove(&number);
        self.waiting.retain(|_, list| {
            list.retain(|waiting| waiting.number != number);
            !list.is_empty()
        });
    }
}

impl Cluster {
    fn futex_key(&self, machine: u32, address: usize) -> (u32, usize) {
        let is_shared = self.statics.are_shared_at(address);
        (if is_shared { SHARED } else { machine }, address)
    }

    /// Wakes up to `limit` of those that wait at an address, drawn from the seed; how many.
    pub(crate) fn wake_futex(&mut self, machine: u32, address: usize, bits: u32, limit: usize) -> usize {
        let mut woken = 0;
        let key = self.futex_key(machine, address);
        while woken < limit {
            let Some(waiter) = self.take_waiter(key, bits) else { break };
            self.kernel.wake(waiter);
            woken += 1;
        }
        woken
    }

    /// Takes one of those that wait at an address.
    fn take_waiter(&mut self, key: (u32, usize), bits: u32) -> Option<Waiter> {
        let list = self.futexes.waiting.get(&key)?;
        let fit: Vec<usize> = (0..list.len()).filter(|place| list[*place].bits & bits != 0).collect();
        let drawn = match fit.len() {
            0 => return None,
            1 => 0,
            several => self.kernel.draw(Stream::Schedule, several as u64) as usize,
        };
        let list = self.futexes.waiting.get_mut(&key)?;
        let Waiting { number, thread, .. } = list.remove(fit[drawn]);
        self.futexes.pending.remove(&number);
        if list.is_empty() {
            self.futexes.waiting.remove(&key);
        }
        Some(Waiter::Task(thread))
    }

    /// Moves those that wait at an address to another, after waking some.
    pub(crate) fn requeue_futex(
        &mut self,
        machine: u32,
        from: usize,
        to: usize,
        wake: usize,
        limit: usize,
    ) -> usize {
        let woken = self.wake_futex(machine, from, u32::MAX, wake);
        let [from, to] = [from, to].map(|address| self.futex_key(machine, address));
        let Some(mut list) = self.futexes.waiting.remove(&from) else { return woken };
        let rest = list.split_off(limit.min(list.len()));
        let moved = list.len();
        self.futexes.waiting.entry(to).or_default().extend(list);
        if !rest.is_empty() {
            self.futexes.waiting.insert(from, rest);
        }
        woken + moved
    }

    /// Wakes those whose word is another by now. A lock of the real process, such as that of standard output, may be held by
    /// a real thread, whose wake does not come here; whether any was woken.
    pub(crate) fn recheck_futexes(&mut self) -> bool {
        let has_changed = |address: usize, waiting: &Waiting| {
            let word = std::ptr::with_exposed_provenance_mut(address);
            // SAFETY: futex(2): the word is valid for as long as somebody waits at it, and only ever used atomically.
            unsafe { AtomicU32::from_ptr(word) }.load(Ordering::SeqCst) != waiting.value
        };
        let changed: Vec<(u32, usize)> = (self.futexes.waiting.iter())
            .filter(|((_, address), _)| !self.statics.are_at(*address))
            .filter(|((_, address), list)| list.iter().any(|waiting| has_changed(*address, waiting)))
            .map(|(place, _)| *place)
            .collect();
        for key in &changed {
            while let Some(waiter) = self.take_waiter(*key, u32::MAX) {
                self.kernel.wake(waiter);
            }
        }
        !changed.is_empty()
    }

    /// Whether any thread waits at an address in the static data of the program or of a library, where locks lie that real
    /// threads take, too.
    pub(crate) fn has_static_futex_waiters(&self) -> bool {
        let mut shared = self.futexes.waiting.keys().filter(|(_, address)| !self.statics.are_at(*address));
        shared.any(|(_, address)| {
            // SAFETY: all zeros are a Dl_info; dladdr(3) takes any address, and only tells in which object it lies.
            unsafe {
                let mut found: libc::Dl_info = std::mem::zeroed();
                libc::dladdr(std::ptr::with_exposed_provenance(*address), &raw mut found) != 0
            }
        })
    }

    /// Whether any thread waits at an address.
    pub(crate) fn has_futex_waiters(&self) -> bool {
        !self.futexes.waiting.is_empty()
    }

    /// Nobody of a process waits any more.
    pub(crate) fn futexes_gone(&mut self, machine: u32) {
        let Futexes { waiting, pending, .. } = &mut self.futexes;
        waiting.retain(|_, list| {
            list.retain(|waiting| {
                let is_gone = waiting.machine == machine;
                if is_gone {
                    pending.remove(&waiting.number);
                }
                !is_gone
            });
            !list.is_empty()
        });
    }
}
