//! The guardian: the one thread of a process that polls supervisors whose tasks are not polled, and that keeps their timeouts.
//!
//! It sleeps while no supervisor is woken and no timeout is due. A moment after a wake it looks whether the supervisor was polled;
//! if not, it polls it. Wakes meanwhile cost their threads no system call, because the guardian is about to look anyway.
//!
//! What always holds: no user code runs on this thread, and it holds no lock of its own while it polls or wakes a supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures::task::ArcWake;

use super::Post;

/// How long a wake may go unserved. A busy machine takes some milliseconds, a blocked thread may take for ever.
const UNSERVED: Duration = Duration::from_millis(25);

/// How long the guardian sleeps when nothing is to be done.
const IDLE: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(super) struct Guardian {
    calls: Mutex<Calls>,
    called: Condvar,
}

/// What other threads tell the guardian.
#[derive(Default)]
struct Calls {
    /// Posts to be looked at.
    posts: Vec<Arc<Post>>,
    /// The earliest new timeout.
    alarm: Option<Instant>,
    /// One that is held up was woken.
    is_urgent: bool,
    /// `None` while it is awake, or was called.
    sleep: Option<Sleep>,
}

struct Sleep {
    until: Instant,
    /// It looks again within a moment.
    is_short: bool,
}

impl Guardian {
    /// The guardian of this process; `None` if its thread cannot be spawned.
    pub(super) fn of_the_process() -> Option<&'static Guardian> {
        static GUARDIAN: OnceLock<Guardian> = OnceLock::new();
        static IS_STARTED: OnceLock<bool> = OnceLock::new();
        let guardian = GUARDIAN.get_or_init(Guardian::default);
        let is_started = IS_STARTED.get_or_init(|| {
            let rounds = Rounds { guardian, watched: Vec::new(), look_at: None, alarms: Alarms::default() };
            thread::Builder::new().name("guardian".to_owned()).spawn(|| rounds.make()).is_ok()
        });
        is_started.then_some(guardian)
    }

    /// Looks at a post from now on, until it is served.
    pub(super) fn watch(&self, post: Arc<Post>) {
        let mut calls = self.calls();
        post.call.store(calls.posts.len(), Ordering::Relaxed);
        calls.posts.push(post);
        if calls.sleep.as_ref().is_some_and(|sleep| !sleep.is_short) {
            self.call(calls);
        }
    }

    /// A supervisor has ended. Most short-lived ones have never been looked at.
    pub(super) fn forget(&self, post: &Arc<Post>) {
        let mut calls = self.calls();
        let call = post.call.load(Ordering::Relaxed);
        if calls.posts.get(call).is_some_and(|other| Arc::ptr_eq(other, post)) {
            calls.posts.swap_remove(call);
            if let Some(moved) = calls.posts.get(call) {
                moved.call.store(call, Ordering::Relaxed);
            }
        }
    }

    /// A watched post has this timeout.
    pub(super) fn expect(&self, alarm: Instant) {
        let mut calls = self.calls();
        calls.alarm = Some(calls.alarm.map_or(alarm, |other| other.min(alarm)));
        if calls.sleep.as_ref().is_some_and(|sleep| alarm < sleep.until) {
            self.call(calls);
        }
    }

    /// Looks at once at the posts that are held up.
    pub(super) fn look_now(&self) {
        let mut calls = self.calls();
        calls.is_urgent = true;
        if calls.sleep.is_some() {
            self.call(calls);
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, mut calls: MutexGuard<'_, Calls>) {
        calls.sleep = None;
        self.called.notify_one();
    }

    /// Sleeps until `until`, or until something is to be done before; takes the calls.
    fn sleep(&self, until: Instant) -> Calls {
        let mut calls = self.calls();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let is_short = left <= UNSERVED;
            let is_called = calls.is_urgent
                || calls.alarm.is_some_and(|alarm| alarm < until)
                || !is_short && !calls.posts.is_empty();
            if left.is_zero() || is_called {
                calls.sleep = None;
                return mem::take(&mut calls);
            }
            calls.sleep = Some(Sleep { until, is_short });
            calls = match self.called.wait_timeout(calls, left) {
                Ok((calls, _)) => calls,
                Err(error) => error.into_inner().0,
            };
        }
    }
}

/// The guardian's own state.
struct Rounds {
    guardian: &'static Guardian,
    watched: Vec<Watched>,
    /// When to look at what is watched.
    look_at: Option<Instant>,
    alarms: Alarms,
}

struct Watched {
    post: Arc<Post>,
    /// How often it had been polled at the last look, or when it was found to be unserved just after one; `None` before.
    polls: Option<u64>,
}

impl Rounds {
    fn make(mut self) {
        loop {
            let until = [self.look_at, self.alarms.first()].into_iter().flatten().min();
            let calls = self.guardian.sleep(until.unwrap_or_else(|| Instant::now() + IDLE));
            let now = Instant::now();
            if self.look_at.is_some_and(|look_at| look_at <= now) {
                self.look(true);
            }
            // The next look is in a while, which is time enough to be polled in.
            let is_look_far = self.look_at.is_none_or(|look_at| look_at <= now);
            self.watched.extend(calls.posts.into_iter().map(|post| {
                let polls = is_look_far.then(|| post.polls.load(Ordering::Relaxed));
                Watched { post, polls }
            }));
            if calls.is_urgent {
                self.look(false);
            }
            if calls.alarm.is_some() {
                for Watched { post, .. } in &self.watched {
                    self.alarms.update(post);
                }
            }
            while let Some(post) = self.alarms.due(now) {
                // Its task first, even if it was held up before: on a busy machine a timeout is not to pass before those have
                // had a turn who may still be in time.
                post.is_held_up.store(false, Ordering::SeqCst);
                ArcWake::wake(post);
            }
            if self.watched.is_empty() {
                self.look_at = None;
            } else if self.look_at.is_none_or(|look_at| look_at <= now) {
                self.look_at = Some(now + UNSERVED);
            }
        }
    }

    /// Polls supervisors that have not been polled since the last look, or those alone that are known to be held up.
    fn look(&mut self, at_all: bool) {
        let alarms = &mut self.alarms;
        self.watched.retain_mut(|Watched { post, polls }| {
            if post.is_unserved.load(Ordering::SeqCst) {
                let is_late = at_all && *polls == Some(post.polls.load(Ordering::Relaxed));
                if is_late || post.is_held_up.load(Ordering::SeqCst) {
                    post.serve_held_up();
                }
                if at_all {
                    *polls = Some(post.polls.load(Ordering::Relaxed));
                }
                return true;
            }
            // In this order: whoever sets a timeout or wakes it after this look has it watched again.
            post.is_watched.store(false, Ordering::SeqCst);
            alarms.update(post);
            post.is_unserved.load(Ordering::SeqCst) && !post.is_watched.swap(true, Ordering::SeqCst)
        });
    }
}

/// The timeouts of supervisors, by post.
#[derive(Default)]
struct Alarms {
    in_order: BTreeSet<(Instant, usize)>,
    posts: BTreeMap<usize, (Instant, Arc<Post>)>,
}

impl Alarms {
    fn first(&self) -> Option<Instant> {
        self.in_order.first().map(|(alarm, _)| *alarm)
    }

    /// Takes over the timeout of a post, unless that is about to be polled, and watched until then.
    fn update(&mut self, post: &Arc<Post>) {
        let (key, alarm) = (Arc::as_ptr(post) as usize, post.alarm());
        if post.is_unserved.load(Ordering::SeqCst) {
            return;
        }
        if let Some((former, _)) = self.posts.remove(&key) {
            self.in_order.remove(&(former, key));
        }
        if let Some(alarm) = alarm {
            self.in_order.insert((alarm, key));
            self.posts.insert(key, (alarm, post.clone()));
        }
    }

    /// Removes the next timeout that is due.
    fn due(&mut self, now: Instant) -> Option<Arc<Post>> {
        loop {
            let (alarm, key) = *self.in_order.first().filter(|(alarm, _)| *alarm <= now)?;
            self.in_order.remove(&(alarm, key));
            let (_, post) = self.posts.remove(&key)?;
            if post.alarm() == Some(alarm) {
                return Some(post);
            }
        }
    }
}
