//! The state of one run, in a thread-local: kernel, machines, network, moments, statistics.
//!
//! Handles (clocks, sockets, tasks, machines) are a run id and an index into this state, so they are `Send + Sync`
//! without a lock. Their use on another thread or after the run panics; their drop there does nothing.
//!
//! While the state is borrowed no code of a user may run: futures are polled and dropped, and foreign wakers cloned,
//! woken and dropped, outside of [`with`].
#![allow(
    unsafe_code,
    reason = "a run is reached through a pointer that several threads share in turn; see RUN"
)]

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use steelmill_core::RunningFactory;

use super::descriptors::{Descriptors, FileId};
use super::disk::{Disks, Mappings};
use super::exit_functions::ExitFunctions;
use super::futex::Futexes;
use super::hosts::Hosts;
use super::limits::Limits;
use super::lock_watch::LockWatch;
use super::machine::Machine;
use super::moments::Moments;
use super::net::{self, Net};
use super::panic_log::{self, PanicLog};
use super::proc::Attributes;
use super::runtimes::Runtimes;
use super::signals::Signals;
use super::statics::Statics;
use super::tally::Tally;
use super::threads::{ThreadSetup, Threads};
pub(crate) use crate::kernel::kernel::RunId;
use crate::kernel::kernel::{Kernel, WakerAction};
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
    /// A timerfd may expire.
    Timer(FileId),
}

/// Whether a run has its process for itself, as one with programs has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// It has: nothing else happens in the process.
    Own,
    /// It does not, and whoever makes the run answers for that.
    Lent,
    Shared,
    /// It shares it and has found out that it must not.
    Wanted,
}

pub(crate) struct Cluster {
    pub(crate) id: RunId,
    pub(crate) kernel: Kernel<Event>,
    pub(crate) hosts: Hosts,
    pub(crate) net: Net,
    pub(crate) moments: Moments,
    pub(crate) tally: Tally,
    pub(crate) threads: Threads,
    pub(crate) futexes: Futexes,
    /// The locks that are watched in a run that is repeated for that.
    pub(crate) lock_watches: Vec<LockWatch>,
    pub(crate) descriptors: Descriptors,
    pub(crate) disks: Disks,
    pub(crate) limits: Limits,
    pub(crate) attributes: Attributes,
    pub(crate) exit_functions: ExitFunctions,
    pub(crate) mappings: Mappings,
    pub(crate) runtimes: Runtimes,
    pub(crate) statics: Statics,
    /// Whether some machine has a tokio runtime or statics of its own, which its tasks are to be polled with.
    pub(super) polls_inside: bool,
    pub(crate) signals: Signals,
    /// The real files that programs may read, by the beginnings of their paths.
    pub(crate) readable: Vec<PathBuf>,
    /// Whether the run has its process for itself.
    pub(crate) isolation: Isolation,
    /// What a guest thread does before the program's code, or why there can be none.
    pub(crate) guest_setup: Result<ThreadSetup, String>,
    /// Every machine that the scenario made.
    pub(crate) machines: Vec<Machine>,
    /// The cluster's factory, once there is one.
    pub(crate) root: Option<RunningFactory>,
}

/// A run's state, and what has to be reached while that is borrowed.
struct Run {
    cluster: RefCell<Cluster>,
    panics: PanicLog,
}

thread_local! {
    /// The run that this thread is inside of, or null. It is set by [`begin`] on the thread of the seed, which owns the run
    /// until [`end`], and by [`Shared::enter`] on the guest threads of the run.
    ///
    /// Invariant: it is null or points to a live `Run`, and of the threads that share a `Run` one executes at a time.
    static RUN: Cell<*const Run> = const { Cell::new(std::ptr::null()) };
}

/// Looks at this thread's run, if it is inside of one.
#[inline]
fn with_run<R>(look: impl FnOnce(&Run) -> R) -> Option<R> {
    // SAFETY: by RUN's invariant the pointer is null or points to a live run, which no other thread touches meanwhile. `end`
    // is not called by anything that `look` runs: it takes the run off its thread after everything of it has returned.
    unsafe { RUN.get().as_ref() }.map(look)
}

/// A run, to be entered by the guest threads of it.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*const Run);

impl Shared {
    /// No run.
    pub(crate) const NONE: Self = Self(std::ptr::null());

    /// The run of this thread.
    pub(crate) fn current() -> Self {
        Self(RUN.get())
    }

    /// Puts this thread inside of the run.
    ///
    /// # Safety
    /// The thread executes only while every other thread inside of the run waits, and never after the run has ended.
    pub(crate) unsafe fn enter(self) {
        RUN.set(self.0);
    }
}

/// The log of panics of this thread's run.
#[inline]
pub(crate) fn with_panic_log<R>(look: impl FnOnce(&PanicLog) -> R) -> Option<R> {
    with_run(|run| look(&run.panics))
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
        !is_simulating(),
        "a simulation cannot be started inside a simulation; start it from another thread"
    );
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut kernel = Kernel::new(id, settings);
    for (index, reseed) in kernel.settings.reseeds.iter().enumerate() {
        kernel.timers.schedule(nanos(reseed.at), Event::Reseed(index));
    }
    foreign().runs.push(id);
    let cluster = Cluster {
        id,
        kernel,
        hosts: Hosts::new(),
        net: Net::new(),
        moments: Moments::default(),
        tally: Tally::new(),
        threads: Threads::default(),
        futexes: Futexes::default(),
        lock_watches: Vec::new(),
        descriptors: Descriptors::default(),
        disks: Disks::default(),
        limits: Limits::default(),
        attributes: Attributes::default(),
        exit_functions: ExitFunctions::default(),
        mappings: Mappings::default(),
        runtimes: Runtimes::default(),
        statics: Statics::default(),
        polls_inside: false,
        signals: Signals::default(),
        readable: Vec::new(),
        isolation: Isolation::Lent,
        guest_setup: Err(String::new()),
        machines: Vec::new(),
        root: None,
    };
    RUN.set(Box::into_raw(Box::new(Run { cluster: RefCell::new(cluster), panics: PanicLog::default() })));
    // Only now the clock answers from the run.
    with(id, |run| run.hosts.set_base());
    id
}

/// Takes the run off this thread; its state is for the caller to drop.
pub(crate) fn end(id: RunId) -> Cluster {
    with(id, |_| ()); // it is this thread's run
    let run = RUN.replace(std::ptr::null()).cast_mut();
    // SAFETY: `begin` made the pointer from a box, and it is taken off the thread here, once. No guest thread executes any
    // more, and nothing looks at the run: this is called by the thread of the seed, after the last poll.
    let run = unsafe { Box::from_raw(run) }.cluster.into_inner();
    let mut foreign = foreign();
    foreign.runs.retain(|other| *other != id);
    foreign.wakes.retain(|key| !key.is_run(id));
    FOREIGN_WAITING.store(!foreign.wakes.is_empty(), Ordering::Release);
    run
}

/// Whether this thread is inside a run.
#[inline]
pub(crate) fn is_simulating() -> bool {
    !RUN.get().is_null()
}

/// Whether the run's state is borrowed: then it is the simulation itself that executes.
pub(crate) fn is_borrowed() -> bool {
    with_run(|run| run.cluster.try_borrow_mut().is_err()).unwrap_or(false)
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
    with_run(|run| {
        if let Ok(mut run) = run.cluster.try_borrow_mut()
            && run.id == id
        {
            result = Some(access(&mut run));
            is_later = run.kernel.has_waker_actions();
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

/// Wakes a foreign waker, and traces the event that caused it.
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
    with_run(|run| Some(look(&mut *run.cluster.try_borrow_mut().ok()?))).flatten()
}

/// Wakes a task from any thread.
#[inline]
pub(crate) fn wake(key: TaskKey) {
    let is_here = with_run(|run| run.cluster.try_borrow_mut().is_ok_and(|mut run| run.kernel.wake_task(key)));
    if is_here != Some(true) {
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
    /// Ends a run that shares its process, to be made again in one of its own.
    pub(crate) fn want_own_process(&mut self) {
        if self.isolation == Isolation::Shared && cfg!(all(target_os = "linux", target_env = "gnu")) {
            self.isolation = Isolation::Wanted;
            self.kernel.over.get_or_insert(None);
        }
    }

    /// Ends the run and the processes of all its machines, so that destructors cannot send or spawn.
    pub(crate) fn detach(&mut self) {
        self.kernel.over = Some(None);
        for machine in 0..self.hosts.len() as u32 {
            self.hosts[machine].incarnation += 1;
        }
    }

    /// Virtual time since the run began.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.kernel.now)
    }

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
