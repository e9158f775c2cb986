//! Threads of the C library, which guest threads execute on: each has a stack and thread-locals.
//!
//! Where threads change in user space, the real one is not told when a guest thread ends, or is ended by a fault: the next of the run
//! begins on the same stack, with its [thread-locals](super::locals) as they are when a thread begins. To create one takes the kernel longer
//! than most programs take to start and end.
#![allow(unsafe_code, reason = "creating and joining threads; the argument stands beside each place")]

use std::ffi::c_void;
use std::io;
use std::ptr::{from_ref, null, null_mut};
use std::sync::Arc;

use super::context::Turns;
use super::{Guest, Routine, ThreadName, execute, locals};
use crate::machine::real::real;

/// A thread of the C library that sleeps, or whose guest thread executes. When this is dropped, it never executes again and is
/// joined: its name is free, and its stack.
pub(super) struct RealThread {
    turns: Arc<Turns>,
    name: ThreadName,
    /// `None` if the program gave it its stack.
    stack: Option<StackSize>,
    /// Its guest thread has ended by itself, or it has had none.
    is_clean: bool,
}

/// What a program asked for, in bytes: of the stack, and of the guard before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StackSize {
    size: usize,
    guard: usize,
}

/// How a program wants a thread.
pub(super) struct Wanted {
    /// A copy of its attributes, which is not destroyed. `None` for the defaults.
    attributes: Option<libc::pthread_attr_t>,
    pub(super) is_detached: bool,
    pub(super) stack: Option<StackSize>,
}

impl Wanted {
    /// # Safety
    /// `attributes` are null, or initialized.
    pub(super) unsafe fn of(attributes: *const libc::pthread_attr_t) -> Self {
        type Attributes = libc::pthread_attr_t;
        // SAFETY: null, or valid for a read.
        let Some(mut attributes) = (unsafe { attributes.as_ref() }).copied() else {
            let stack = Some(StackSize { size: 0, guard: 0 });
            return Self { attributes: None, is_detached: false, stack };
        };
        let mut state = libc::PTHREAD_CREATE_JOINABLE;
        let (mut at, mut size, mut guard) = (null_mut::<c_void>(), 0, 0);
        // SAFETY: the attributes are initialized, and all pointers valid.
        unsafe {
            real!("pthread_attr_getdetachstate", fn(*const Attributes, *mut i32) -> i32)(
                &raw const attributes,
                &raw mut state,
            );
            // It is joined by us, whatever the program wants.
            real!("pthread_attr_setdetachstate", fn(*mut Attributes, i32) -> i32)(
                &raw mut attributes,
                libc::PTHREAD_CREATE_JOINABLE,
            );
            real!("pthread_attr_getstack", fn(*const Attributes, *mut *mut c_void, *mut usize) -> i32)(
                &raw const attributes,
                &raw mut at,
                &raw mut size,
            );
            real!("pthread_attr_getguardsize", fn(*const Attributes, *mut usize) -> i32)(
                &raw const attributes,
                &raw mut guard,
            );
        }
        // Without an address its end is at null.
        let is_own = !at.is_null() && at.addr().wrapping_add(size) != 0;
        let stack = (!is_own).then_some(StackSize { size, guard });
        Self { attributes: Some(attributes), is_detached: state == libc::PTHREAD_CREATE_DETACHED, stack }
    }
}

impl RealThread {
    /// Creates one, which sleeps.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub(super) fn create(wanted: &Wanted, by_futex: bool) -> io::Result<Self> {
        let turns = Arc::new(Turns::new(by_futex));
        let create = real!(
            "pthread_create",
            fn(*mut ThreadName, *const libc::pthread_attr_t, Routine, *mut c_void) -> i32
        );
        let attributes = wanted.attributes.as_ref().map_or(null(), from_ref);
        let argument = Arc::as_ptr(&turns).cast_mut().cast();
        let mut name = 0;
        // SAFETY: the attributes are what the program gave; the turns are kept until the thread has exited.
        let code = unsafe { create(&raw mut name, attributes, carry, argument) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        turns.await_parked();
        Ok(Self { turns, name, stack: wanted.stack, is_clean: true })
    }

    pub(super) fn name(&self) -> ThreadName {
        self.name
    }

    pub(super) fn turns(&self) -> Arc<Turns> {
        self.turns.clone()
    }

    /// Whether another guest thread, which is wanted so, may begin on it.
    pub(super) fn suits(&self, wanted: &Wanted) -> bool {
        self.stack == wanted.stack
    }

    /// Has a guest thread begin here when it is resumed.
    ///
    /// # Safety
    /// No other is on it that may be resumed, and the guest is kept until it has ended or is not to execute any more.
    pub(super) unsafe fn give(&mut self, guest: &Guest) {
        if guest.is_heir {
            // SAFETY: nothing executes with them: what did has ended, or is never resumed.
            unsafe { locals::restore(self.turns.thread_pointer()) };
        }
        self.is_clean = false;
        // SAFETY: as the caller says.
        unsafe { self.turns.begin(execute, from_ref(guest).cast_mut().cast()) };
    }

    /// Takes back what its guest thread had; whether another may begin on it.
    pub(super) fn take_back(&mut self, has_ended: bool) -> bool {
        self.is_clean = has_ended;
        self.stack.is_some() && self.turns.may_begin_anew() && locals::are_known()
    }
}

impl Drop for RealThread {
    fn drop(&mut self) {
        match self.is_clean {
            true => self.turns.release(),
            false => self.turns.kill(),
        }
        let join = real!("pthread_join", fn(ThreadName, *mut *mut c_void) -> i32);
        // SAFETY: the thread was created joinable and is joined here, once: a program's own join and detach go to `Threads`.
        unsafe { join(self.name, null_mut()) };
    }
}

/// Has all threads of this process, which take turns, allocate from one arena of the C library (mallopt(3)), if it has no others yet:
/// those grow by a page at a time, each by a call of the kernel.
pub(crate) fn share_one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// What a real thread executes, from its first instruction to its exit.
extern "C" fn carry(turns: *mut c_void) -> *mut c_void {
    // SAFETY: `create` gave them, and keeps them until this thread has exited.
    let turns = unsafe { &*turns.cast_const().cast::<Turns>() };
    // SAFETY: this is the thread's first step; signals are blocked first, and for good, because their handlers would execute on
    // a stack that is another's.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, null_mut());
        turns.park();
    }
    null_mut()
}
