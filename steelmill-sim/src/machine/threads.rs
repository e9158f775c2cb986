//! Guest threads: threads of programs that were not written for the simulation.
//!
//! Each is a task of its machine. A poll of the task lets the thread execute until it ends or has to wait; a call that
//! would block registers a waiter, as a future does, and gives the turn back. So a thread is scheduled, traced, paused
//! and ended as any task. Several threads never execute at the same time.
#![allow(unsafe_code, reason = "creating and resuming threads; the argument stands beside each place")]

mod context; // from one thread to another
mod exit; // a thread that ends in the middle
mod locals; // thread-locals of the next thread at the same place
mod real_thread; // threads of the C library

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use context::Turns;
pub(crate) use real_thread::share_one_arena;
use real_thread::{RealThread, Wanted};

use super::allocators;
use super::cluster::{self, Cluster, Shared};
use super::exit_functions::ExitFunction;
use super::proc::{PARENT, USER, process_number};
use super::signals::{self, SignalSet};
use super::thread_data;
use super::waker::waker;
use super::world::{Process, SimWorld};
use steelmill_core::World as _;

use crate::kernel::internal::is_internal;
use crate::kernel::kernel::Kernel;
use crate::kernel::probe;
use crate::kernel::stacks::{self, Stack};
use crate::kernel::tasks::{Output, WaitsFor};
use crate::kernel::timers::Nanos;
use crate::kernel::waiter::{Waiter, Waiters};
use crate::schema::decision::Stream;
use crate::schema::portable::intern;
use crate::schema::task::TaskKey;

/// What pthread_create(3) is given to execute.
pub(crate) type Routine = extern "C" fn(*mut c_void) -> *mut c_void;

/// What a process's first thread is called in reports.
pub(super) const MAIN: &str = "main";

/// Names a guest thread to the program: the C library's own name, an address, which only ever looks a thread up.
pub(crate) type ThreadName = libc::pthread_t;

/// Whether new threads change by futex although user space would do: a test compares the two.
static BY_FUTEX: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
pub(crate) fn change_by_futex(by_futex: bool) {
    BY_FUTEX.store(by_futex, Ordering::Relaxed);
}

/// Whether threads do not change in user space.
#[cfg(target_arch = "x86_64")]
pub(crate) fn change_by_futex_alone() -> bool {
    BY_FUTEX.load(Ordering::Relaxed) || !context::is_user_space_possible()
}

/// What a guest thread and the task that resumes it share.
pub(crate) struct Guest {
    turns: Arc<Turns>,
    /// Its task, once it has one.
    task: Cell<Option<TaskKey>>,
    routine: Routine,
    argument: *mut c_void,
    place: Process,
    run: Shared,
    setup: ThreadSetup,
    /// Another was on its real thread before.
    is_heir: bool,
    has_begun: Cell<bool>,
    has_ended: Cell<bool>,
    /// It is to capture its stack instead of going on, and the stack.
    wants_stack: Cell<bool>,
    stack: RefCell<Option<Stack>>,
    result: Cell<*mut c_void>,
    /// It never goes on with the program, but is to leave the allocators.
    is_leaving: Cell<bool>,
    /// The signals that it was sent and has to handle, which of them its own process has sent, and those that it blocks.
    raised: Cell<SignalSet>,
    raised_by_itself: Cell<SignalSet>,
    mask: Cell<SignalSet>,
    /// A signal was handled since a call began to wait; whether the call is to go on if it may.
    interrupted: Cell<Option<bool>>,
    /// It formats a log line.
    is_logging: Cell<bool>,
    /// Its machine's monotonic time, once it was asked for in this turn: meanwhile none passes.
    now: Cell<Option<Nanos>>,
    /// The time at which it last read a clock, and how often it has since then; and the same of calls that found nothing.
    clock_reads: Cell<(Nanos, u32)>,
    vain_calls: Cell<(Nanos, u32)>,
    /// It is the one that its process began with.
    is_main: bool,
    /// What the program named it, or the thread that created it.
    name: Cell<Option<&'static str>>,
    /// It loses its turn at a call that does not block.
    preemption: Seldom,
    /// A lock's word is looked at after each of its turns: see [`lock_watch`](super::lock_watch).
    is_watched: bool,
    /// Of its thread-locals. They are not a thread-local themselves, which would register a destructor.
    destructors: RefCell<Vec<Destructor>>,
}

/// What a new guest thread does before the program's code, such as installing the run's log subscriber.
pub(crate) type ThreadSetup = Arc<dyn Fn()>;

// SAFETY: the two threads that share it take turns, each handing over with release and acquire.
unsafe impl Send for Guest {}
// SAFETY: as above.
unsafe impl Sync for Guest {}

/// A destructor of a thread-local, as `__cxa_thread_atexit_impl` is given it.
type Destructor = (unsafe extern "C" fn(*mut u8), *mut u8);

thread_local! {
    /// The guest that this thread is; null on all others.
    static CURRENT: Cell<*const Guest> = const { Cell::new(std::ptr::null()) };
}

/// What a run keeps of its guest threads.
#[derive(Default)]
pub(crate) struct Threads {
    /// Those that a program may still join, by machine and name.
    all: BTreeMap<(u32, ThreadName), Entry>,
    /// Those that have not ended, by machine, in the order in which they were created.
    alive: BTreeMap<u32, Vec<Alive>>,
    /// Drawn from the seed when the first thread is created.
    rates: Option<Rates>,
    /// Real threads whose guest threads have ended, for others.
    idle: Vec<RealThread>,
}

/// What calls of guests do that Linux may do and seldom does.
#[derive(Debug)]
struct Rates {
    /// The thread loses its turn at a call that does not block. Each thread counts its own.
    preemption: Seldom,
    /// A read or a write of a stream transfers less than it could.
    short_transfer: Seldom,
    /// A wait at a futex ends without a wake.
    spurious_wake: Seldom,
}

/// Something that happens once in so many calls. At which is drawn ahead, so that the others need no draw.
#[derive(Debug, Clone)]
struct Seldom {
    /// 0 for never.
    once_in: u64,
    /// At which call from now on; 0 if that is to be drawn.
    left: Cell<u64>,
}

impl Seldom {
    /// Whether it happens at this call. `draw` gives a number below another.
    #[inline(always)]
    fn happens(&self, draw: impl FnOnce(u64) -> u64) -> bool {
        let left = match self.left.get() {
            0 => self.drawn(draw),
            left => left,
        };
        self.left.set(left - 1);
        left == 1
    }

    #[cold]
    fn drawn(&self, draw: impl FnOnce(u64) -> u64) -> u64 {
        match 2 * self.once_in {
            0 => u64::MAX,
            // A replay that has no draw gives 0: as late as can be.
            twice => twice - 1 - draw(twice - 1),
        }
    }
}

/// What the rates are drawn from.
const ONCE_IN: [u64; 5] = [0, 0, 256, 32, 6];

impl Rates {
    #[cold]
    fn drawn<E>(kernel: &mut Kernel<E>) -> Self {
        let mut seldom = || {
            let drawn = kernel.draw(Stream::Schedule, ONCE_IN.len() as u64);
            Seldom { once_in: ONCE_IN[drawn as usize], left: Cell::new(0) }
        };
        Self { preemption: seldom(), short_transfer: seldom(), spurious_wake: seldom() }
    }
}

struct Alive {
    task: TaskKey,
    thread: ThreadName,
    guest: Arc<Guest>,
}

pub(crate) struct Entry {
    /// Once it has ended. It is not joined before the program does, or another thread would get its name.
    ended: Option<Carried>,
    joiners: Waiters,
}

/// A guest thread on its real one. When this is dropped it never executes again, and its name is free.
pub(crate) struct Carried {
    guest: Arc<Guest>,
    real: Option<RealThread>,
}

impl Carried {
    /// What the thread returned.
    pub(crate) fn result(&self) -> *mut c_void {
        self.guest.result.get()
    }

    fn name(&self) -> ThreadName {
        self.real.as_ref().expect("it is taken by the drop alone").name()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let has_ended = self.guest.has_ended.get();
        if !has_ended {
            self.guest.leave_allocators();
        }
        let mut real = self.real.take();
        if real.as_mut().is_some_and(|real| real.take_back(has_ended)) {
            cluster::try_with(self.guest.place.run, |run| run.threads.idle.extend(real.take()));
        }
    }
}

/// The process of this guest thread.
#[inline]
pub(crate) fn process() -> Option<Process> {
    current().map(|guest| guest.place)
}

/// Whether this is the thread that its process began with.
pub(crate) fn is_main_thread() -> bool {
    current().is_some_and(|guest| guest.is_main)
}

/// This guest thread.
#[inline]
pub(crate) fn current() -> Option<&'static Guest> {
    // SAFETY: null, or the guest that this thread is, which outlives it; nobody else is given the reference.
    unsafe { CURRENT.get().as_ref() }
}

/// Gives the turn away. Returns when the task of this thread is polled again, and it has handled the signals that it was sent
/// meanwhile.
///
/// # Panics
/// On a thread that is no guest.
pub(crate) fn give_turn() {
    let guest = current().expect("only a guest thread has a turn to give away");
    guest.await_turn();
    if guest.raised.get() != 0 {
        handle_signals(guest);
    }
}

/// Handles the signals that this guest thread was sent.
#[cold]
pub(crate) fn handle_signals(guest: &Guest) {
    let raised = guest.raised.replace(0);
    let restarts = signals::handle(guest, raised) && guest.interrupted.get() != Some(false);
    guest.interrupted.set(Some(restarts));
}

/// Gives the turn away for good: the process of this guest thread has ended.
pub(crate) fn never_again() -> ! {
    let guest = current().expect("a guest thread");
    loop {
        guest.await_turn();
    }
}

/// Where a signal's information has its sender: on all systems of 64 bits behind three numbers and a gap (sigaction(2)).
const SENDER: usize = 16;

/// Calls a handler of a signal on this guest thread.
pub(super) fn call_handler(handler: usize, signal: i32, flags: i32, (pid, user): (i32, u32)) {
    let handler: *const () = std::ptr::with_exposed_provenance(handler);
    // SAFETY: sigaction(2): the program gave the function as one of this type. It may interrupt the thread anywhere, and does
    // where that waits. The information is what the kernel fills in for a signal of another process; of the context no
    // handler can ask more than registers, and it is given none.
    unsafe {
        if flags & libc::SA_SIGINFO == 0 {
            std::mem::transmute::<*const (), extern "C" fn(i32)>(handler)(signal);
        } else {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            info.si_signo = signal;
            // SI_USER, behind which are the sender's number and its user.
            (&raw mut info).cast::<(i32, u32)>().byte_add(SENDER).write((pid, user));
            let handler = std::mem::transmute::<
                *const (),
                extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void),
            >(handler);
            handler(signal, &raw mut info, null_mut());
        }
    }
}

/// Formats a log line on a guest thread, if this is one. Not every run of a seed does, so that nothing happens by chance in calls
/// that the formatting makes.
pub(crate) fn logging<T>(format: impl FnOnce() -> T) -> T {
    let Some(guest) = current() else { return format() };
    let before = guest.is_logging.replace(true);
    let result = format();
    guest.is_logging.set(before);
    result
}

/// At some calls, drawn from the seed, a guest thread loses its turn although nothing blocks it.
pub(crate) fn preempt() {
    current().into_iter().for_each(Guest::preempt);
}

/// After so many reads of a clock at one time, or so many calls in vain, a guest thread has spent some, as much as they take on
/// Linux.
const AT_ONE_TIME: u32 = 64;
const OF_CLOCK_READ: Duration = Duration::from_nanos(25);
const OF_VAIN_CALL: Duration = Duration::from_nanos(200);

/// A clock is read: on a guest thread that takes a moment, so that a loop comes to the point in time that it waits for.
#[inline]
pub(crate) fn clock_is_read() {
    let Some(guest) = current().filter(|guest| !guest.is_logging.get() && !is_internal()) else { return };
    guest.spends(&guest.clock_reads, OF_CLOCK_READ);
}

/// A call found nothing to do, and did not wait: on a guest thread that takes a moment, so that a loop of such calls comes to what it
/// waits for.
pub(crate) fn called_in_vain() {
    let Some(guest) = current() else { return };
    guest.spends(&guest.vain_calls, OF_VAIN_CALL);
}

impl Guest {
    #[inline]
    pub(super) fn preempt(&self) {
        let draw = |below| cluster::with(self.place.run, |run| run.kernel.draw(Stream::Schedule, below));
        if !self.is_logging.get() && self.preemption.happens(draw) {
            yield_turn();
        }
    }

    /// Does something that takes a moment. It waits for all of them when there were many at one time.
    #[inline]
    fn spends(&self, count: &Cell<(Nanos, u32)>, moment: Duration) {
        let now = self.now();
        let (last, before) = count.get();
        let times = if last == now { before + 1 } else { 1 };
        if times < AT_ONE_TIME {
            return count.set((now, times));
        }
        count.set((now, 0));
        self.spend_all(moment);
    }

    #[cold]
    fn spend_all(&self, moment: Duration) {
        block_on(SimWorld(self.place).clock().sleep(moment * AT_ONE_TIME));
    }
}

/// Whether a wait at a futex ends without a wake.
pub(crate) fn wakes_spuriously(place: Process) -> bool {
    let happens = cluster::with(place.run, |run| run.happens(|rates| &rates.spurious_wake));
    if happens {
        yield_turn();
    }
    happens
}

/// Lets other ready tasks go first.
pub(crate) fn yield_turn() {
    cluster::with_current(|run| {
        if let Some(key) = run.kernel.tasks.current_key() {
            run.kernel.wake_task(key);
        }
    });
    give_turn();
}

/// Waits for a future on a guest thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let key = current_task();
    let waker = waker(key);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        give_turn();
    }
}

/// Waits for a future on a guest thread, as a system call that a signal may interrupt; `None` if one has. A call that
/// `restarts` goes on if every handler was set with SA_RESTART.
pub(crate) fn block_on_interruptible<F: Future>(restarts: bool, future: F) -> Option<F::Output> {
    let Some(guest) = current() else { return Some(block_on(future)) };
    let waker = waker(current_task());
    let mut future = pin!(future);
    guest.interrupted.set(None);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if guest.interrupted.take().is_some_and(|may_restart| !(restarts && may_restart)) {
            return None;
        }
        give_turn();
    }
}

/// Waits until `attempt` gives something; while it does not, it has to see to it that the waiter is woken.
pub(crate) fn block_until<T>(mut attempt: impl FnMut(&mut Cluster, Waiter) -> Option<T>) -> T {
    let key = current_task();
    loop {
        let done = cluster::with_current(|run| attempt(run, Waiter::Task(key)));
        match done.expect("a guest is inside of a run") {
            Some(done) => return done,
            None => give_turn(),
        }
    }
}

/// The task being polled.
pub(crate) fn current_task() -> TaskKey {
    if let Some(key) = current().and_then(|guest| guest.task.get()) {
        return key;
    }
    let key = cluster::with_current(|run| run.kernel.tasks.current_key()).flatten();
    key.expect("a guest executes while its task is polled")
}

/// Creates a guest thread on a machine: a task that is ready. `None` where the process has gone.
///
/// # Errors
/// Those of pthread_create(3).
pub(crate) fn spawn(
    place: Process,
    name: &'static str,
    attributes: *const libc::pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
    setup: ThreadSetup,
) -> io::Result<ThreadName> {
    // SAFETY: null, or what the program gave pthread_create(3).
    let wanted = unsafe { Wanted::of(attributes) };
    let is_suitable = |idle: &RealThread| idle.suits(&wanted);
    let (heir, preemption) = cluster::with(place.run, |run| {
        let Cluster { threads, kernel, .. } = run;
        let found = threads.idle.iter().rposition(is_suitable);
        let rates = threads.rates.get_or_insert_with(|| Rates::drawn(kernel));
        (found.map(|found| threads.idle.swap_remove(found)), rates.preemption.clone())
    });
    let is_heir = heir.is_some();
    let mut real = match heir {
        Some(real) => real,
        None => RealThread::create(&wanted, BY_FUTEX.load(Ordering::Relaxed))?,
    };
    let guest = Arc::new(Guest {
        turns: real.turns(),
        task: Cell::new(None),
        routine,
        argument,
        place,
        run: Shared::current(),
        setup,
        is_heir,
        has_begun: Cell::new(false),
        has_ended: Cell::new(false),
        wants_stack: Cell::new(false),
        stack: RefCell::default(),
        result: Cell::new(null_mut()),
        is_leaving: Cell::new(false),
        raised: Cell::new(0),
        raised_by_itself: Cell::new(0),
        mask: Cell::new(current().map_or(0, |parent| parent.mask.get())),
        interrupted: Cell::new(None),
        is_logging: Cell::new(false),
        now: Cell::default(),
        clock_reads: Cell::default(),
        vain_calls: Cell::default(),
        is_main: name == MAIN,
        name: Cell::new(current().and_then(|parent| parent.name.get())),
        preemption,
        is_watched: cluster::with(place.run, |run| !run.lock_watches.is_empty()),
        destructors: RefCell::default(),
    });
    // SAFETY: what was on it has ended, or is never resumed; the guest is kept beside it.
    unsafe { real.give(&guest) };
    let thread = real.name();
    let task = GuestTask(Some(Carried { guest: guest.clone(), real: Some(real) }));
    // A future that is refused comes back, to be dropped where the run's state is not borrowed.
    let mut task = Some(task);
    cluster::with(place.run, |run| {
        if run.is_alive(place.machine, place.incarnation)
            && let Some(task) = task.take()
        {
            if !wanted.is_detached {
                let entry = Entry { ended: None, joiners: Waiters::default() };
                run.threads.all.insert((place.machine, thread), entry);
            }
            let key = run.kernel.spawn(place.machine, None, name, Location::caller(), Box::pin(task));
            guest.task.set(Some(key));
            let alive = Alive { task: key, thread, guest: guest.clone() };
            run.threads.alive.entry(place.machine).or_default().push(alive);
        }
    });
    Ok(thread)
}

/// What a guest thread executes, from its first instruction to its end.
extern "C" fn execute(guest: *mut c_void) {
    // SAFETY: `spawn` gave it, and the task keeps it until this thread has ended.
    let guest = unsafe { &*guest.cast_const().cast::<Guest>() };
    // SAFETY: the thread of the seed waits in `resume` while this executes, and it ends the run when no guest does.
    unsafe { guest.run.enter() };
    if guest.is_heir {
        locals::restore_of_c_library();
    }
    CURRENT.set(guest);
    guest.has_begun.set(true);
    (guest.setup)();
    let returned = exit::call(guest.routine, guest.argument);
    let result = returned.unwrap_or_else(|| guest.result.get());
    guest.destroy_thread_locals();
    thread_data::destroy(|destructor| !allocators::have(destructor));
    allocators::leave();
    guest.result.set(result);
    guest.has_ended.set(true);
    CURRENT.set(std::ptr::null());
    // SAFETY: the null run: this thread leaves the simulation, and touches nothing of it.
    unsafe {
        Shared::NONE.enter();
        guest.turns.end();
    }
}

/// The C library is about to unwind this guest thread to its end, with a result.
pub(crate) fn exits_with(result: *mut c_void) {
    if let Some(guest) = current() {
        guest.result.set(result);
    }
}

/// Does what exit(3) does first: calls the destructors of the calling thread's thread-locals, then what the process has registered.
pub(crate) fn call_exit_functions(code: i32) {
    let Some(guest) = current() else { return };
    guest.destroy_thread_locals();
    let Process { run, machine, .. } = guest.place;
    while let Some(function) = cluster::with(run, |run| run.exit_functions.take_last(machine)) {
        match function {
            ExitFunction::WithArgument(function, argument) => function(argument),
            ExitFunction::WithCode(function, argument) => function(code, argument),
        }
    }
}

/// Registers a destructor of a thread-local; `false` on a thread that is no guest.
pub(crate) fn at_thread_exit(destroy: unsafe extern "C" fn(*mut u8), object: *mut u8) -> bool {
    let guest = current();
    if let Some(guest) = guest {
        guest.destructors.borrow_mut().push((destroy, object));
    }
    guest.is_some()
}

impl Guest {
    #[inline]
    pub(super) fn place(&self) -> Process {
        self.place
    }

    /// The monotonic time of its machine, in nanoseconds since the run began.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.now.get().unwrap_or_else(|| self.ask_for_time())
    }

    fn ask_for_time(&self) -> Nanos {
        let now = cluster::with(self.place.run, |run| run.local_now(self.place.machine));
        self.now.set(Some(now));
        now
    }

    /// Has the thread handle a signal when it executes next.
    pub(super) fn raise(&self, signal: i32, by_itself: bool) {
        let bit = signals::bit(signal);
        self.raised.set(self.raised.get() | bit);
        let others = self.raised_by_itself.get() & !bit;
        self.raised_by_itself.set(others | if by_itself { bit } else { 0 });
    }

    /// Which process a signal comes from, and its user.
    pub(super) fn sender_of(&self, signal: i32) -> (i32, u32) {
        match self.raised_by_itself.get() & signals::bit(signal) {
            0 => (PARENT, 0),
            _ => (process_number(self.place), USER),
        }
    }

    /// The signals that it blocks.
    pub(crate) fn mask(&self) -> SignalSet {
        self.mask.get()
    }

    pub(super) fn set_mask(&self, change: impl FnOnce(SignalSet) -> SignalSet) -> SignalSet {
        let before = self.mask.get();
        self.mask.set(change(before));
        before
    }

    /// Gives the turn away until the thread may go on; meanwhile it captures its stack or leaves the allocators, if it is to.
    fn await_turn(&self) {
        loop {
            // SAFETY: this is the guest.
            unsafe { self.turns.give_back() };
            self.now.set(None);
            if self.wants_stack.take() {
                *self.stack.borrow_mut() = Some(stacks::capture());
            } else if self.is_leaving.take() {
                allocators::leave();
            } else {
                return;
            }
        }
    }

    /// Has a thread that will never go on leave the allocators: their lists hold its thread-locals, which are freed with it. It
    /// waits outside of them, as they do not wait for each other's guests.
    fn leave_allocators(&self) {
        if allocators::are_in_use() && self.has_begun.get() {
            self.is_leaving.set(true);
            // SAFETY: it has parked, and not ended.
            unsafe { self.turns.resume() };
        }
    }

    /// The stack on which it waits for its turn.
    fn stack_where_it_waits(&self) -> Option<Stack> {
        if !self.has_begun.get() || self.has_ended.get() {
            return None;
        }
        self.wants_stack.set(true);
        // SAFETY: it has parked, and not ended.
        unsafe { self.turns.resume() };
        self.stack.take()
    }

    /// Calls the destructors of this thread's thread-locals. As glibc: last registered, first run; they may register others.
    fn destroy_thread_locals(&self) {
        while let Some((destroy, object)) = self.next_destructor() {
            // SAFETY: the compiler's runtime registered it for this thread, to be called once.
            unsafe { destroy(object) };
        }
    }

    fn next_destructor(&self) -> Option<Destructor> {
        self.destructors.borrow_mut().pop()
    }
}

/// The task of a guest thread, until that has ended.
struct GuestTask(Option<Carried>);

// SAFETY: a task never leaves the thread of its run.
impl Future for GuestTask {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Output> {
        let carried = &mut self.get_mut().0;
        let guest = &carried.as_ref().expect("a task that has ended is polled no more").guest;
        if probe::is_active() {
            // A look must not execute it, but for what captures its stack.
            guest.stack_where_it_waits().into_iter().for_each(probe::add);
            return Poll::Pending;
        }
        // SAFETY: it has parked before it became a task, and has not ended.
        unsafe { guest.turns.resume() };
        if guest.is_watched {
            cluster::with_current(|run| run.look_at_locks(guest.place.machine));
        }
        if !guest.has_ended.get() {
            return Poll::Pending;
        }
        let ended = carried.take();
        let unneeded = cluster::with_current(|run| run.thread_ended(ended?));
        drop(unneeded); // where the run's state is not borrowed
        Poll::Ready(Box::new(()) as Box<dyn Any + Send>)
    }
}

impl Threads {
    pub(crate) fn are_any_alive(&self) -> bool {
        self.alive.values().any(|threads| !threads.is_empty())
    }

    /// The thread of a machine that is to handle a signal: the main thread unless it blocks it, else the next that does not.
    pub(super) fn that_takes(&self, machine: u32, signal: i32) -> Option<(TaskKey, &Guest)> {
        let alive = self.alive.get(&machine).into_iter().flatten();
        let mut alive = alive.map(|alive| (alive.task, &*alive.guest));
        alive.find(|(_, guest)| guest.mask() & signals::bit(signal) == 0)
    }

    /// How many threads of a machine have not ended.
    pub(super) fn count(&self, machine: u32) -> usize {
        self.alive.get(&machine).map_or(0, Vec::len)
    }

    fn find(&self, machine: u32, thread: ThreadName) -> Option<&Alive> {
        self.alive.get(&machine)?.iter().find(|alive| alive.thread == thread)
    }
}

impl Cluster {
    /// Whether something that seldom happens at a call happens at this one.
    #[inline]
    fn happens(&mut self, what: impl FnOnce(&Rates) -> &Seldom) -> bool {
        if current().is_some_and(|guest| guest.is_logging.get()) {
            return false;
        }
        let Self { threads, kernel, .. } = self;
        let rates = threads.rates.get_or_insert_with(|| Rates::drawn(kernel));
        what(rates).happens(|below| kernel.draw(Stream::Schedule, below))
    }

    /// How much of a stream's transfer of `length` bytes is made.
    #[inline]
    pub(crate) fn transfer_length(&mut self, length: usize) -> usize {
        match length > 1 && self.happens(|rates| &rates.short_transfer) {
            true => 1 + self.kernel.draw(Stream::Schedule, length as u64 - 1) as usize,
            false => length,
        }
    }

    /// Keeps a thread that has ended until it is joined; returns one that nobody will join.
    fn thread_ended(&mut self, ended: Carried) -> Option<Carried> {
        let machine = ended.guest.place.machine;
        if let Some(alive) = self.threads.alive.get_mut(&machine) {
            alive.retain(|other| !Arc::ptr_eq(&other.guest, &ended.guest));
        }
        let Some(entry) = self.threads.all.get_mut(&(machine, ended.name())) else {
            return Some(ended);
        };
        entry.ended = Some(ended);
        let joiners = entry.joiners.take();
        self.kernel.wake_all(joiners);
        None
    }

    /// A thread, once it has ended; `None` until then. `ESRCH` for one that is not to be joined.
    pub(crate) fn join_thread(
        &mut self,
        machine: u32,
        thread: ThreadName,
        waiter: Waiter,
    ) -> Option<Result<Carried, i32>> {
        let Some(entry) = self.threads.all.get_mut(&(machine, thread)) else {
            return Some(Err(libc::ESRCH));
        };
        match entry.ended.take() {
            Some(ended) => {
                self.threads.all.remove(&(machine, thread));
                Some(Ok(ended))
            }
            None => {
                let unneeded = entry.joiners.add(waiter);
                self.kernel.discard(unneeded);
                self.kernel.waits_for(WaitsFor::Task);
                None
            }
        }
    }

    /// Names a thread, for the program and in reports, traces and pictures; whether there is one.
    pub(crate) fn name_thread(&mut self, machine: u32, thread: ThreadName, name: &str) -> bool {
        let Some(alive) = self.threads.find(machine, thread) else { return false };
        let name = intern(name);
        alive.guest.name.set(Some(name));
        let task = alive.task;
        self.kernel.rename(task, name);
        true
    }

    /// The name of a thread: its own, that of the thread that created it, or its machine's. `None` if there is no such thread.
    pub(crate) fn thread_name(&self, machine: u32, thread: ThreadName) -> Option<&str> {
        let alive = self.threads.find(machine, thread)?;
        Some(alive.guest.name.get().unwrap_or(&self.hosts[machine].name))
    }

    /// Nobody will join a thread; `None` if there is none of that name.
    pub(crate) fn detach_thread(&mut self, machine: u32, thread: ThreadName) -> Option<Entry> {
        self.threads.all.remove(&(machine, thread))
    }

    /// The threads of a process are gone with it.
    pub(crate) fn threads_gone(&mut self, machine: u32) {
        self.threads.all.retain(|(of, _), _| *of != machine);
        self.threads.alive.remove(&machine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_once_in_so_many_calls_does_so_on_average_and_at_any_of_them() {
        let seldom = Seldom { once_in: 6, left: Cell::new(0) };
        let mut drawn = 0;
        // Each number below the bound once.
        let gaps: Vec<usize> = (0..11)
            .map(|_| {
                let mut happens = || {
                    seldom.happens(|below| {
                        assert_eq!(below, 11);
                        drawn += 1;
                        drawn - 1
                    })
                };
                1 + (0..100).take_while(|_| !happens()).count()
            })
            .collect();
        assert_eq!(gaps, (1..=11).rev().collect::<Vec<_>>(), "where nothing is drawn, as late as can be");
        assert_eq!(gaps.iter().sum::<usize>(), 6 * gaps.len());
    }

    #[test]
    fn what_never_happens_draws_nothing() {
        let never = Seldom { once_in: 0, left: Cell::new(0) };
        assert!((0..1000).all(|_| !never.happens(|_| unreachable!("it draws"))));
    }
}
