//! The watchdog: a real-time limit of one poll. An endless loop inside a poll cannot be interrupted, so a thread of its own
//! prints the seed, the task and its stack when a poll lasts too long, and exits the process.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::spinning;
use super::stacks::{self, Frame};
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
}

const NONE: u64 = u64::MAX;
/// User code outside of polls, which may not end either.
const BEGINNING: u64 = u64::MAX - 1;
const TEARDOWN: u64 = u64::MAX - 2;

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
            Some((_, before, stuck)) if *before == polls && task != NONE => {
                *stuck += CHECK_INTERVAL;
                if *stuck >= watch.limit {
                    exit_process(&watch, task);
                }
            }
            Some((_, before, stuck)) => (*before, *stuck) = (polls, Duration::ZERO),
            None => observations.push((weak, polls, Duration::ZERO)),
        }
    }
}

/// Where a thread executes, as lines to append: the program's own functions, or all if there are none.
fn stack_of(thread: &spinning::Thread) -> String {
    let Some((addresses, depth)) = thread.stack() else { return String::new() };
    let frames = stacks::symbolize(&addresses[..depth]);
    let is_own = |frame: &&Frame| !frame.is_external() && !frame.file.contains("steelmill-sim/src/");
    let mut shown: Vec<&Frame> = frames.iter().filter(is_own).collect();
    if shown.is_empty() {
        shown = frames.iter().collect();
    }
    shown.iter().map(|frame| format!("\n    in {} at {}", frame.function, frame.file)).collect()
}

fn exit_process(watch: &Watch, task: u64) -> ! {
    let names = watch.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let what = match task {
        BEGINNING => "the scenario, before its first await,".to_owned(),
        TEARDOWN => "a destructor, when the run was over,".to_owned(),
        task => format!("one poll of {:?}", names.get(task as usize).map_or("a task", |name| name)),
    };
    // A test harness captures `eprintln!`, and never shows it for a test that does not end.
    let _ = writeln!(
        io::stderr(),
        "seed {}: {what} has lasted for {:?} of real time; a task has to reach an await. The process ends here, as a \
         thread cannot be stopped from outside.{}",
        watch.seed,
        watch.limit,
        stack_of(&watch.thread)
    );
    std::process::exit(1);
}
