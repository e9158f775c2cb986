//! How supervisors are polled: no thread that a daemon blocks holds them up.
//!
//! A supervisor is polled by a task of tokio's, which costs least. But a task that was woken may wait for a blocked thread: it
//! sits in that thread's slot for the task to be polled next, or all threads are blocked. So a supervisor does not belong to its
//! task: it lies in a [`Post`], and the [guardian](guardian), a thread of its own, polls it when its task does not.
//!
//! What always holds: user code runs outside of the post's lock, one piece after another, never on the guardian's thread. A thread
//! that is blocked by it holds up no supervisor, only the user code that is left behind it.

mod guardian; // polls what a task does not

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use futures::task::{ArcWake, waker_ref};
use steelmill_core::{Supervision, UserCode};
use tokio::runtime::Handle;
use tracing::Dispatch;
use tracing::dispatcher;

use guardian::Guardian;

/// Polls a supervisor on the current tokio runtime, or gives it back if there can be no guardian.
pub(crate) fn supervise(supervision: Supervision) -> Result<(), Supervision> {
    let Some(guardian) = Guardian::of_the_process() else {
        return Err(supervision);
    };
    let runtime = Handle::current();
    let post = Arc::new(Post {
        guardian,
        runtime,
        task: OnceLock::new(),
        // Its task is about to be polled for the first time.
        is_unserved: AtomicBool::new(true),
        is_watched: AtomicBool::new(false),
        is_held_up: AtomicBool::new(false),
        polls: AtomicU64::new(0),
        call: AtomicUsize::new(0),
        turn: Mutex::new(Turn { supervision: Some(supervision), ..Turn::default() }),
    });
    post.watch();
    post.runtime.spawn(Supervising(post.clone()));
    Ok(())
}

/// Where a supervisor is polled.
struct Post {
    guardian: &'static Guardian,
    runtime: Handle,
    /// Set by the first poll of the task: its waker, and the subscriber of its thread.
    task: OnceLock<(Waker, Dispatch)>,
    /// It was woken and not polled since.
    is_unserved: AtomicBool,
    /// The guardian looks at it.
    is_watched: AtomicBool,
    /// The guardian had to poll it, and its task has not been polled since.
    is_held_up: AtomicBool,
    polls: AtomicU64,
    /// Its place among the guardian's calls, while it is one.
    call: AtomicUsize,
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    /// `None` once it has ended, or was dropped with its task.
    supervision: Option<Supervision>,
    has_ended: bool,
    /// A thread runs its user code.
    is_in_user_code: bool,
    alarm: Option<Instant>,
}

impl Post {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alarm(&self) -> Option<Instant> {
        self.turn().alarm
    }

    /// Polls the supervisor.
    fn poll(self: &Arc<Self>, turn: &mut Turn) -> Poll<()> {
        self.is_unserved.store(false, Ordering::SeqCst);
        let Some(supervision) = &mut turn.supervision else {
            return Poll::Ready(());
        };
        self.polls.fetch_add(1, Ordering::Relaxed);
        let waker = waker_ref(self);
        let polled = supervision.poll(&mut Context::from_waker(&waker));
        turn.has_ended = polled.is_ready();
        let alarm = supervision.wake_at();
        if turn.alarm != alarm {
            turn.alarm = alarm;
            self.watch();
            if let Some(alarm) = alarm {
                self.guardian.expect(alarm);
            }
        }
        polled
    }

    /// Takes user code, unless a thread runs some: that one takes the next as well.
    fn take_user_code(self: &Arc<Self>, turn: &mut Turn) -> Option<UserCode> {
        if turn.is_in_user_code {
            return None;
        }
        let supervision = turn.supervision.as_mut()?;
        let code = supervision.user_code();
        if turn.has_ended && !supervision.has_user_code() {
            turn.supervision = None;
            self.guardian.forget(self);
        }
        turn.is_in_user_code = code.is_some();
        code
    }

    /// Polls the supervisor and runs its user code, on a thread that may be blocked. `is_its_turn`: it is this thread that the flag
    /// `is_in_user_code` is about.
    fn serve(self: &Arc<Self>, mut is_its_turn: bool) -> Poll<()> {
        loop {
            let (polled, code, is_last) = {
                let mut turn = self.turn();
                if is_its_turn {
                    turn.is_in_user_code = false;
                }
                let polled = self.poll(&mut turn);
                let code = self.take_user_code(&mut turn);
                (polled, code, turn.supervision.is_none())
            };
            let Some(code) = code else { return polled };
            code.run();
            if is_last {
                return polled;
            }
            is_its_turn = true;
        }
    }

    /// Polls the supervisor on the guardian's thread. A thread of its own runs its user code.
    fn serve_held_up(self: &Arc<Self>) {
        let _context = self.runtime.enter();
        self.is_held_up.store(true, Ordering::SeqCst);
        {
            let mut turn = self.turn();
            if self.poll(&mut turn).is_ready() {
                self.end_task();
            }
            let has_user_code = turn.supervision.as_ref().is_some_and(Supervision::has_user_code);
            if turn.is_in_user_code || !has_user_code {
                return;
            }
            turn.is_in_user_code = true;
        }
        let post = self.clone();
        let serve = move || {
            let _context = post.runtime.enter();
            let polled = match post.task.get() {
                Some((_, subscriber)) => dispatcher::with_default(subscriber, || post.serve(true)),
                None => post.serve(true),
            };
            if polled.is_ready() {
                post.end_task();
            }
        };
        if thread::Builder::new().name("supervisor".to_owned()).spawn(serve).is_err() {
            // There is no thread to be had: the next poll tries again.
            self.turn().is_in_user_code = false;
        }
    }

    /// The supervisor has ended outside of its task, which may have been polled before and would wait for ever.
    fn end_task(&self) {
        if let Some((task, _)) = self.task.get() {
            task.wake_by_ref();
        }
    }

    /// Has the guardian look at it, until it is served.
    fn watch(self: &Arc<Self>) {
        if !self.is_watched.load(Ordering::SeqCst) && !self.is_watched.swap(true, Ordering::SeqCst) {
            self.guardian.watch(self.clone());
        }
    }
}

impl ArcWake for Post {
    fn wake_by_ref(post: &Arc<Self>) {
        post.is_unserved.store(true, Ordering::SeqCst);
        post.watch();
        if post.is_held_up.load(Ordering::SeqCst) {
            post.guardian.look_now();
        }
        if let Some((task, _)) = post.task.get() {
            task.wake_by_ref();
        }
    }
}

/// The task that polls a supervisor as long as its thread is not blocked.
struct Supervising(Arc<Post>);

impl Future for Supervising {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let post = &self.0;
        post.task.get_or_init(|| (context.waker().clone(), dispatcher::get_default(Dispatch::clone)));
        post.is_held_up.store(false, Ordering::SeqCst);
        post.serve(false)
    }
}

impl Drop for Supervising {
    /// The runtime drops its tasks, and with this one the supervisor. What has ended may have user code left, for the thread that
    /// runs it.
    fn drop(&mut self) {
        let supervision = {
            let mut turn = self.0.turn();
            turn.alarm = None;
            if turn.has_ended { None } else { turn.supervision.take() }
        };
        drop(supervision);
    }
}
