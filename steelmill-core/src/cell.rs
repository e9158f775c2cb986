//! All state in core that several threads write: the set-once cell, the stop signal, counters.
//!
//! Reading takes no lock. `tests/cells.rs` includes this file and runs it under loom, through every interleaving of a few
//! threads; therefore its atomics come from `sync`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::Result;
use crate::label::label;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Notify, OnceLock, Ordering, OwnedNotified};

/// A cell that [`prepare`](crate::Daemon::prepare) sets once, to be read by all tasks afterwards.
///
/// Reading takes no lock and allocates nothing.
///
/// # Example
/// ```
/// let port = steelmill_core::SetOnce::new();
/// assert!(port.get().is_err());
/// port.set(6379)?;
/// assert_eq!(*port.get()?, 6379);
/// assert!(port.set(6380).is_err());
/// # Ok::<(), steelmill_core::Error>(())
/// ```
pub struct SetOnce<T>(OnceLock<T>);

impl<T> SetOnce<T> {
    /// An empty cell.
    pub fn new() -> Self {
        SetOnce(OnceLock::new())
    }

    /// Sets the value.
    ///
    /// # Errors
    /// When it is set already; the first value stays.
    pub fn set(&self, value: T) -> Result {
        self.0.set(value).map_err(|_| anyhow::anyhow!("{} was set already", label::<T>()))
    }

    /// The value.
    ///
    /// # Errors
    /// When it is not set yet.
    pub fn get(&self) -> Result<&T> {
        self.0
            .get()
            .ok_or_else(|| anyhow::anyhow!("{} is not set yet: has its daemon been prepared?", label::<T>()))
    }
}

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for SetOnce<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get() {
            Some(value) => f.debug_tuple("SetOnce").field(value).finish(),
            None => f.write_str("SetOnce(not set yet)"),
        }
    }
}

/// A flag that is raised once, with release-acquire ordering.
#[derive(Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Flag").field(&self.is_raised()).finish()
    }
}

/// What the polls of a daemon's tasks pass by one load: open to a task that says that it may pass, until it is closed to all.
pub(crate) struct Gate([Flag; 2]);

impl Default for Gate {
    fn default() -> Self {
        let gate = Gate(Default::default());
        gate.0[usize::from(false)].raise();
        gate
    }
}

impl Gate {
    pub(crate) fn close(&self) {
        self.0[usize::from(true)].raise();
    }

    #[inline]
    pub(crate) fn is_open_to(&self, may_pass: bool) -> bool {
        !self.0[usize::from(may_pass)].is_raised()
    }
}

/// A counter: no number is handed out twice.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// How many numbers were handed out.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A flag that is raised once, with waiters: the stop signal.
///
/// Checking it is one load. Registering a waiter takes the lock of tokio's waiter list for a moment, but only once per
/// task and [`CachedWaiter`], however many waits use it and however often each is polled. So the tasks of a daemon do not contend
/// for its stop signal.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Flag,
    waiters: Arc<Notify>,
}

impl Signal {
    pub(crate) fn raise(&self) {
        // In this order: a waiter that registers too late for the notification finds the flag raised.
        self.raised.raise();
        self.waiters.notify_waiters();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.is_raised()
    }

    /// Waits for `future`, or until the signal is raised. If it is raised already, the future is not polled; if both happen
    /// between two polls, the future wins.
    pub(crate) fn race<'a, F>(&'a self, cached: &'a CachedWaiter, future: F) -> Race<'a, F> {
        Race { future, signal: self, cached, own: None, is_polled: false }
    }

    /// An owned waiter. Poll it with this signal.
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter { notified: self.waiters.clone().notified_owned(), listed: None }
    }

    fn poll(
        &self,
        cached: &CachedWaiter,
        own: &mut Option<Pin<Box<Registered>>>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if self.is_raised() {
            return Poll::Ready(());
        }
        let mut place = cached;
        for _ in 0..TASKS_CACHED {
            let Some(registered) = place.0.get() else {
                let mut wait = own.take().unwrap_or_else(|| Box::pin(Registered::new(self)));
                let poll = wait.as_mut().project().waiter.poll(self, context);
                // Another task may be faster: then the registration is this wait's own.
                *own = place.0.set(wait).err();
                return poll;
            };
            if registered.waiter.is_for(context.waker()) {
                return Poll::Pending;
            }
            place = &registered.next;
        }
        let wait = own.get_or_insert_with(|| Box::pin(Registered::new(self)));
        wait.as_mut().project().waiter.poll(self, context)
    }
}

/// How many tasks have a cached registration on one [`CachedWaiter`]; others register for each wait. Most have one: a
/// scope is waited on by the task that has it. One more is for each time that it moves to another task.
const TASKS_CACHED: usize = 4;

/// Cached waiter registrations, one for each of the first few tasks that wait. They outlive the waits that made them, and
/// the next wait of the same task reuses its own.
#[derive(Default)]
pub(crate) struct CachedWaiter(OnceLock<Pin<Box<Registered>>>);

pin_project! {
    struct Registered {
        #[pin]
        waiter: Waiter,
        next: CachedWaiter,
    }
}

impl Registered {
    fn new(signal: &Signal) -> Self {
        Registered { waiter: signal.waiter(), next: CachedWaiter::default() }
    }
}

pin_project! {
    /// A registration in a signal's waiter list.
    pub(crate) struct Waiter {
        #[pin]
        notified: OwnedNotified,
        // The registered waker: polling `notified` again would lock the list.
        listed: Option<Waker>,
    }
}

impl Waiter {
    fn is_for(&self, waker: &Waker) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.will_wake(waker))
    }

    pub(crate) fn poll(self: Pin<&mut Self>, signal: &Signal, context: &mut Context<'_>) -> Poll<()> {
        if signal.is_raised() {
            return Poll::Ready(());
        }
        if self.is_for(context.waker()) {
            return Poll::Pending;
        }
        let this = self.project();
        *this.listed = Some(context.waker().clone());
        let poll = this.notified.poll(context);
        // It may have been raised before the registration.
        if signal.is_raised() { Poll::Ready(()) } else { poll }
    }
}

pin_project! {
    /// See [`Signal::race`].
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Race<'a, F> {
        #[pin]
        future: F,
        signal: &'a Signal,
        cached: &'a CachedWaiter,
        // Used when other tasks have all cached registrations.
        own: Option<Pin<Box<Registered>>>,
        is_polled: bool,
    }
}

impl<F: Future> Future for Race<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !std::mem::replace(this.is_polled, true) && this.signal.is_raised() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Some(output));
        }
        this.signal.poll(this.cached, this.own, context).map(|()| None)
    }
}

/// Flag: the daemon has ended, and its tasks are awaited.
const CLOSED: usize = 1;
/// Flag: the tasks are aborted, and new ones refused.
const ABORTED: usize = 2;
/// Flag: the daemon has finished, and somebody waits until it has no tasks.
const AWAITED: usize = 4;
/// Flag: one of the tasks asks the daemon for its health, which keeps nothing going.
const ASKED: usize = 8;
/// The count of one task.
const ONE: usize = 16;

/// Counts the live tasks of a daemon by name, without a lock or memory per task.
///
/// What always holds: after the tasks are closed and the last has left, none is admitted.
#[derive(Default)]
pub(crate) struct Tasks {
    /// The number of tasks times [`ONE`], plus the flags.
    state: AtomicUsize,
    live: ByName<AtomicUsize>,
}

/// A value for each name, appended on first use and kept. Names are `&'static str`, so there are few.
pub(crate) struct ByName<T>(OnceLock<Box<Named<T>>>);

struct Named<T> {
    name: &'static str,
    value: T,
    next: ByName<T>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        ByName(OnceLock::new())
    }
}

impl<T> ByName<T> {
    /// The value of a name, made on first use.
    pub(crate) fn get_or_add(&self, name: &'static str, make: impl Fn() -> T) -> &T {
        let mut list = self;
        loop {
            let named =
                list.0.get_or_init(|| Box::new(Named { name, value: make(), next: ByName::default() }));
            if named.name == name {
                return &named.value;
            }
            list = &named.next;
        }
    }

    /// Names in the order of first use, with their values.
    fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let mut list = self;
        std::iter::from_fn(move || {
            let named = list.0.get()?;
            list = &named.next;
            Some((named.name, &named.value))
        })
    }
}

impl Tasks {
    /// Counts a new task, unless tasks are refused.
    pub(crate) fn admit(&self, name: &'static str) -> bool {
        self.enter(name, ONE)
    }

    /// Counts the task of a question, unless tasks are refused, or that of another question has not ended.
    pub(crate) fn admit_question(&self, name: &'static str) -> bool {
        self.enter(name, ONE | ASKED)
    }

    fn enter(&self, name: &'static str, one: usize) -> bool {
        let enter = |state| {
            let is_refused = state & ABORTED != 0 || state & !AWAITED == CLOSED || state & one & ASKED != 0;
            (!is_refused).then(|| state + one)
        };
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_err() {
            return false;
        }
        self.named(name).fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A task has ended; true if it was the last one after [`close`](Tasks::close), or the last but for a question after
    /// [`are_over`](Tasks::are_over).
    pub(crate) fn leave(&self, name: &'static str) -> bool {
        self.exit(name, ONE)
    }

    /// As [`leave`](Tasks::leave), of a question.
    pub(crate) fn leave_question(&self, name: &'static str) -> bool {
        self.exit(name, ONE | ASKED)
    }

    fn exit(&self, name: &'static str, one: usize) -> bool {
        self.named(name).fetch_sub(1, Ordering::Relaxed);
        let state = self.state.fetch_sub(one, Ordering::AcqRel) - one;
        match state & CLOSED {
            0 => state & AWAITED != 0 && but_questions(state) == 0,
            _ => state / ONE == 0,
        }
    }

    /// True if there are no tasks now, but for a question. Otherwise the [`leave`](Tasks::leave) of the last one returns true,
    /// as often as there is one that is the last: new ones are still admitted.
    pub(crate) fn are_over(&self) -> bool {
        but_questions(self.state.fetch_or(AWAITED, Ordering::AcqRel)) == 0
    }

    /// Whether the tasks are closed, and the last has ended.
    pub(crate) fn have_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) & !(ABORTED | AWAITED) == CLOSED
    }

    /// The daemon has ended; true if it has no tasks. Otherwise the [`leave`](Tasks::leave) of the last one returns true.
    pub(crate) fn close(&self) -> bool {
        self.state.fetch_or(CLOSED, Ordering::AcqRel) / ONE == 0
    }

    /// Refuses new tasks.
    pub(crate) fn abort(&self) {
        self.state.fetch_or(ABORTED, Ordering::AcqRel);
    }

    /// The number of live tasks.
    pub(crate) fn count(&self) -> usize {
        self.state.load(Ordering::Acquire) / ONE
    }

    /// The live tasks: names in the order of first use, and the number of each.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let counts = self.live.iter().map(|(name, live)| (name, live.load(Ordering::Relaxed)));
        counts.filter(|(_, live)| *live > 0)
    }

    fn named(&self, name: &'static str) -> &AtomicUsize {
        self.live.get_or_add(name, || AtomicUsize::new(0))
    }
}

/// The number of tasks that are no questions.
fn but_questions(state: usize) -> usize {
    state / ONE - usize::from(state & ASKED != 0)
}
