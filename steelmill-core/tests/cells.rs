//! Model checking of `src/cell.rs` and `src/control/end.rs` by [loom](https://docs.rs/loom): every interleaving of a few threads, and
//! every value that the memory model lets a load have.
//!
//! The files are included unchanged; only their primitives, `sync`, are loom's here.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../src/cell.rs"]
#[allow(dead_code, unreachable_pub, reason = "core uses the rest")]
mod cell;

#[path = "../src/control/end.rs"]
#[allow(unreachable_pub, reason = "as in core")]
mod end;

use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use cell::{CachedWaiter, Counter, Flag, SetOnce, Signal, Tasks};
use end::{EndSender, Ended, end};

// Stubs of what these files import from core.
pub(crate) struct Report(AtomicUsize);

type Result<T = (), E = anyhow::Error> = std::result::Result<T, E>;

mod label {
    pub(crate) fn label<T>() -> &'static str {
        std::any::type_name::<T>()
    }
}

#[test]
fn a_value_is_set_once_and_then_read_by_everybody() {
    loom::model(|| {
        let cell = Arc::new(SetOnce::new());
        let setters = [1, 2].map(|value| {
            let cell = cell.clone();
            thread::spawn(move || cell.set(value).is_ok())
        });
        let early = cell.get().ok().copied();
        let [first, second] = setters.map(|setter| setter.join().unwrap());
        assert!(first != second, "one of them has set it");
        let value = if first { 1 } else { 2 };
        assert_eq!(*cell.get().unwrap(), value);
        assert!(early.is_none_or(|early| early == value));
    });
}

#[test]
fn what_was_written_before_a_flag_is_seen_with_it() {
    loom::model(|| {
        let (flag, written) = (Arc::new(Flag::default()), Arc::new(AtomicUsize::new(0)));
        let raiser = {
            let (flag, written) = (flag.clone(), written.clone());
            thread::spawn(move || {
                written.store(7, Ordering::Relaxed);
                flag.raise();
            })
        };
        if flag.is_raised() {
            assert_eq!(written.load(Ordering::Relaxed), 7);
        }
        raiser.join().unwrap();
        assert!(flag.is_raised());
    });
}

#[test]
fn no_number_is_given_twice() {
    loom::model(|| {
        let numbers = Arc::new(Counter::default());
        let other = {
            let numbers = numbers.clone();
            thread::spawn(move || numbers.next())
        };
        let own = numbers.next();
        assert_ne!(own, other.join().unwrap());
        assert_eq!(numbers.next(), 2);
    });
}

/// A waiting task is woken whenever the signal is raised. A lost wakeup is a deadlock, which loom finds.
#[test]
fn a_wait_hears_of_the_signal_whenever_it_is_raised() {
    loom::model(|| {
        let signal = Arc::new(Signal::default());
        let raiser = raise_elsewhere(&signal);
        let cached = CachedWaiter::default();
        assert_eq!(block_on(signal.race(&cached, pending::<()>())), None);
        raiser.join().unwrap();
    });
}

#[test]
fn one_seat_serves_one_wait_after_the_other() {
    loom::model(|| {
        let signal = Arc::new(Signal::default());
        let raiser = raise_elsewhere(&signal);
        let cached = CachedWaiter::default();
        block_on(async {
            for _ in 0..2 {
                signal.race(&cached, yield_once()).await;
            }
            assert_eq!(signal.race(&cached, pending::<()>()).await, None);
        });
        raiser.join().unwrap();
    });
}

#[test]
fn two_tasks_on_one_registration_are_both_woken() {
    loom::model(|| {
        let shared = Arc::new((Signal::default(), CachedWaiter::default()));
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || block_on(shared.0.race(&shared.1, pending::<()>())))
        };
        let (woken, waker) = counting_waker();
        let mut wait = pin!(shared.0.race(&shared.1, pending::<()>()));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        shared.0.raise();
        assert_eq!(woken.count(), 1);
        assert_eq!(waiter.join().unwrap(), None);
    });
}

#[test]
fn a_wait_that_moves_into_a_task_is_woken() {
    loom::model(|| {
        let signal = Arc::new(Signal::default());
        let raiser = raise_elsewhere(&signal);
        let mut wait = pin!(signal.waiter());
        block_on(poll_fn(|context| wait.as_mut().poll(&signal, context)));
        raiser.join().unwrap();
    });
}

#[test]
fn a_place_may_be_given_up_while_the_signal_is_raised() {
    loom::model(|| {
        let signal = Arc::new(Signal::default());
        let raiser = raise_elsewhere(&signal);
        let cached = CachedWaiter::default();
        block_on(signal.race(&cached, yield_once()));
        drop(cached);
        raiser.join().unwrap();
        assert!(signal.is_raised());
    });
}

#[test]
fn a_raised_signal_wins_before_the_first_poll_and_the_future_after_it() {
    loom::model(|| {
        let (signal, cached) = (Signal::default(), CachedWaiter::default());
        assert_eq!(block_on(signal.race(&cached, ready(7))), Some(7));

        let mut both = pin!(signal.race(&cached, yield_once()));
        let (_, waker) = counting_waker();
        assert!(both.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        signal.raise();
        assert_eq!(both.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Some(())));

        assert_eq!(block_on(signal.race(&cached, ready(7))), None);
    });
}

#[test]
fn a_seat_is_listed_once_however_many_waits_it_serves() {
    loom::model(|| {
        let (signal, cached) = (Signal::default(), CachedWaiter::default());
        let (woken, waker) = counting_waker();
        let mut context = Context::from_waker(&waker);
        for _ in 0..3 {
            let mut wait = pin!(signal.race(&cached, pending::<()>()));
            assert!(wait.as_mut().poll(&mut context).is_pending());
            assert!(wait.as_mut().poll(&mut context).is_pending());
        }
        signal.raise();
        assert_eq!(woken.count(), 1);
    });
}

/// A repeated wait in a loop around `until_stopping`: no lock, no new registration, no shared write.
#[test]
fn a_turn_after_the_first_only_reads() {
    loom::model(|| {
        let (signal, cached) = (Signal::default(), CachedWaiter::default());
        let (_, waker) = counting_waker();
        let mut context = Context::from_waker(&waker);
        let mut turn = || {
            let before = sync::writes();
            {
                let mut wait = pin!(signal.race(&cached, yield_once()));
                assert!(wait.as_mut().poll(&mut context).is_pending());
                assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(Some(())));
            }
            sync::writes() - before
        };
        assert_ne!(turn(), 0, "the first takes a place");
        assert_eq!((turn(), turn()), (0, 0));
    });
}

/// A scope whose first waiter has moved to another task: the new one registers once, and only reads from then on.
#[test]
fn a_turn_after_the_first_only_reads_in_another_task_too() {
    loom::model(|| {
        let (signal, cached) = (Signal::default(), CachedWaiter::default());
        for _ in 0..3 {
            let (woken, waker) = counting_waker();
            let mut context = Context::from_waker(&waker);
            let mut turn = || {
                let before = sync::writes();
                let mut wait = pin!(signal.race(&cached, yield_once()));
                assert!(wait.as_mut().poll(&mut context).is_pending());
                assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(Some(())));
                sync::writes() - before
            };
            assert_ne!(turn(), 0, "the first takes a place");
            assert_eq!((turn(), turn()), (0, 0));
            assert_eq!(woken.count(), 3, "each turn wakes it once");
        }
    });
}

#[test]
fn any_number_of_tasks_may_wait_on_one_seat() {
    loom::model(|| {
        let (signal, cached) = (Signal::default(), CachedWaiter::default());
        let tasks: Vec<_> = (0..7).map(|_| counting_waker()).collect();
        let mut waits: Vec<_> =
            tasks.iter().map(|_| Box::pin(signal.race(&cached, pending::<()>()))).collect();
        for _ in 0..2 {
            for (wait, (_, waker)) in waits.iter_mut().zip(&tasks) {
                assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
            }
        }
        signal.raise();
        assert_eq!(tasks.iter().map(|(woken, _)| woken.count()).collect::<Vec<_>>(), [1; 7]);
        for (wait, (_, waker)) in waits.iter_mut().zip(&tasks) {
            assert_eq!(wait.as_mut().poll(&mut Context::from_waker(waker)), Poll::Ready(None));
        }
    });
}

#[test]
fn the_last_poller_is_woken() {
    loom::model(|| {
        let signal = Signal::default();
        let mut wait = pin!(signal.waiter());
        let (first, waker) = counting_waker();
        assert!(wait.as_mut().poll(&signal, &mut Context::from_waker(&waker)).is_pending());
        let (second, waker) = counting_waker();
        assert!(wait.as_mut().poll(&signal, &mut Context::from_waker(&waker)).is_pending());
        signal.raise();
        assert_eq!((first.count(), second.count()), (0, 1));
    });
}

#[test]
fn tasks_are_counted_by_name() {
    loom::model(|| {
        let tasks = Arc::new(Tasks::default());
        let other = {
            let tasks = tasks.clone();
            thread::spawn(move || assert!(tasks.admit("flush") && tasks.admit("connection")))
        };
        assert!(tasks.admit("connection"));
        other.join().unwrap();
        let mut live: Vec<_> = tasks.live().collect();
        live.sort_unstable();
        assert_eq!(live, [("connection", 2), ("flush", 1)]);
        assert!(!tasks.leave("flush"));
        assert_eq!(tasks.live().collect::<Vec<_>>(), [("connection", 2)]);
    });
}

/// The end of a daemon's tasks is reported exactly once: by `close`, or by the last `leave`.
#[test]
fn one_of_closing_and_leaving_is_the_end() {
    loom::model(|| {
        let tasks = Arc::new(Tasks::default());
        assert!(tasks.admit("a") && tasks.admit("b"));
        let leaving = ["a", "b"].map(|name| {
            let tasks = tasks.clone();
            thread::spawn(move || tasks.leave(name))
        });
        let closed = tasks.close();
        let [a, b] = leaving.map(|leaving| leaving.join().unwrap());
        assert_eq!([closed, a, b].into_iter().filter(|is_end| *is_end).count(), 1);
        assert!(!tasks.admit("c"), "admitted after the end");
    });
}

/// Whoever waits until nothing but a question is left is told so by the last other task, or at once.
#[test]
fn a_question_keeps_no_finished_daemon_going() {
    loom::model(|| {
        let tasks = Arc::new(Tasks::default());
        assert!(tasks.admit_question("health"));
        assert!(!tasks.admit_question("health"), "one at a time");
        assert!(tasks.admit("a"));
        let leaving = {
            let tasks = tasks.clone();
            thread::spawn(move || tasks.leave("a"))
        };
        let are_over = tasks.are_over();
        let is_last = leaving.join().unwrap();
        assert_ne!(are_over, is_last, "told once");
        assert!(!tasks.close(), "the end of the daemon waits for the question");
        assert!(tasks.leave_question("health"));
    });
}

/// An admitted task is awaited; one spawned after the end is rejected.
#[test]
fn a_task_spawned_at_the_end_is_awaited_or_rejected() {
    loom::model(|| {
        let tasks = Arc::new(Tasks::default());
        assert!(tasks.admit("first"));
        let coming = {
            let tasks = tasks.clone();
            thread::spawn(move || tasks.admit("second"))
        };
        assert!(!tasks.close());
        let first_was_last = tasks.leave("first");
        if coming.join().unwrap() {
            assert_ne!(first_was_last, tasks.leave("second"), "the end comes once");
        } else {
            assert!(first_was_last);
        }
        assert_eq!(tasks.live().count(), 0);
    });
}

#[test]
fn an_idle_daemon_closes_at_once_and_refuses_tasks() {
    loom::model(|| {
        let tasks = Tasks::default();
        assert!(tasks.close());
        assert!(!tasks.admit("a"));
    });
}

#[test]
fn killed_tasks_are_not_replaced() {
    loom::model(|| {
        let tasks = Arc::new(Tasks::default());
        assert!(tasks.admit("a"));
        let killer = {
            let tasks = tasks.clone();
            thread::spawn(move || tasks.abort())
        };
        let is_in = tasks.admit("a");
        killer.join().unwrap();
        assert!(!tasks.admit("a"));
        assert!(!tasks.leave("a"), "the daemon itself has not ended yet");
        assert!(!is_in || !tasks.leave("a"));
        assert!(tasks.close());
    });
}

/// Whoever waits for the report gets it, whenever it is sent, with all that was written before. A lost wakeup is a deadlock.
#[test]
fn who_waits_for_the_end_gets_the_whole_report() {
    loom::model(|| {
        let (sender, ended) = end();
        let sending = send_elsewhere(sender);
        assert_eq!(number_of(block_on(ended.report())), Some(7));
        sending.join().unwrap();
        assert_eq!(number_of(block_on(ended.report())), Some(7), "and who comes afterwards");
    });
}

#[test]
fn all_who_wait_for_the_end_get_the_report() {
    // Three threads with locks are too many for every interleaving.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let (sender, ended) = end();
        let other = {
            let ended = ended.clone();
            thread::spawn(move || assert_eq!(number_of(block_on(ended.report())), Some(7)))
        };
        let sending = send_elsewhere(sender);
        assert_eq!(number_of(block_on(ended.report())), Some(7));
        sending.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn the_end_comes_without_a_report_if_the_supervisor_is_dropped() {
    loom::model(|| {
        let (sender, ended) = end();
        let dropping = thread::spawn(move || drop(sender));
        assert_eq!(number_of(block_on(ended.report())), None);
        dropping.join().unwrap();
        assert_eq!(number_of(block_on(ended.report())), None);
    });
}

#[test]
fn one_may_cease_to_wait_for_the_end_while_it_comes() {
    loom::model(|| {
        let (sender, ended) = end();
        let sending = send_elsewhere(sender);
        {
            let (_, waker) = counting_waker();
            let mut waits = pin!(ended.report());
            if let Poll::Ready(report) = waits.as_mut().poll(&mut Context::from_waker(&waker)) {
                assert_eq!(number_of(report), Some(7));
            }
        }
        assert_eq!(number_of(block_on(ended.report())), Some(7));
        sending.join().unwrap();
    });
}

#[test]
fn one_who_was_polled_before_the_end_is_woken_once() {
    loom::model(|| {
        let (sender, ended): (EndSender, Ended) = end();
        let (woken, waker) = counting_waker();
        let mut waits = pin!(ended.report());
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        send_elsewhere(sender).join().unwrap();
        assert_eq!(woken.count(), 1);
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    });
}

/// The number is written without any ordering of its own, so that only the end orders it.
fn send_elsewhere(sender: EndSender) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let report = Arc::new(Report(AtomicUsize::new(0)));
        report.0.store(7, Ordering::Relaxed);
        sender.send(report);
    })
}

fn number_of(report: Option<Arc<Report>>) -> Option<usize> {
    report.map(|report| report.0.load(Ordering::Relaxed))
}

fn raise_elsewhere(signal: &Arc<Signal>) -> thread::JoinHandle<()> {
    let signal = signal.clone();
    thread::spawn(move || signal.raise())
}

/// Is woken at once, and ready when polled again.
fn yield_once() -> impl Future<Output = ()> {
    let mut is_ready = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut is_ready, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Counts how often it is woken.
struct Woken(AtomicUsize);

impl Woken {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting_waker() -> (Arc<Woken>, Waker) {
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    (woken.clone(), woken.into())
}

/// Loom's atomics, and models of what loom lacks; those that a wait touches count all but reads.
mod sync {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::{Arc, Context, Future, Pin, Poll, Waker};

    thread_local! {
        // Loom runs all threads of a model on one OS thread, so a thread-local belongs to the model.
        static WRITES: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts writes, locks and registrations.
    pub(crate) fn writes() -> usize {
        WRITES.get()
    }

    fn count_write() {
        WRITES.set(WRITES.get() + 1);
    }

    #[derive(Default)]
    pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn load(&self, ordering: Ordering) -> bool {
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, value: bool, ordering: Ordering) {
            count_write();
            self.0.store(value, ordering);
        }
    }

    /// Like std's: blocks while another thread initialises it.
    pub(crate) struct OnceLock<T> {
        setting: loom::sync::Mutex<()>,
        is_set: AtomicBool,
        value: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            OnceLock {
                setting: loom::sync::Mutex::new(()),
                is_set: AtomicBool::default(),
                value: std::sync::OnceLock::new(),
            }
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            count_write();
            let _setting = self.setting.lock().unwrap();
            let outcome = self.value.set(value);
            self.is_set.store(true, Ordering::Release);
            outcome
        }

        pub(crate) fn get(&self) -> Option<&T> {
            self.is_set.load(Ordering::Acquire).then(|| self.value.get().unwrap())
        }

        pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            if let Some(value) = self.get() {
                return value;
            }
            count_write();
            let _setting = self.setting.lock().unwrap();
            let value = self.value.get_or_init(init);
            self.is_set.store(true, Ordering::Release);
            value
        }
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self::new()
        }
    }

    /// As tokio's: with a number of calls, which a [`Notified`] compares with the one of when it was made. An [`OwnedNotified`] is
    /// weaker here than tokio's: its registration counts from its first poll.
    #[derive(Default)]
    pub(crate) struct Notify {
        calls: AtomicUsize,
        waiting: loom::sync::Mutex<Waiting>,
    }

    #[derive(Default)]
    struct Waiting {
        next: u64,
        wakers: BTreeMap<u64, Waker>,
    }

    impl Notify {
        fn lock(&self) -> loom::sync::MutexGuard<'_, Waiting> {
            count_write();
            self.waiting.lock().unwrap()
        }

        pub(crate) fn notify_waiters(&self) {
            let wakers = {
                let mut waiting = self.lock();
                self.calls.fetch_add(1, Ordering::SeqCst);
                std::mem::take(&mut waiting.wakers)
            };
            wakers.into_values().for_each(Waker::wake);
        }

        pub(crate) fn notified(&self) -> Notified<'_> {
            Notified { list: self, calls: self.calls.load(Ordering::SeqCst), place: None }
        }

        pub(crate) fn notified_owned(self: Arc<Self>) -> OwnedNotified {
            count_write(); // a new registration
            OwnedNotified { list: self, place: None }
        }
    }

    pub(crate) struct Notified<'a> {
        list: &'a Notify,
        calls: usize,
        place: Option<u64>,
    }

    impl Future for Notified<'_> {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let mut waiting = self.list.lock();
            if self.list.calls.load(Ordering::SeqCst) != self.calls {
                return Poll::Ready(());
            }
            let place = self.place.unwrap_or(waiting.next);
            waiting.next = waiting.next.max(place + 1);
            self.place = Some(place);
            waiting.wakers.insert(place, context.waker().clone());
            Poll::Pending
        }
    }

    impl Drop for Notified<'_> {
        fn drop(&mut self) {
            if let Some(place) = self.place {
                self.list.lock().wakers.remove(&place);
            }
        }
    }

    pub(crate) struct OwnedNotified {
        list: Arc<Notify>,
        place: Option<u64>,
    }

    impl Future for OwnedNotified {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let list = self.list.clone();
            let mut waiting = list.lock();
            let place = match self.place {
                Some(place) if !waiting.wakers.contains_key(&place) => return Poll::Ready(()),
                Some(place) => place,
                None => waiting.next,
            };
            waiting.next = waiting.next.max(place + 1);
            self.place = Some(place);
            waiting.wakers.insert(place, context.waker().clone());
            Poll::Pending
        }
    }

    impl Drop for OwnedNotified {
        fn drop(&mut self) {
            if let Some(place) = self.place {
                self.list.lock().wakers.remove(&place);
            }
        }
    }
}
