//! A loop inside one poll cannot be stopped from within: a thread of its own watches in real time, and when a poll
//! lasts too long it prints the seed and the task, and ends the process.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};
use std::time::Duration;

use crate::schema::settings::Seed;

/// How long one poll may last in real time, unless a test says otherwise.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a run tells the watchdog.
#[derive(Debug)]
pub(crate) struct Watch {
    seed: Seed,
    limit: Duration,
    polls: AtomicU64,
    /// The place of the task that is being polled.
    current: AtomicU64,
    /// What was last spawned in each place: the name to print.
    names: Mutex<Vec<String>>,
}

/// No task is being polled.
const NONE: u64 = u64::MAX;

static WATCHED: Mutex<Vec<Weak<Watch>>> = Mutex::new(Vec::new());

impl Watch {
    /// Has the watchdog look after a run.
    pub(crate) fn begin(seed: Seed, limit: Duration) -> Arc<Self> {
        let watch = Arc::new(Self {
            seed,
            limit,
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

/// Starts the watchdog, once for the process. Not from inside a run: the thread is a real one.
#[expect(clippy::disallowed_methods, reason = "the watchdog is the one part that must live in real time")]
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let thread = std::thread::Builder::new().name("steelmill watchdog".into());
        let watching = thread.spawn(|| {
            let mut seen = Vec::new();
            loop {
                std::thread::sleep(LOOK_EVERY);
                look(&mut seen);
            }
        });
        watching.expect("a thread can be started");
    });
}

/// A run, how many polls it had when last looked at, and for how long that has not changed.
type Seen = (Weak<Watch>, u64, Duration);

fn look(seen: &mut Vec<Seen>) {
    let watched = WATCHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    seen.retain(|(watch, ..)| watch.strong_count() > 0);
    for weak in watched {
        let Some(watch) = weak.upgrade() else { continue };
        let (polls, task) = (watch.polls.load(Ordering::Relaxed), watch.current.load(Ordering::Relaxed));
        match seen.iter_mut().find(|(known, ..)| known.ptr_eq(&weak)) {
            Some((_, before, stuck)) if *before == polls && task != NONE => {
                *stuck += LOOK_EVERY;
                if *stuck >= watch.limit {
                    give_up(&watch, task);
                }
            }
            Some((_, before, stuck)) => (*before, *stuck) = (polls, Duration::ZERO),
            None => seen.push((weak, polls, Duration::ZERO)),
        }
    }
}

fn give_up(watch: &Watch, task: u64) -> ! {
    let names = watch.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let name = names.get(task as usize).map_or("a task", |name| name);
    // Not by `eprintln!`: a test harness would keep it for a test that never ends.
    let _ = writeln!(
        io::stderr(),
        "seed {}: one poll of {name:?} has lasted for {:?} of real time; a task has to reach an await. The \
         process ends here, as a thread cannot be stopped from outside.",
        watch.seed,
        watch.limit
    );
    std::process::exit(1);
}
