//! The audit of system calls: which code inside a run reads a clock, reads entropy or starts a thread.
//!
//! Clocks and entropy are simulated, so they repeat; the audit shows where they are used. It counts calls by a run's own
//! code: the scenario, its tasks and their destructors. It does not count calls by the sim while it sets up a run; nor
//! does it count the creation of a `HashMap`, whose keys std draws once per thread, before the run begins.
//!
//! The interposed functions may be called by an allocator. So a call is recorded without allocation, in a table allocated
//! when the run begins, and symbolized when the run has ended.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::kernel::stacks::{self, DEPTH, Frame, NO_DEBUG_INFO, has_debug_info, symbolize};
use crate::kernel::timers::Nanos;
use crate::machine::cluster;
use crate::machine::hosts::SCENARIO;
use crate::schema::system_use::{SystemCall, SystemUse};

/// The capacity of the table of different stacks.
const STACKS: usize = 512;

struct Audit {
    stacks: Vec<Stack>,
}

struct Stack {
    call: SystemCall,
    frames: [usize; DEPTH],
    depth: usize,
    times: u64,
    machine: u32,
    at: Nanos,
}

thread_local! {
    /// Whether this thread's run is audited, and no call is being recorded.
    static ENABLED: Cell<bool> = const { Cell::new(false) };
    static AUDIT: RefCell<Option<Arc<Mutex<Audit>>>> = const { RefCell::new(None) };
}

pub(crate) fn begin() {
    AUDIT.set(Some(Arc::new(Mutex::new(Audit { stacks: Vec::with_capacity(STACKS) }))));
    // The first capture in a process allocates; later ones do not.
    backtrace::trace(|_| false);
    ENABLED.set(true);
}

/// What a guest thread of this thread's run calls first, so that its calls are recorded, too.
pub(crate) fn joining() -> impl Fn() + use<> {
    let audit = AUDIT.with_borrow(Clone::clone);
    move || {
        ENABLED.set(audit.is_some());
        AUDIT.set(audit.clone());
    }
}

/// Records a system call on a simulating thread, if its run is audited.
#[cfg_attr(
    not(all(target_os = "linux", target_env = "gnu")),
    expect(dead_code, reason = "no stand-ins there")
)]
#[inline]
pub(crate) fn note(call: SystemCall) {
    // What a runtime asks while it is made or dropped is not the program's doing.
    if ENABLED.get() && cluster::with_current(|run| run.runtimes.is_changing()) != Some(true) {
        // Calls made by the recording itself are not recorded.
        ENABLED.set(false);
        record(call);
        ENABLED.set(true);
    }
}

#[cold]
fn record(call: SystemCall) {
    // While the run's state is borrowed, or has no machine yet, the sim itself is the caller.
    let caller = cluster::with_current(|run| {
        (run.hosts.len() > 0)
            .then(|| (run.kernel.now, run.kernel.tasks.current_machine().unwrap_or(SCENARIO)))
    });
    let Some((at, machine)) = caller.flatten() else { return };
    let (frames, depth) = stacks::capture();
    AUDIT.with_borrow(|audit| {
        let Some(audit) = audit else { return };
        let stacks = &mut audit.lock().unwrap_or_else(PoisonError::into_inner).stacks;
        let is_full = stacks.len() == STACKS;
        match stacks.iter_mut().find(|stack| stack.call == call && stack.frames == frames) {
            Some(stack) => stack.times += 1,
            // The first stacks are enough to find a program that calls from so many.
            None if is_full => {}
            None => stacks.push(Stack { call, frames, depth, times: 1, machine, at }),
        }
    });
}

/// Ends the audit of this thread's run; the calling places, in the order of their first calls.
pub(crate) fn end(machine: impl Fn(u32) -> String) -> Vec<SystemUse> {
    ENABLED.set(false);
    let Some(audit) = AUDIT.take() else { return Vec::new() };
    let stacks = std::mem::take(&mut audit.lock().unwrap_or_else(PoisonError::into_inner).stacks);
    let mut uses: Vec<SystemUse> = Vec::new();
    for stack in stacks {
        let frames = symbolize(&stack.frames[..stack.depth]);
        if is_of_a_runtime(&frames) {
            continue;
        }
        let (place, backtrace) = place_and_backtrace(&frames);
        let machine = machine(stack.machine);
        let at = Duration::from_nanos(stack.at);
        let used = SystemUse { call: stack.call, place, times: stack.times, machine, at, backtrace };
        add(&mut uses, used);
    }
    uses
}

/// Adds calls to those of their place.
pub(crate) fn add(uses: &mut Vec<SystemUse>, used: SystemUse) {
    let Some(known) = uses.iter_mut().find(|known| known.call == used.call && known.place == used.place)
    else {
        return uses.push(used);
    };
    let times = known.times + used.times;
    let first = |used: &SystemUse| (used.at, used.machine.clone(), used.backtrace.clone());
    // The same of several runs is shown, whichever ended first.
    if first(&used) < first(known) {
        *known = used;
    }
    known.times = times;
}

/// Sorts uses independently of which run ended first.
pub(crate) fn sort(uses: &mut [SystemUse]) {
    uses.sort_by(|a, b| (a.call, &a.place).cmp(&(b.call, &b.place)));
}

pub(crate) fn text(uses: &[SystemUse], is_pure: bool) -> String {
    let mut text = match uses.len() {
        _ if !is_pure => "audit: not supported on this platform".to_owned(),
        0 => {
            "audit: no code reads the system's clocks or entropy, or starts a thread, inside a run".to_owned()
        }
        places => format!("audit: {places} place(s) call the system inside a run"),
    };
    uses.iter().for_each(|used| text.push_str(&format!("\n  {used}")));
    text
}

/// Whether a call was made by the tokio runtime of a machine's tasks itself, and by no task.
fn is_of_a_runtime(stack: &[Frame]) -> bool {
    let beginning = stack.iter().position(|frame| frame.is_in("steelmill-sim", "src/machine/runtimes.rs"));
    let is_ours = |frame: &Frame| frame.is_external() || frame.file.contains("steelmill-sim/src/");
    beginning.is_some_and(|beginning| stack[..beginning].iter().all(is_ours))
}

/// The calling place and its backtrace, without the frames of the interposed functions and of the executor.
fn place_and_backtrace(stack: &[Frame]) -> (String, String) {
    let is_ours = |frame: &Frame| {
        frame.is_in("steelmill-sim", "src/host/audit.rs")
            || frame.is_in("steelmill-sim", "src/host/purity.rs")
            || frame.file.contains("steelmill-sim/src/host/libc/")
            || frame.function.starts_with("backtrace::")
    };
    if !has_debug_info(stack) {
        let functions: Vec<&str> = stack.iter().map(|frame| &*frame.function).collect();
        return (format!("a function that is {NO_DEBUG_INFO}"), functions.join("\n"));
    }
    let inner = stack.iter().rposition(is_ours).map_or(0, |last| last + 1);
    // `spawn.rs` polls a task; before the scenario's first await `simulate.rs` calls it.
    let outer = stack.iter().rposition(|frame| frame.is_in("steelmill-sim", "src/machine/spawn.rs"));
    // A guest thread begins in one of the others.
    let outer = outer.or_else(|| {
        let begins = ["run/simulate.rs", "machine/runtimes.rs", "machine/program.rs", "machine/threads.rs"];
        stack.iter().position(|frame| begins.iter().any(|file| frame.is_in("steelmill-sim", file)))
    });
    let stack = stack.get(inner..outer.unwrap_or(stack.len())).unwrap_or(stack);
    let place = stack.iter().find(|frame| !frame.is_external()).or(stack.first());
    let place = place.map_or_else(|| "?".to_owned(), |place| format!("{} at {}", place.function, place.file));
    let lines: Vec<String> =
        stack.iter().map(|frame| format!("{}\n    at {}", frame.function, frame.file)).collect();
    (place, lines.join("\n"))
}
