//! One run of one seed: everything it consists of, and the one thread-local that holds it.
//!
//! Handles (clocks, sockets, tasks, machines) are a run's id and an index into this state, so they are `Send + Sync`
//! without a lock. Used on another thread or after the run they panic and say so; dropped there, they do nothing.
//!
//! While the state is borrowed no code of a user may run: futures are polled and dropped, and foreign wakers cloned,
//! woken and dropped, outside of [`with`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use steelmill_core::RunningFactory;

use crate::fault::coverage::Places;
use crate::fault::{Faults, Moments, Plan};
use crate::host::stuck::Overstays;
use crate::kernel::decisions::{Decisions, Stream};
use crate::kernel::digest::Digest;
use crate::kernel::executor::Tasks;
use crate::kernel::timers::{Due, Nanos, Timers};
use crate::kernel::waker::{TaskKey, Waiter, Waiters};
use crate::kernel::watchdog::Watch;
use crate::machine::hosts::Hosts;
use crate::machine::net::{self, Net};
use crate::schema::outcome::Cause;
use crate::schema::settings::Settings;
use crate::trace::{Recorder, What};

/// Which run a handle belongs to; no two runs of a process share one.
pub(crate) type RunId = u32;

/// Something other than a task's timer that is due at some time.
pub(crate) enum Event {
    Net(net::Event),
    /// The settings' change of keys with this number.
    Rekey(usize),
    /// A slow machine turns to this task.
    Turn(u32),
}

/// What is to be done with a foreign waker as soon as the state is no longer borrowed.
enum Later {
    Wake(Waker),
    Drop(Waker),
}

pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) settings: Settings,
    time_limit: Nanos,
    pub(crate) now: Nanos,
    /// What the monotonic and the wall clock of a machine without drift or offset show at virtual time zero.
    pub(crate) base: Instant,
    pub(crate) wall_base: SystemTime,
    pub(crate) digest: Digest,
    pub(crate) trace: Option<Box<Recorder>>,
    pub(crate) decisions: Decisions,
    pub(crate) timers: Timers<Event>,
    pub(crate) tasks: Tasks,
    pub(crate) hosts: Hosts,
    pub(crate) net: Net,
    pub(crate) moments: Moments,
    pub(crate) places: Places,
    /// What is to go wrong, once that is known.
    pub(crate) plan: Option<Plan>,
    /// The cluster's factory, once there is one.
    pub(crate) root: Option<RunningFactory>,
    pub(crate) watch: Option<Arc<Watch>>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What of the workload may be less, and from where to where.
    pub(crate) limits: BTreeMap<&'static str, RangeInclusive<u64>>,
    /// Set when the run is to end: its scenario has returned (`None`), or something made it fail.
    pub(crate) over: Option<Option<Cause>>,
    /// A wake came from another thread, so the run may not repeat.
    pub(crate) impure: bool,
    /// Tasks that were aborted because their time was up.
    pub(crate) overstays: Overstays,
    pub(crate) events: u64,
    later: Vec<Later>,
}

thread_local! {
    /// Without a destructor, so that looking needs no check for one; a run takes itself off before its thread ends.
    static RUN: RefCell<ManuallyDrop<Option<Box<Run>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
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

/// 2026-01-01T00:00:00Z: the wall clock at the beginning of every run.
const WALL_BASE: Duration = Duration::from_secs(1_767_225_600);

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
    let seed = settings.seed.0;
    let mut timers = Timers::new();
    for (index, rekey) in settings.rekeys.iter().enumerate() {
        timers.schedule(nanos(rekey.at), Event::Rekey(index));
    }
    let mut decisions = Decisions::new(seed, settings.record, settings.replay.as_deref());
    if let Faults::Plan(Plan { order: Some(order), .. }) = &settings.faults {
        decisions.set_order(order);
    }
    foreign().runs.push(id);
    RUN.set(ManuallyDrop::new(Some(Box::new(Run {
        id,
        time_limit: nanos(settings.time_limit),
        now: 0,
        base: base(),
        wall_base: SystemTime::UNIX_EPOCH + WALL_BASE,
        digest: Digest::new(seed),
        trace: settings.trace.then(|| Box::new(Recorder::new(settings.trace_window.clone()))),
        decisions,
        timers,
        tasks: Tasks::new(id, &settings),
        hosts: Hosts::new(),
        net: Net::new(),
        moments: Moments::default(),
        places: Places::new(),
        plan: None,
        root: None,
        watch: settings.poll_time_limit.map(|limit| Watch::begin(settings.seed, limit)),
        counts: BTreeMap::new(),
        limits: BTreeMap::new(),
        over: None,
        impure: false,
        overstays: Overstays::default(),
        events: 0,
        later: Vec::new(),
        settings,
    }))));
    id
}

/// `Instant` can be made from nothing but the clock. With purity on, the clock answers from the run, which shows zero.
#[expect(clippy::disallowed_methods, reason = "only differences to it are ever seen")]
fn base() -> Instant {
    Instant::now()
}

/// Takes the run off this thread; its state is for the caller to drop.
pub(crate) fn end(id: RunId) -> Box<Run> {
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
pub(crate) fn with<R>(id: RunId, look: impl FnOnce(&mut Run) -> R) -> R {
    try_with(id, look).unwrap_or_else(|| wrong_run())
}

/// Like [`with`]; `None` instead of a panic: for destructors.
#[inline]
pub(crate) fn try_with<R>(id: RunId, look: impl FnOnce(&mut Run) -> R) -> Option<R> {
    // Written in place: what a look returns is moved once, as the executor's every step goes this way.
    let (mut result, mut is_later) = (None, false);
    RUN.with(|cell| {
        if let Ok(mut slot) = cell.try_borrow_mut()
            && let Some(run) = slot.as_mut()
            && run.id == id
        {
            result = Some(look(run));
            is_later = run.has_later();
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
        with_current(|run| (std::mem::take(&mut run.later), run.take_foreign_wakes_causes()))
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

/// Wakes a foreign waker because of an event that may not be the latest.
#[cold]
fn wake_traced(waker: Waker, cause: Option<u32>) {
    let before = with_current(|run| run.now_comes_of(cause)).flatten();
    waker.wake();
    with_current(|run| run.now_comes_of(before));
}

#[cold]
fn wrong_run() -> ! {
    panic!(
        "a handle of a simulation was used outside of it: on another thread, or after its run had ended; keep \
         simulated clocks, sockets and tasks within the scenario that made them"
    )
}

/// The run this thread is inside of, for what has no handle: logs and the system's calls.
pub(crate) fn with_current<R>(look: impl FnOnce(&mut Run) -> R) -> Option<R> {
    RUN.with(|cell| cell.try_borrow_mut().ok()?.as_mut().map(|run| look(run)))
}

/// Wakes a task, from wherever its waker was called.
#[inline]
pub(crate) fn wake(key: TaskKey) {
    let is_here = RUN.with(|cell| match cell.try_borrow_mut() {
        Ok(mut slot) => slot.as_mut().is_some_and(|run| run.wake_task(key)),
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

/// Virtual nanoseconds of a duration; the far future where it does not fit.
#[inline]
pub(crate) fn nanos(duration: Duration) -> Nanos {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(duration.subsec_nanos())).min(FAR_FUTURE)
}

/// "Never", with six years to add to before the numbers overflow.
pub(crate) const FAR_FUTURE: Nanos = Nanos::MAX - 200_000_000_000_000_000;

impl Run {
    /// Wakes whoever waits; foreign wakers as soon as the state is free.
    #[inline(always)]
    pub(crate) fn wake(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Task(key) => {
                self.wake_task(key);
            }
            Waiter::Foreign(waker) => self.wake_later(waker),
        }
    }

    #[inline(never)]
    fn wake_later(&mut self, waker: Waker) {
        self.note_foreign_wake();
        self.later.push(Later::Wake(waker));
    }

    /// Makes a task ready; whether there is one of that name.
    #[inline]
    fn wake_task(&mut self, key: TaskKey) -> bool {
        if self.trace.is_some() {
            self.note_wake(key);
        }
        self.tasks.wake(key)
    }

    /// Wakes everyone who waits at a place.
    #[inline]
    pub(crate) fn wake_all(&mut self, waiters: Waiters) {
        match waiters {
            Waiters::None => {}
            Waiters::One(waiter) => self.wake(waiter),
            Waiters::Several(all) => all.into_iter().for_each(|waiter| self.wake(waiter)),
        }
    }

    /// Drops everyone who waits at a place.
    pub(crate) fn discard_all(&mut self, waiters: Waiters) {
        match waiters {
            Waiters::None => {}
            Waiters::One(waiter) => self.discard(Some(waiter)),
            Waiters::Several(all) => all.into_iter().for_each(|waiter| self.discard(Some(waiter))),
        }
    }

    /// Whether foreign wakers wait for the state to be free.
    #[inline]
    pub(crate) fn has_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// Drops a waiter where that is safe.
    #[inline]
    pub(crate) fn discard(&mut self, waiter: Option<Waiter>) {
        if let Some(Waiter::Foreign(waker)) = waiter {
            self.later.push(Later::Drop(waker));
        }
    }

    #[inline]
    pub(crate) fn draw(&mut self, stream: Stream, below: u64) -> u64 {
        let drawn = self.decisions.draw(stream, below);
        self.drawn(drawn, below);
        drawn.value
    }

    #[inline]
    pub(crate) fn schedule(&mut self, at: Nanos, event: net::Event) {
        if self.trace.is_some() {
            self.note_scheduled(at, event);
        }
        self.timers.schedule(at, Event::Net(event));
    }

    /// Lets time jump to the next event and takes everything due then. `false` when there is nothing to come.
    #[inline]
    pub(crate) fn advance(&mut self) -> bool {
        let Some(at) = self.timers.next_at() else {
            return false;
        };
        if at > self.time_limit {
            self.now = self.time_limit;
            self.fail(Cause::TimeLimit { limit: self.settings.time_limit, tasks: self.task_list() });
            return true;
        }
        if at > self.now {
            self.now = at;
            self.tasks.polls_before_this_instant = self.tasks.polls;
            self.tasks.polls_end = self.tasks.polls.saturating_add(self.tasks.polls_unwatched);
            self.happened_often(|| What::Time { to: at });
        }
        while let Some(due) = self.next_due(at) {
            self.events += 1;
            match due {
                Due::Timer(waiter) => {
                    if let Some(waiter) = waiter {
                        self.wake(waiter);
                    }
                }
                Due::Event(Event::Net(event)) => net::handle(self, event),
                Due::Event(Event::Turn(index)) => self.turn(index),
                Due::Event(Event::Rekey(index)) => self.rekey(self.settings.rekeys[index]),
            }
        }
        true
    }

    #[inline(always)]
    fn next_due(&mut self, at: Nanos) -> Option<Due<Event>> {
        if self.trace.is_some() {
            self.note_due(at);
        }
        self.timers.pop_due(at)
    }

    /// Wakes that came from other threads; whether there were any for this run.
    pub(crate) fn take_foreign_wakes(&mut self) -> bool {
        if !FOREIGN_WAITING.load(Ordering::Acquire) {
            return false;
        }
        self.now_comes_of(None);
        let mut foreign = foreign();
        let before = foreign.wakes.len();
        foreign.wakes.retain(|key| {
            let ours = key.is_run(self.id);
            if ours {
                self.wake_task(*key);
            }
            !ours
        });
        let found = foreign.wakes.len() < before;
        FOREIGN_WAITING.store(!foreign.wakes.is_empty(), Ordering::Release);
        self.impure |= found;
        found
    }

    /// Ends the run as failed; the first cause stands.
    pub(crate) fn fail(&mut self, cause: Cause) {
        if self.over.is_none() {
            self.over = Some(Some(cause));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::{Arc, Mutex};
    use std::task::Poll;

    use crate::Seed;
    use crate::check;
    use crate::kernel::waker::Waiter;

    #[test]
    fn a_wake_for_a_run_that_has_ended_leaves_nothing() {
        let kept = Arc::new(Mutex::new(None));
        let given = kept.clone();
        check(Seed(1), move |_| {
            let given = given.clone();
            poll_fn(move |context| {
                *given.lock().expect("not poisoned") = Some(context.waker().clone());
                Poll::Ready(Ok(()))
            })
        });
        let waker = kept.lock().expect("not poisoned").take().expect("the scenario gave its waker");
        let Waiter::Task(ended) = Waiter::of(&waker) else { panic!("it is a waker of the sim") };
        waker.wake();
        assert!(!super::foreign().wakes.contains(&ended));
    }
}
