//! Signals of programs (signal(7)): who handles which, and the delivery to a guest thread.
//!
//! A handler executes on a guest thread where that gives its turn away, in the middle of the call that waits: on Linux it may
//! be anywhere. The call is then interrupted (EINTR) or goes on, as signal(7) lists it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::cluster::{self, Cluster};
use super::lives::LifeEnd;
use super::machine::{Machine, ProcessEnd};
use super::threads::{self, Guest};
use super::world::Process;

/// A signal that a scenario sends to a program by [`Machine::signal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// SIGHUP: by convention it asks a service to read its configuration again.
    Hangup,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGQUIT: Ctrl-\.
    Quit,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGTERM: an init system asks a service to stop.
    Terminate,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Signal::Hangup => libc::SIGHUP,
            Signal::Interrupt => libc::SIGINT,
            Signal::Quit => libc::SIGQUIT,
            Signal::User1 => libc::SIGUSR1,
            Signal::User2 => libc::SIGUSR2,
            Signal::Terminate => libc::SIGTERM,
        }
    }
}

/// A set of signals, as one bit each.
pub(crate) type SignalSet = u64;

/// The bit of a signal, which is from 1 to 64.
pub(crate) fn bit(signal: i32) -> SignalSet {
    1 << (signal - 1)
}

/// Whether a number is a signal's.
pub(crate) fn is_signal(number: i32) -> bool {
    (1..=64).contains(&number)
}

/// What a process does at a signal (sigaction(2)).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Action {
    /// The handler's address, SIG_DFL or SIG_IGN.
    pub(crate) handler: usize,
    pub(crate) flags: i32,
    /// What is blocked while the handler executes.
    pub(crate) mask: SignalSet,
}

/// What a run keeps of its programs' signals, by machine.
#[derive(Default)]
pub(crate) struct Signals {
    actions: BTreeMap<(u32, i32), Action>,
    /// Those that every thread blocks.
    pending: BTreeMap<u32, SignalSet>,
    /// The futures that are dropped at a SIGTERM without a handler.
    futures: BTreeMap<u32, Arc<Notify>>,
}

/// What becomes of a signal that was sent.
#[must_use]
pub(crate) enum Sent {
    /// It was ignored, or a thread has it to handle.
    Done,
    /// Its default action ends the process.
    Ends,
}

impl Cluster {
    pub(crate) fn signal_action(&self, machine: u32, signal: i32) -> Action {
        // Rust's runtime ignores SIGPIPE before it calls `main`.
        let handler = if signal == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        let default = Action { handler, ..Action::default() };
        self.signals.actions.get(&(machine, signal)).copied().unwrap_or(default)
    }

    pub(crate) fn set_signal_action(&mut self, machine: u32, signal: i32, action: Action) {
        self.signals.actions.insert((machine, signal), action);
    }

    /// Sends a signal to the process of a machine.
    pub(crate) fn send_signal(&mut self, machine: u32, signal: i32, by_itself: bool) -> Sent {
        let action = self.signal_action(machine, signal);
        let is_default = action.handler == libc::SIG_DFL;
        if action.handler == libc::SIG_IGN || is_default && is_ignored_by_default(signal) {
            return Sent::Done;
        }
        let drops_future = signal == libc::SIGTERM && self.signals.futures.contains_key(&machine);
        if signal == libc::SIGKILL || is_default && !drops_future && !self.is_blocked_by_all(machine, signal)
        {
            return Sent::Ends;
        }
        match self.threads.that_takes(machine, signal) {
            Some((task, guest)) => {
                guest.raise(signal, by_itself);
                self.kernel.wake_task(task);
            }
            None => *self.signals.pending.entry(machine).or_default() |= bit(signal),
        }
        Sent::Done
    }

    fn is_blocked_by_all(&self, machine: u32, signal: i32) -> bool {
        self.threads.that_takes(machine, signal).is_none()
    }

    /// Takes those that wait for a thread that does not block them.
    fn take_pending(&mut self, machine: u32, mask: SignalSet) -> SignalSet {
        let Some(pending) = self.signals.pending.get_mut(&machine) else { return 0 };
        let taken = *pending & !mask;
        *pending &= mask;
        taken
    }

    /// Has the future that a process consists of dropped at a SIGTERM that it does not handle: what tells.
    pub(super) fn drop_future_at_sigterm(&mut self, machine: u32) -> Arc<Notify> {
        self.signals.futures.entry(machine).or_default().clone()
    }

    /// Those of a process are gone with it.
    pub(super) fn signals_gone(&mut self, machine: u32) {
        self.signals.actions.retain(|(of, _), _| *of != machine);
        self.signals.pending.remove(&machine);
        self.signals.futures.remove(&machine);
    }
}

/// signal(7): the default action of these is to ignore them.
fn is_ignored_by_default(signal: i32) -> bool {
    matches!(signal, libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH | libc::SIGCONT)
}

/// Whether an end by this signal counts as one without a failure, as systemd.service(5) has it.
pub(super) fn is_clean_end(signal: i32) -> bool {
    matches!(signal, libc::SIGHUP | libc::SIGINT | libc::SIGTERM | libc::SIGPIPE)
}

/// Handles the signals that a guest thread was given, on it. Whether every call that may go on after them is to go on.
pub(super) fn handle(guest: &Guest, signals: SignalSet) -> bool {
    let place = guest.place();
    let mut restarts = true;
    for signal in (1..=64).filter(|signal| signals & bit(*signal) != 0) {
        let action = cluster::with(place.run, |run| run.signal_action(place.machine, signal));
        match action.handler {
            libc::SIG_IGN => {}
            libc::SIG_DFL => {
                let future = cluster::with(place.run, |run| run.signals.futures.get(&place.machine).cloned());
                match future.filter(|_| signal == libc::SIGTERM) {
                    Some(future) => future.notify_one(),
                    None if is_ignored_by_default(signal) => {}
                    None => end_by(place, signal),
                }
            }
            handler => {
                restarts &= action.flags & libc::SA_RESTART != 0;
                call(guest, signal, action, handler);
            }
        }
    }
    restarts
}

/// Calls a handler, with the signals blocked that it wants blocked.
fn call(guest: &Guest, signal: i32, action: Action, handler: usize) {
    let place = guest.place();
    if action.flags & libc::SA_RESETHAND != 0 {
        let default = Action { handler: libc::SIG_DFL, ..Action::default() };
        cluster::with(place.run, |run| run.set_signal_action(place.machine, signal, default));
    }
    let own = if action.flags & libc::SA_NODEFER == 0 { bit(signal) } else { 0 };
    let before = guest.set_mask(|mask| mask | action.mask | own);
    threads::call_handler(handler, signal, action.flags, guest.sender_of(signal));
    set_mask(guest, |_| before);
}

/// Sets which signals a thread blocks, and handles those that waited for that; the former set.
pub(crate) fn set_mask(guest: &Guest, change: impl FnOnce(SignalSet) -> SignalSet) -> SignalSet {
    let place = guest.place();
    let before = guest.set_mask(change);
    let taken = cluster::with(place.run, |run| run.take_pending(place.machine, guest.mask()));
    if taken != 0 {
        handle(guest, taken);
    }
    before
}

/// Ends the process of this guest thread by a signal.
pub(crate) fn end_by(process: Process, signal: i32) -> ! {
    let machine = super::program::current_machine().filter(|machine| machine.id() == process.machine);
    let machine = machine.expect("a guest thread is of a machine");
    machine.end(ProcessEnd::Exit, end_of(signal));
    drop(machine);
    threads::never_again()
}

fn end_of(signal: i32) -> LifeEnd {
    if signal == libc::SIGKILL { LifeEnd::Killed } else { LifeEnd::Signaled(signal) }
}

impl Machine {
    /// Sends a signal to the program of the machine. A handler that it has set, by `tokio::signal`, signal-hook or
    /// sigaction(2), is called on one of its threads; without one the process ends, as
    /// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html) has it. A machine that is down takes no notice.
    ///
    /// # Panics
    /// When the machine runs no [program](crate::Sim::program).
    pub fn signal(&self, signal: Signal) {
        drop(self.startup()); // it is a program
        if self.is_up()
            && matches!(self.with(|run| run.send_signal(self.id(), signal.number(), false)), Sent::Ends)
        {
            self.end(ProcessEnd::Exit, end_of(signal.number()));
        }
    }
}
