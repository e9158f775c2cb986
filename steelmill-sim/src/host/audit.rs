//! Who asks the system for the time, for entropy or for a thread inside a run.
//!
//! The first two are answered from the virtual clock and the seed, so they repeat; an audit shows that they are asked,
//! and by whom. It counts what a run's own code does: a scenario, its tasks and their destructors. What the sim itself
//! needs of the system to set a run up is not in it; nor is the making of a `HashMap`, whose keys std draws once for a
//! thread, which the sim has it do before a run begins.
//!
//! The stand-ins for the system's functions may be called where memory cannot be had, say by an allocator. So a use is
//! noted without allocating, in a table that was made when the run began, and gets its names when the run has ended.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::kernel::stacks::{self, DEPTH, NO_DEBUG_INFO, Named, has_debug_info, named};
use crate::kernel::timers::Nanos;
use crate::machine::cluster;
use crate::machine::hosts::SCENARIO;
use crate::schema::system_use::{SystemCall, SystemUse};

/// How many different stacks are told apart.
const STACKS: usize = 512;

struct Audit {
    stacks: Vec<Stack>,
}

/// A stack from which the system was asked.
struct Stack {
    call: SystemCall,
    frames: [usize; DEPTH],
    depth: usize,
    times: u64,
    machine: u32,
    at: Nanos,
}

thread_local! {
    /// Whether this thread's run is audited, and nothing is being noted at this moment.
    static OPEN: Cell<bool> = const { Cell::new(false) };
    static AUDIT: RefCell<Option<Audit>> = const { RefCell::new(None) };
}

/// A run of this thread is audited from here on.
pub(crate) fn begin() {
    AUDIT.set(Some(Audit { stacks: Vec::with_capacity(STACKS) }));
    // What the first look at a stack has to allocate, for the process, it does here.
    backtrace::trace(|_| false);
    OPEN.set(true);
}

/// The system was asked for something on a thread that simulates.
#[cfg_attr(
    not(all(target_os = "linux", target_env = "gnu")),
    expect(dead_code, reason = "no stand-ins there")
)]
#[inline]
pub(crate) fn note(call: SystemCall) {
    if OPEN.get() {
        // What is called from in here is nobody's use.
        OPEN.set(false);
        look(call);
        OPEN.set(true);
    }
}

#[cold]
fn look(call: SystemCall) {
    // Where the run's state is borrowed, or has no machine yet, it is the sim that asks.
    let place = cluster::with_current(|run| {
        (run.hosts.len() > 0)
            .then(|| (run.kernel.now, run.kernel.tasks.current_machine().unwrap_or(SCENARIO)))
    });
    let Some((at, machine)) = place.flatten() else { return };
    let (frames, depth) = stacks::here();
    AUDIT.with_borrow_mut(|audit| {
        let Some(Audit { stacks }) = audit else { return };
        let is_full = stacks.len() == STACKS;
        match stacks.iter_mut().find(|stack| stack.call == call && stack.frames == frames) {
            Some(stack) => stack.times += 1,
            // Beyond what there is room for: a program that asks from so many places is known by the first of them.
            None if is_full => {}
            None => stacks.push(Stack { call, frames, depth, times: 1, machine, at }),
        }
    });
}

/// Ends the audit of this thread's run; every place that asked, in the order they first did.
pub(crate) fn end(machine: impl Fn(u32) -> String) -> Vec<SystemUse> {
    OPEN.set(false);
    let Some(Audit { stacks }) = AUDIT.take() else { return Vec::new() };
    let mut uses: Vec<SystemUse> = Vec::new();
    for stack in stacks {
        let (place, backtrace) = told(&named(&stack.frames[..stack.depth]));
        let machine = machine(stack.machine);
        let at = Duration::from_nanos(stack.at);
        let used = SystemUse { call: stack.call, place, times: stack.times, machine, at, backtrace };
        add(&mut uses, used);
    }
    uses
}

/// Adds a use to those of its place.
pub(crate) fn add(uses: &mut Vec<SystemUse>, used: SystemUse) {
    let Some(known) = uses.iter_mut().find(|known| known.call == used.call && known.place == used.place)
    else {
        return uses.push(used);
    };
    let times = known.times + used.times;
    let first = |used: &SystemUse| (used.at, used.machine.clone(), used.backtrace.clone());
    // Whichever run is told of first.
    if first(&used) < first(known) {
        *known = used;
    }
    known.times = times;
}

/// Puts uses in an order that does not depend on which run ended first.
pub(crate) fn sort(uses: &mut [SystemUse]) {
    uses.sort_by(|a, b| (a.call, &a.place).cmp(&(b.call, &b.place)));
}

/// What an audit found, for people.
pub(crate) fn text(uses: &[SystemUse], is_pure: bool) -> String {
    let mut text = match uses.len() {
        _ if !is_pure => "audit: not on this platform".to_owned(),
        0 => "audit: nothing asks the system for time, entropy or a thread inside a run".to_owned(),
        places => format!("audit: {places} place(s) ask the system for something inside a run"),
    };
    uses.iter().for_each(|used| text.push_str(&format!("\n  {used}")));
    text
}

/// The place that asked, and the way to it: from what the stand-ins were called by to what the executor polled.
fn told(stack: &[Named]) -> (String, String) {
    let is_ours = |named: &Named| {
        named.is_of("steelmill-sim", "src/host/audit.rs")
            || named.is_of("steelmill-sim", "src/host/purity.rs")
            || named.function.starts_with("backtrace::")
    };
    if !has_debug_info(stack) {
        let functions: Vec<&str> = stack.iter().map(|named| &*named.function).collect();
        return (format!("a function that is {NO_DEBUG_INFO}"), functions.join("\n"));
    }
    let inner = stack.iter().rposition(is_ours).map_or(0, |last| last + 1);
    // A task is polled by `spawn.rs`; a scenario that has not come to its first await, by `simulate.rs`.
    let outer = stack.iter().rposition(|named| named.is_of("steelmill-sim", "src/machine/spawn.rs"));
    let outer =
        outer.or_else(|| stack.iter().position(|named| named.is_of("steelmill-sim", "src/run/simulate.rs")));
    let stack = stack.get(inner..outer.unwrap_or(stack.len())).unwrap_or(stack);
    let place = stack.iter().find(|named| !named.is_foreign()).or(stack.first());
    let place = place.map_or_else(|| "?".to_owned(), |place| format!("{} at {}", place.function, place.file));
    let lines: Vec<String> =
        stack.iter().map(|named| format!("{}\n    at {}", named.function, named.file)).collect();
    (place, lines.join("\n"))
}
