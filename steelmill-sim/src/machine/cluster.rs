//! The state of one run, in a thread-local: kernel, machines, network, moments, statistics.
//!
//! Handles (clocks, sockets, tasks, machines) are a run id and an index into this state, so they are `Send + Sync`
//! without a lock. Their use on another thread or after the run panics; their drop there does nothing.
//!
//! No user code may run while the state is borrowed: futures are polled and dropped, and foreign wakers cloned, woken
//! and dropped, outside of [`with`].

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

use steelmill_core::RunningFactory;

use super::hosts::Hosts;
use super::moments::Moments;
use super::net::{self, Net};
use super::tally::Tally;
pub(crate) use crate::kernel::kernel::RunId;
use crate::kernel::kernel::{Kernel, Later};
use crate::kernel::timers::{Nanos, nanos};
use crate::schema::settings::Settings;
use crate::schema::task::TaskKey;

/// A timed event other than a task's timer.
pub(crate) enum Event {
    Net(net::Event),
    /// The index in [`Settings::reseeds`].
    Reseed(usize),
    /// The delay of a slow machine's task, by index, is over.
    DeferredTask(u32),
}

pub(crate) struct Cluster {
    pub(crate) id: RunId,
    pub(crate) kernel: Kernel<Event>,
    pub(crate) hosts: Hosts,
    pub(crate) net: Net,
    pub(crate) moments: Moments,
    pub(crate) tally: Tally,
    /// The cluster's factory, once it was started.
    pub(crate) root: Option<RunningFactory>,
}

thread_local! {
    /// Without a destructor, so that an access needs no check for one; `end` takes the run out.
    static RUN: RefCell<ManuallyDrop<Option<Box<Cluster>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
    /// Whether this thread is inside a run; read by the panic hook and the intercepted system calls.
    static SIMULATING: Cell<bool> = const { Cell::new(false) };
}

static FOREIGN: Mutex<Foreign> = Mutex::new(Foreign { runs: Vec::new(), wakes: Vec::new() });
static FOREIGN_WAITING: AtomicBool = AtomicBool::new(false);

struct Foreign {
    /// The live runs; wakes for others are dropped.
    runs: Vec<RunId>,
    wakes: Vec<TaskKey>,
}

fn foreign() -> MutexGuard<'static, Foreign> {
    FOREIGN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Begins a run on this thread.
///
/// # Panics
/// When the thread is inside a run already.
pub(crate) fn begin(settings: Settings) -> RunId {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    assert!(
        !SIMULATING.get(),
        "a simulation cannot be started inside a simulation; start it from another thread"
    );
    SIMULATING.set(true);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut kernel = Kernel::new(id, settings);
    for (index, reseed) in kernel.settings.reseeds.iter().enumerate() {
        kernel.timers.schedule(nanos(reseed.at), Event::Reseed(index));
    }
    foreign().runs.push(id);
    RUN.set(ManuallyDrop::new(Some(Box::new(Cluster {
        id,
        kernel,
        hosts: Hosts::new(),
        net: Net::new(),
        moments: Moments::default(),
        tally: Tally::new(),
        root: None,
    }))));
    id
}

/// Ends the run on this thread. The caller drops its state outside of the borrow.
pub(crate) fn end(id: RunId) -> Box<Cluster> {
    let run = RUN.with_borrow_mut(|run| run.take()).expect("the run that ends is on this thread");
    assert_eq!(run.id, id, "a run ends on the thread it began on");
    SIMULATING.set(false);
    let mut foreign = foreign();
    foreign.runs.retain(|other| *other != id);
    foreign.wakes.retain(|key| !key.is_run(id));
    FOREIGN_WAITING.store(!foreign.wakes.is_empty(), Ordering::Release);
    run
}

pub(crate) fn is_simulating() -> bool {
    SIMULATING.get()
}

/// Borrows the run's state.
///
/// # Panics
/// When this thread is not inside that run.
#[inline]
pub(crate) fn with<R>(id: RunId, access: impl FnOnce(&mut Cluster) -> R) -> R {
    try_with(id, access).unwrap_or_else(|| wrong_run())
}

/// Like [`with`], but returns `None` instead of a panic: for destructors.
#[inline]
pub(crate) fn try_with<R>(id: RunId, access: impl FnOnce(&mut Cluster) -> R) -> Option<R> {
    // Written in place, so that the result is moved once: every step of the executor comes through here.
    let (mut result, mut is_later) = (None, false);
    RUN.with(|cell| {
        if let Ok(mut slot) = cell.try_borrow_mut()
            && let Some(run) = slot.as_mut()
            && run.id == id
        {
            result = Some(access(run));
            is_later = run.kernel.has_later();
        }
    });
    if is_later {
        wake_deferred();
    }
    result
}

/// Wakes and drops foreign wakers after the borrow, in the order they were deferred.
#[cold]
fn wake_deferred() {
    let Some((later, causes)) =
        with_current(|run| (run.kernel.take_later(), run.kernel.take_foreign_wakes_causes()))
    else {
        return;
    };
    let mut causes = causes.into_iter();
    for later in later {
        match later {
            Later::Wake(waker) => match causes.next() {
                Some(cause) => wake_traced(waker, cause),
                None => waker.wake(),
            },
            Later::Drop(waker) => drop(waker),
        }
    }
}

/// Wakes a foreign waker, and traces the event that caused it.
#[cold]
fn wake_traced(waker: Waker, cause: Option<u32>) {
    let before = with_current(|run| run.kernel.now_comes_of(cause)).flatten();
    waker.wake();
    with_current(|run| run.kernel.now_comes_of(before));
}

#[cold]
fn wrong_run() -> ! {
    panic!(
        "a handle of a simulation was used outside of it: on another thread, or after its run had ended; keep \
         simulated clocks, sockets and tasks within the scenario that made them"
    )
}

/// Borrows this thread's run, for callers without a handle: logging and intercepted system calls.
pub(crate) fn with_current<R>(access: impl FnOnce(&mut Cluster) -> R) -> Option<R> {
    RUN.with(|cell| cell.try_borrow_mut().ok()?.as_mut().map(|run| access(run)))
}

/// Wakes a task from any thread.
#[inline]
pub(crate) fn wake(key: TaskKey) {
    let is_here = RUN.with(|cell| match cell.try_borrow_mut() {
        Ok(mut slot) => slot.as_mut().is_some_and(|run| run.kernel.wake_task(key)),
        Err(_) => false,
    });
    if !is_here {
        wake_from_other_thread(key);
    }
}

/// Queues the wake of a task of another run. A task of this run that has ended needs none.
#[cold]
fn wake_from_other_thread(key: TaskKey) {
    if with_current(|run| key.is_run(run.id)) == Some(true) {
        return;
    }
    let mut foreign = foreign();
    if foreign.runs.iter().any(|run| key.is_run(*run)) {
        foreign.wakes.push(key);
        FOREIGN_WAITING.store(true, Ordering::Release);
    }
}

impl Cluster {
    #[inline]
    pub(crate) fn schedule(&mut self, at: Nanos, event: net::Event) {
        if self.kernel.recorder.is_some() {
            self.trace_scheduled(at, event);
        }
        self.kernel.timers.schedule(at, Event::Net(event));
    }

    /// Wakes the tasks that other threads have woken. Whether there were any in this run.
    pub(crate) fn take_foreign_wakes(&mut self) -> bool {
        if !FOREIGN_WAITING.load(Ordering::Acquire) {
            return false;
        }
        self.kernel.now_comes_of(None);
        let mut foreign = foreign();
        let before = foreign.wakes.len();
        foreign.wakes.retain(|key| {
            let ours = key.is_run(self.id);
            if ours {
                self.kernel.wake_task(*key);
            }
            !ours
        });
        let found = foreign.wakes.len() < before;
        FOREIGN_WAITING.store(!foreign.wakes.is_empty(), Ordering::Release);
        self.kernel.impure |= found;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::waker::waker;
    use crate::schema::settings::Seed;

    #[test]
    fn a_wake_for_a_run_that_has_ended_leaves_nothing() {
        let id = begin(Settings::new(Seed(1)));
        let task = TaskKey::new(id, 0, 0);
        drop(end(id));
        waker(task).wake();
        assert!(!foreign().wakes.contains(&task));
    }
}
