//! Signals: sigaction(2), sigprocmask(2), kill(2) and their kin.

use std::ffi::{c_int, c_void};

use libc::{pid_t, pthread_t, sigaction as SigAction, sighandler_t, sigset_t};

use super::{answer, caller, guest};
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::proc::process_number;
use crate::machine::real::real;
use crate::machine::signals::{self, Action, Sent, SignalSet};
use crate::machine::threads;
use crate::machine::world::Process;

/// A set of the C library's as ours: its first word, in which the first signal is the lowest bit.
///
/// # Safety
/// `set` is valid for a read.
unsafe fn set_of(set: *const sigset_t) -> SignalSet {
    // SAFETY: as the caller says; a sigset_t has more words than one.
    unsafe { set.cast::<SignalSet>().read_unaligned() }
}

/// # Safety
/// `to` is null or valid for a write.
unsafe fn write_set(to: *mut sigset_t, set: SignalSet) {
    if !to.is_null() {
        // SAFETY: as the caller says; zeros are an empty set.
        unsafe {
            to.write(std::mem::zeroed());
            to.cast::<SignalSet>().write_unaligned(set);
        }
    }
}

/// Whether the program may say what happens at a signal.
fn can_be_handled(signal: c_int) -> bool {
    signals::is_signal(signal) && !matches!(signal, libc::SIGKILL | libc::SIGSTOP)
}

/// Those that tell of a fault of the code are never sent in the simulation. Their handlers are the real process's.
fn is_of_a_fault(signal: c_int) -> bool {
    matches!(
        signal,
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGSYS
    )
}

fn replace(process: Process, signal: c_int, new: Option<Action>) -> Result<Action, Errno> {
    if !can_be_handled(signal) {
        return Err(libc::EINVAL);
    }
    Ok(cluster::with(process.run, |run| {
        let before = run.signal_action(process.machine, signal);
        if let Some(new) = new {
            run.set_signal_action(process.machine, signal, new);
        }
        before
    }))
}

/// A task's is kept as a program's, and never called: nobody sends signals to a factory.
///
/// # Safety
/// As sigaction(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(signal: c_int, new: *const SigAction, old: *mut SigAction) -> c_int {
    let Some(process) = caller().filter(|_| !is_of_a_fault(signal)) else {
        // SAFETY: as ours.
        return unsafe {
            real!("sigaction", fn(c_int, *const SigAction, *mut SigAction) -> c_int)(signal, new, old)
        };
    };
    // SAFETY: sigaction(2): null, or valid for a read.
    let new = unsafe { new.as_ref() }.map(|new| Action {
        handler: new.sa_sigaction,
        flags: new.sa_flags,
        // SAFETY: it is a field.
        mask: unsafe { set_of(&raw const new.sa_mask) },
    });
    answer(replace(process, signal, new).map(|before| {
        if !old.is_null() {
            // SAFETY: sigaction(2): null, or valid for a write; zeros are a sigaction.
            unsafe {
                let mut action: SigAction = std::mem::zeroed();
                action.sa_sigaction = before.handler;
                action.sa_flags = before.flags;
                write_set(&raw mut action.sa_mask, before.mask);
                old.write(action);
            }
        }
        0
    }))
}

/// # Safety
/// As signal(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    let Some(process) = caller().filter(|_| !is_of_a_fault(signal)) else {
        // SAFETY: as ours.
        return unsafe { real!("signal", fn(c_int, sighandler_t) -> sighandler_t)(signal, handler) };
    };
    let new = Action { handler, flags: libc::SA_RESTART, mask: 0 };
    match replace(process, signal, Some(new)) {
        Ok(before) => before.handler,
        Err(code) => {
            super::set_errno(code);
            libc::SIG_ERR
        }
    }
}

/// Returns the error, instead of setting errno.
///
/// # Safety
/// As pthread_sigmask(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    let Some(guest) = threads::current() else {
        // SAFETY: as ours.
        return unsafe {
            real!("pthread_sigmask", fn(c_int, *const sigset_t, *mut sigset_t) -> c_int)(how, set, old)
        };
    };
    let before = guest.mask();
    if !set.is_null() {
        // SAFETY: pthread_sigmask(3): it is valid for a read.
        let set = unsafe { set_of(set) };
        let mask = match how {
            libc::SIG_BLOCK => before | set,
            libc::SIG_UNBLOCK => before & !set,
            libc::SIG_SETMASK => set,
            _ => return libc::EINVAL,
        };
        let never = signals::bit(libc::SIGKILL) | signals::bit(libc::SIGSTOP);
        signals::set_mask(guest, |_| mask & !never);
    }
    // SAFETY: as above: null, or valid for a write.
    unsafe { write_set(old, before) };
    0
}

/// # Safety
/// As sigprocmask(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    if guest().is_none() {
        // SAFETY: as ours.
        return unsafe {
            real!("sigprocmask", fn(c_int, *const sigset_t, *mut sigset_t) -> c_int)(how, set, old)
        };
    }
    // SAFETY: as ours; a thread's mask is all that either changes.
    match unsafe { pthread_sigmask(how, set, old) } {
        0 => 0,
        code => answer(Err(code)),
    }
}

/// Sends a signal to the own process. What this thread is given to handle it has handled when this returns.
fn send(process: Process, signal: c_int) -> Result<c_int, Errno> {
    let stops = matches!(signal, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
    if signal == 0 {
        return Ok(0);
    }
    if !signals::is_signal(signal) || stops {
        return Err(libc::EINVAL);
    }
    if let Sent::Ends = cluster::with(process.run, |run| run.send_signal(process.machine, signal, true)) {
        signals::end_by(process, signal);
    }
    if let Some(guest) = threads::current() {
        threads::handle_signals(guest);
    }
    Ok(0)
}

/// Knows the own process alone: there is none beside it on its machine.
///
/// # Safety
/// As kill(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn kill(pid: pid_t, signal: c_int) -> c_int {
    match caller() {
        Some(process)
            if guest().is_some() && (pid.abs() == process_number(process) || matches!(pid, -1..=0)) =>
        {
            answer(send(process, signal))
        }
        Some(_) => answer(Err(libc::ESRCH)),
        // SAFETY: as ours.
        None => unsafe { real!("kill", fn(pid_t, c_int) -> c_int)(pid, signal) },
    }
}

/// # Safety
/// As raise(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn raise(signal: c_int) -> c_int {
    match guest().filter(|_| !is_of_a_fault(signal)) {
        Some(process) => answer(send(process, signal)),
        // SAFETY: as ours.
        None => unsafe { real!("raise", fn(c_int) -> c_int)(signal) },
    }
}

/// To a thread of the process, whichever: it is handled by the one that would be given a signal of the process.
///
/// # Safety
/// As pthread_kill(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int {
    match guest() {
        Some(process) => send(process, signal).err().unwrap_or(0),
        // SAFETY: as ours.
        None => unsafe { real!("pthread_kill", fn(pthread_t, c_int) -> c_int)(thread, signal) },
    }
}

/// # Safety
/// As tgkill(2): as pthread_kill(3), by numbers.
#[unsafe(no_mangle)]
unsafe extern "C" fn tgkill(process: pid_t, thread: pid_t, signal: c_int) -> c_int {
    match caller() {
        // SAFETY: as ours.
        Some(_) => unsafe { kill(process, signal) },
        // SAFETY: as ours.
        None => unsafe { real!("tgkill", fn(pid_t, pid_t, c_int) -> c_int)(process, thread, signal) },
    }
}

/// # Safety
/// As killpg(3): the own process is the only one of its group.
#[unsafe(no_mangle)]
unsafe extern "C" fn killpg(group: pid_t, signal: c_int) -> c_int {
    match caller() {
        // SAFETY: as ours.
        Some(_) => unsafe { kill(group, signal) },
        // SAFETY: as ours.
        None => unsafe { real!("killpg", fn(pid_t, c_int) -> c_int)(group, signal) },
    }
}

/// A guest's ends its process, as SIGABRT does; the simulation's own, after a second panic, ends all.
///
/// # Safety
/// As abort(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn abort() -> ! {
    if let Some(process) = guest().filter(|_| !cluster::is_borrowed()) {
        signals::end_by(process, libc::SIGABRT);
    }
    // SAFETY: as ours.
    unsafe { real!("abort", fn() -> !)() }
}

/// The alternative stack for signals is the kernel thread's, which a guest shares with others.
///
/// # Safety
/// As sigaltstack(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaltstack(new: *const libc::stack_t, old: *mut libc::stack_t) -> c_int {
    if guest().is_some() {
        if !old.is_null() {
            // SAFETY: sigaltstack(2): it is null or valid for a write.
            unsafe {
                old.write(libc::stack_t {
                    ss_sp: std::ptr::null_mut::<c_void>(),
                    ss_flags: libc::SS_DISABLE,
                    ss_size: 0,
                });
            }
        }
        return 0;
    }
    // SAFETY: as ours.
    unsafe { real!("sigaltstack", fn(*const libc::stack_t, *mut libc::stack_t) -> c_int)(new, old) }
}
