//! The watchdog: a real-time limit of one poll. An endless loop inside a poll cannot be interrupted, so when a poll lasts too long, a
//! thread of its own stops the run's thread for good, and reports the task and its stack to whoever gave the run a thread. Where
//! that cannot be done, it prints them with the seed, and exits the process.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;

use super::spinning::{self, Verdict};
use super::stacks::{self, Frame, Stack};
use crate::schema::settings::Seed;

/// The default real-time limit of one poll.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The state that a run shares with the watchdog thread.
#[derive(Debug)]
pub(crate) struct Watch {
    seed: Seed,
    limit: Duration,
    /// On which the run executes.
    thread: spinning::Thread,
    polls: AtomicU64,
    /// The slot of the task that is being polled.
    current: AtomicU64,
    /// The name to print of the last task in each slot.
    names: Mutex<Vec<String>>,
    /// Who is told when the thread is stopped; without it, it is not.
    stopped: Option<mpsc::Sender<String>>,
}

const NONE: u64 = u64::MAX;
/// User code outside of polls, which may not end either.
const BEGINNING: u64 = u64::MAX - 1;
const TEARDOWN: u64 = u64::MAX - 2;

/// User code that does not end was stopped.
const STOPPED: u64 = u64::MAX - 3;

thread_local! {
    static STOPPED_TO: RefCell<Option<mpsc::Sender<String>>> = const { RefCell::new(None) };
}

/// If a poll of this thread does not return, the thread is stopped, and a report is sent. Nobody may wait for its end then.
pub(crate) fn may_stop_this_thread(stopped: mpsc::Sender<String>) {
    STOPPED_TO.set(Some(stopped));
}

static WATCHED: Mutex<Vec<Weak<Watch>>> = Mutex::new(Vec::new());

impl Watch {
    pub(crate) fn begin(seed: Seed, limit: Duration) -> Arc<Self> {
        let watch = Arc::new(Self {
            seed,
            limit,
            thread: spinning::Thread::current(),
            polls: AtomicU64::new(0),
            current: AtomicU64::new(NONE),
            names: Mutex::new(Vec::new()),
            stopped: STOPPED_TO.take(),
        });
        let mut watched = WATCHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        watched.retain(|watch| watch.strong_count() > 0);
        watched.push(Arc::downgrade(&watch));
        watch
    }

    #[inline]
    pub(crate) fn polling(&self, task: usize, polls: u64) {
        self.current.store(task as u64, Ordering::Relaxed);
        self.polls.store(polls, Ordering::Relaxed);
    }

    /// The scenario is called, before its first await.
    pub(crate) fn beginning(&self) {
        self.current.store(BEGINNING, Ordering::Relaxed);
    }

    /// What is left of the run is dropped.
    pub(crate) fn tearing_down(&self) {
        self.current.store(TEARDOWN, Ordering::Relaxed);
    }

    pub(crate) fn idle(&self) {
        self.current.store(NONE, Ordering::Relaxed);
    }

    pub(crate) fn spawned(&self, task: usize, machine: &str, daemon: Option<&str>, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if names.len() <= task {
            names.resize(task + 1, String::new());
        }
        let text = &mut names[task];
        text.clear();
        for owner in [Some(machine), daemon].into_iter().flatten() {
            text.push_str(owner);
            text.push_str(": ");
        }
        text.push_str(name);
    }
}

/// Starts the watchdog, once for the process. It is a real thread, so it must not be started inside a run.
#[expect(clippy::disallowed_methods, reason = "the watchdog is the one part that must live in real time")]
pub(crate) fn start() {
    // A child of fork(2) has the parent's statics, but not its threads.
    static STARTED_IN: AtomicU32 = AtomicU32::new(0);
    let process = std::process::id();
    if STARTED_IN.swap(process, Ordering::Relaxed) == process {
        return;
    }
    let thread = std::thread::Builder::new().name("steelmill watchdog".into());
    let watching = thread.spawn(|| {
        let mut observations = Vec::new();
        loop {
            std::thread::sleep(CHECK_INTERVAL);
            check_all(&mut observations);
        }
    });
    watching.expect("a thread can be started");
}

/// Does something while the watchdog does nothing, so that a child of fork(2) finds none of its locks held.
#[cfg(target_os = "linux")]
pub(crate) fn undisturbed<T>(action: impl FnOnce() -> T) -> T {
    let _watched = WATCHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    action()
}

/// A run, its number of polls at the last check, and for how long that has not changed.
type Observation = (Weak<Watch>, u64, Duration);

fn check_all(observations: &mut Vec<Observation>) {
    let watched = WATCHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    observations.retain(|(watch, ..)| watch.strong_count() > 0);
    for weak in watched {
        let Some(watch) = weak.upgrade() else { continue };
        let (polls, task) = (watch.polls.load(Ordering::Relaxed), watch.current.load(Ordering::Relaxed));
        match observations.iter_mut().find(|(known, ..)| known.ptr_eq(&weak)) {
            Some((_, before, stuck)) if *before == polls && ![NONE, STOPPED].contains(&task) => {
                *stuck += CHECK_INTERVAL;
                if *stuck >= watch.limit {
                    end(&watch, polls, task);
                }
            }
            Some((_, before, stuck)) => (*before, *stuck) = (polls, Duration::ZERO),
            None => observations.push((weak, polls, Duration::ZERO)),
        }
    }
}

/// Stops the thread of a poll that does not return, and tells; or ends the process.
fn end(watch: &Watch, polls: u64, task: u64) {
    let what = {
        let names = watch.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match task {
            BEGINNING => "the scenario, before its first await,".to_owned(),
            TEARDOWN => "a destructor, when the run was over,".to_owned(),
            task => format!("one poll of {:?}", names.get(task as usize).map_or("a task", |name| name)),
        }
    };
    let limit = watch.limit;
    let what = format!("{what} has lasted for {limit:?} of real time; a task has to reach an await.");
    if let Some(stopped) = &watch.stopped {
        let judge = |(addresses, depth): &Stack| {
            let holds_a_stream = || stacks::symbolize(&addresses[..*depth]).iter().any(Frame::is_of_streams);
            let is_at_it = || {
                watch.polls.load(Ordering::Relaxed) == polls
                    && watch
                        .current
                        .compare_exchange(task, STOPPED, Ordering::Relaxed, Ordering::Relaxed)
                        .is_ok()
            };
            match () {
                () if holds_a_stream() => Verdict::Later,
                () if is_at_it() => Verdict::Stays,
                () => Verdict::IsOver, // it has got on just now
            }
        };
        if let Some(stack) = watch.thread.stop(judge) {
            let _ = stopped.send(format!("{what} Its thread was stopped for good.{}", lines_of(stack)));
            return;
        }
        if watch.polls.load(Ordering::Relaxed) != polls || watch.current.load(Ordering::Relaxed) != task {
            return;
        }
    }
    // A test harness captures `eprintln!`, and never shows it for a test that does not end.
    let _ = writeln!(
        io::stderr(),
        "seed {}: {what} The process ends here, as the thread cannot be stopped from outside.{}",
        watch.seed,
        watch.thread.stack().map_or_else(String::new, lines_of)
    );
    std::process::exit(1);
}

/// A stack as lines to append: the program's own functions, or all if there are none.
fn lines_of((addresses, depth): Stack) -> String {
    let frames = stacks::symbolize(&addresses[..depth]);
    let is_own = |frame: &&Frame| !frame.is_external() && !frame.file.contains("steelmill-sim/src/");
    let mut shown: Vec<&Frame> = frames.iter().filter(is_own).collect();
    if shown.is_empty() {
        shown = frames.iter().collect();
    }
    shown.iter().map(|frame| format!("\n    in {} at {}", frame.function, frame.file)).collect()
}
