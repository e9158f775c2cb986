//! Everything that one run consists of, and the one thread-local that holds it.
//!
//! Handles (clocks, sockets, tasks, machines) are a run's id and an index into this state, so they are `Send + Sync`
//! without a lock. Used on another thread or after the run they panic and say so; dropped there, they do nothing.
//!
//! While the state is borrowed no code of a user may run: futures are polled and dropped, and foreign wakers cloned,
//! woken and dropped, outside of [`with`].

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use steelmill_core::RunningFactory;

use super::hosts::Hosts;
use super::machine::Machine;
use super::moments::Moments;
use super::net::{self, Net};
use super::tally::Tally;
pub(crate) use crate::kernel::kernel::RunId;
use crate::kernel::kernel::{Kernel, WakerAction};
use crate::kernel::panic_log;
use crate::kernel::timers::{Nanos, nanos};
use crate::schema::settings::Settings;
use crate::schema::task::TaskKey;

/// Something other than a task's timer that is due at some time.
pub(crate) enum Event {
    Net(net::Event),
    /// The settings' change of keys with this number.
    Reseed(usize),
    /// A slow machine turns to this task.
    Turn(u32),
}

/// A simulated cluster while it runs.
pub(crate) struct Cluster {
    pub(crate) id: RunId,
    pub(crate) kernel: Kernel<Event>,
    pub(crate) hosts: Hosts,
    pub(crate) net: Net,
    pub(crate) moments: Moments,
    pub(crate) tally: Tally,
    /// Every machine that the scenario made.
    pub(crate) machines: Vec<Machine>,
    /// The cluster's factory, once there is one.
    pub(crate) root: Option<RunningFactory>,
}

thread_local! {
    /// Without a destructor, so that looking needs no check for one; a run takes itself off before its thread ends.
    static RUN: RefCell<ManuallyDrop<Option<Box<Cluster>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
    /// Whether this thread is inside a run; read by the panic hook and by what stands in for the system's calls.
    static SIMULATING: Cell<bool> = const { Cell::new(false) };
}

/// Wakes from threads that do not hold the run.
static FOREIGN: Mutex<Foreign> = Mutex::new(Foreign { runs: Vec::new(), wakes: Vec::new() });
static FOREIGN_WAITING: AtomicBool = AtomicBool::new(false);

struct Foreign {
    /// The runs there are now: a wake for one that has ended is for nobody, and leaves nothing.
    runs: Vec<RunId>,
    wakes: Vec<TaskKey>,
}

fn foreign() -> MutexGuard<'static, Foreign> {
    FOREIGN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Puts a new run on this thread.
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
        machines: Vec::new(),
        root: None,
    }))));
    id
}

/// Takes the run off this thread; its state is for the caller to drop.
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

/// Whether this thread is inside a run.
pub(crate) fn is_simulating() -> bool {
    SIMULATING.get()
}

/// Looks into the run.
///
/// # Panics
/// When this thread is not inside that run.
#[inline]
pub(crate) fn with<R>(id: RunId, look: impl FnOnce(&mut Cluster) -> R) -> R {
    try_with(id, look).unwrap_or_else(|| wrong_run())
}

/// Like [`with`]; `None` instead of a panic: for destructors.
#[inline]
pub(crate) fn try_with<R>(id: RunId, look: impl FnOnce(&mut Cluster) -> R) -> Option<R> {
    // Written in place: what a look returns is moved once, as the executor's every step goes this way.
    let (mut result, mut is_later) = (None, false);
    RUN.with(|cell| {
        if let Ok(mut slot) = cell.try_borrow_mut()
            && let Some(run) = slot.as_mut()
            && run.id == id
        {
            result = Some(look(run));
            is_later = run.kernel.has_waker_actions();
        }
    });
    if is_later {
        settle();
    }
    result
}

/// Wakes and drops foreign wakers, in the order they came up.
#[cold]
fn settle() {
    let Some((later, causes)) =
        with_current(|run| (run.kernel.take_waker_actions(), run.kernel.take_foreign_wake_causes()))
    else {
        return;
    };
    let mut causes = causes.into_iter();
    for later in later {
        match later {
            WakerAction::Wake(waker) => panic_log::caught(|| match causes.next() {
                Some(cause) => wake_traced(waker, cause),
                None => waker.wake(),
            }),
            WakerAction::Drop(waker) => panic_log::drop_caught(waker),
        }
    }
}

/// Wakes a foreign waker because of an event that may not be the latest.
#[cold]
fn wake_traced(waker: Waker, cause: Option<u32>) {
    let before = with_current(|run| run.kernel.replace_cause(cause)).flatten();
    waker.wake();
    with_current(|run| run.kernel.replace_cause(before));
}

#[cold]
fn wrong_run() -> ! {
    panic!(
        "a handle of a simulation was used outside of it: on another thread, or after its run had ended; keep \
         simulated clocks, sockets and tasks within the scenario that made them"
    )
}

/// The run this thread is inside of, for what has no handle: logs and the system's calls.
pub(crate) fn with_current<R>(look: impl FnOnce(&mut Cluster) -> R) -> Option<R> {
    RUN.with(|cell| cell.try_borrow_mut().ok()?.as_mut().map(|run| look(run)))
}

/// Wakes a task, from wherever its waker was called.
#[inline]
pub(crate) fn wake(key: TaskKey) {
    let is_here = RUN.with(|cell| match cell.try_borrow_mut() {
        Ok(mut slot) => slot.as_mut().is_some_and(|run| run.kernel.wake_task(key)),
        Err(_) => false,
    });
    if !is_here {
        wake_elsewhere(key);
    }
}

/// No task of this thread's run has that key: it has ended, or it is another run's.
#[cold]
fn wake_elsewhere(key: TaskKey) {
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
    /// Virtual time since the run began.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.kernel.now)
    }

    #[inline]
    pub(crate) fn schedule(&mut self, at: Nanos, event: net::Event) {
        if self.kernel.recorder.is_some() {
            self.note_scheduled(at, event);
        }
        self.kernel.timers.schedule(at, Event::Net(event));
    }

    /// Wakes that came from other threads; whether there were any for this run.
    pub(crate) fn take_foreign_wakes(&mut self) -> bool {
        if !FOREIGN_WAITING.load(Ordering::Acquire) {
            return false;
        }
        self.kernel.replace_cause(None);
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
