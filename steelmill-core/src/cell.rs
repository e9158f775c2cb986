//! Everything in core that several threads write: cells that are set once, raised once, or count.
//!
//! None takes a lock to be read. All of them are here, so that `tests/cells.rs` can include this one file and run it
//! under loom, through every interleaving of a few threads; what it is made of therefore comes from `sync`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::Result;
use crate::daemon::label;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Notify, OnceLock, Ordering, OwnedNotified};

/// A value that [`prepare`](crate::Daemon::prepare) sets once and everyone reads afterwards.
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

/// A flag that is raised once. What was written before is seen by whoever sees it raised.
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

/// Counts up: no number is given twice.
#[derive(Debug, Default)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// How many have been given.
    pub(crate) fn given(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A flag that is raised once, and those who wait for it.
///
/// Asking whether it is raised is one load. Waiting takes a place in a list, which locks it for a moment; but once for
/// a [`Seat`], however many waits follow one another on it and however often each is polled. So the many tasks of a
/// daemon do not meet at its stop signal.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Flag,
    waiters: Arc<Notify>,
}

impl Signal {
    pub(crate) fn raise(&self) {
        // In this order: whoever comes too late for the list finds the flag raised.
        self.raised.raise();
        self.waiters.notify_waiters();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.is_raised()
    }

    /// Waits for `future`, or until the signal is raised. When it is raised already the future is not polled; when both
    /// happen between two polls the future wins.
    pub(crate) fn or<'a, F>(&'a self, seat: &'a Seat, future: F) -> Or<'a, F> {
        Or { future, signal: self, seat, own: None, is_polled: false }
    }

    /// A wait that can move into a task. Poll it with this signal.
    pub(crate) fn wait(&self) -> Wait {
        Wait { notified: self.waiters.clone().notified_owned(), listed: None }
    }

    fn poll(&self, seat: &Seat, own: &mut Option<Pin<Box<Wait>>>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_raised() {
            return Poll::Ready(());
        }
        if seat.0.get().is_some_and(|wait| wait.is_for(context.waker())) {
            return Poll::Pending;
        }
        let wait = own.get_or_insert_with(|| Box::pin(self.wait()));
        let poll = wait.as_mut().poll(self, context);
        // Whoever comes first keeps the place for the waits to come.
        if seat.0.get().is_none()
            && let Some(wait) = own.take()
            && let Err(wait) = seat.0.set(wait)
        {
            *own = Some(wait);
        }
        poll
    }
}

/// A place in a signal's list that outlives the wait that took it: the next one of the same task finds it taken.
#[derive(Default)]
pub(crate) struct Seat(OnceLock<Pin<Box<Wait>>>);

pin_project! {
    /// A place in a signal's list.
    pub(crate) struct Wait {
        #[pin]
        notified: OwnedNotified,
        // Who is in the list; polling `notified` again would lock the list.
        listed: Option<Waker>,
    }
}

impl Wait {
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
        // It may have been raised before there was anybody in the list.
        if signal.is_raised() { Poll::Ready(()) } else { poll }
    }
}

pin_project! {
    /// See [`Signal::or`].
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Or<'a, F> {
        #[pin]
        future: F,
        signal: &'a Signal,
        seat: &'a Seat,
        // For when another task has the seat.
        own: Option<Pin<Box<Wait>>>,
        is_polled: bool,
    }
}

impl<F: Future> Future for Or<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !std::mem::replace(this.is_polled, true) && this.signal.is_raised() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Some(output));
        }
        this.signal.poll(this.seat, this.own, context).map(|()| None)
    }
}

/// Set when the daemon has ended and only its tasks are awaited.
const CLOSED: usize = 1;
/// Set when the tasks have been told to end at once.
const KILLED: usize = 2;
/// One task.
const ONE: usize = 4;

/// The tasks of one daemon, counted by name, without a lock and without memory per task.
///
/// Names are `&'static str`, so there are few: each has one counter, appended on first use and kept. What always holds:
/// once the tasks are closed and the last has left, nobody is admitted any more.
#[derive(Default)]
pub(crate) struct Tasks {
    /// The number of tasks, times [`ONE`], and the two flags.
    state: AtomicUsize,
    names: OnceLock<Box<Named>>,
}

struct Named {
    name: &'static str,
    live: AtomicUsize,
    next: OnceLock<Box<Named>>,
}

impl Tasks {
    /// Lets a task in, if the daemon still takes any.
    pub(crate) fn admit(&self, name: &'static str) -> bool {
        let enter = |state| (state & KILLED == 0 && state != CLOSED).then(|| state + ONE);
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_err() {
            return false;
        }
        self.named(name).live.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A task has ended; true when it was the last one of a daemon that has ended.
    pub(crate) fn leave(&self, name: &'static str) -> bool {
        self.named(name).live.fetch_sub(1, Ordering::Relaxed);
        let before = self.state.fetch_sub(ONE, Ordering::AcqRel);
        before & CLOSED != 0 && before / ONE == 1
    }

    /// The daemon has ended; true when it has no tasks left, false when the last one's [`leave`](Tasks::leave) will
    /// say so.
    pub(crate) fn close(&self) -> bool {
        self.state.fetch_or(CLOSED, Ordering::AcqRel) / ONE == 0
    }

    /// Takes no more tasks.
    pub(crate) fn kill(&self) {
        self.state.fetch_or(KILLED, Ordering::AcqRel);
    }

    /// The tasks that run: names in the order of first use, and how many of each.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let mut next = self.names.get();
        let counts = std::iter::from_fn(move || {
            let named = next?;
            next = named.next.get();
            Some((named.name, named.live.load(Ordering::Relaxed)))
        });
        counts.filter(|(_, live)| *live > 0)
    }

    fn named(&self, name: &'static str) -> &Named {
        let mut cell = &self.names;
        loop {
            let named = cell.get_or_init(|| Box::new(Named::new(name)));
            if named.name == name {
                return named;
            }
            cell = &named.next;
        }
    }
}

impl Named {
    fn new(name: &'static str) -> Self {
        Named { name, live: AtomicUsize::new(0), next: OnceLock::new() }
    }
}
