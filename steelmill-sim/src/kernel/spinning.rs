//! Another thread of this process that does not come to do something itself: a signal has it say where it is, or stay there.
#![cfg_attr(
    target_os = "linux",
    allow(unsafe_code, reason = "a signal handler; the argument stands beside each place")
)]

use super::stacks::Stack;

/// Whether a thread that waits at some place is stopped there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    /// Not here, but maybe elsewhere.
    Later,
    /// It need not be stopped any more.
    IsOver,
}

#[cfg(target_os = "linux")]
pub(super) use linux::Thread;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Thread;

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::{Stack, Verdict};
    use crate::kernel::code::code_at;
    use crate::kernel::stacks::DEPTH;

    /// A thread that lives as long as whoever asks for its stack.
    #[derive(Debug)]
    pub(in crate::kernel) struct Thread(libc::pthread_t);

    static FRAMES: [AtomicUsize; DEPTH] = [const { AtomicUsize::new(0) }; DEPTH];
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    /// Where the program's own code begins and ends.
    static OWN_CODE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

    /// What is asked of the thread, and what it answers.
    static PHASE: AtomicU32 = AtomicU32::new(0);
    /// To say where it executes.
    const LOOK: u32 = 1;
    /// To say so, and to wait, if that is in the program's own code.
    const HOLD: u32 = 2;
    const SAID: u32 = 3;
    const WAITS: u32 = 4;
    const GO_ON: u32 = 5;
    const STAY: u32 = 6;

    /// What nothing else of a process is likely to use.
    fn signal() -> libc::c_int {
        libc::SIGRTMAX() - 2
    }

    /// For how long a thread may take to answer, in milliseconds; and how often it is asked to stay.
    const PATIENCE: u32 = 1000;
    const ATTEMPTS: u32 = 200;

    impl Thread {
        pub(in crate::kernel) fn current() -> Self {
            // SAFETY: pthread_self(3) cannot fail.
            Self(unsafe { libc::pthread_self() })
        }

        /// Where the thread executes; `None` if it does not answer. For a process that then exits.
        pub(in crate::kernel) fn stack(&self) -> Option<Stack> {
            self.ask(LOOK).map(|_| captured())
        }

        /// Stops the thread for good, and gives where. It never executes again, and nothing that it holds is freed.
        ///
        /// It stops within the program's own code alone: in the C library it may hold a lock that other threads need, as an
        /// allocator's. What else is to be heeded `judge` says while the thread waits. `None` if it is never met at such a place.
        #[expect(clippy::disallowed_methods, reason = "the other thread takes its time")]
        pub(in crate::kernel) fn stop(&self, judge: impl Fn(&Stack) -> Verdict) -> Option<Stack> {
            let own = code_at(capture as extern "C" fn(libc::c_int) as usize)?;
            OWN_CODE[0].store(own.start, Ordering::Relaxed);
            OWN_CODE[1].store(own.end, Ordering::Relaxed);
            for _ in 0..ATTEMPTS {
                if self.ask(HOLD)? == WAITS {
                    let stack = captured();
                    let verdict = judge(&stack);
                    PHASE.store(if verdict == Verdict::Stays { STAY } else { GO_ON }, Ordering::Release);
                    match verdict {
                        Verdict::Stays => return Some(stack),
                        Verdict::IsOver => return None,
                        Verdict::Later => {}
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            None
        }

        /// The thread's answer.
        #[expect(clippy::disallowed_methods, reason = "the other thread takes its time")]
        fn ask(&self, what: u32) -> Option<u32> {
            PHASE.store(what, Ordering::Release);
            // SAFETY: zeros are a sigaction. The thread executes a poll, so it lives.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = (capture as extern "C" fn(libc::c_int)) as usize;
                libc::sigfillset(&raw mut action.sa_mask);
                libc::sigaction(signal(), &raw const action, std::ptr::null_mut());
                libc::pthread_kill(self.0, signal());
            }
            for _ in 0..PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
                let answer = PHASE.load(Ordering::Acquire);
                if answer != what {
                    return Some(answer);
                }
            }
            // Nobody would tell it to go on, if it were to wait later.
            let is_late = PHASE.compare_exchange(what, GO_ON, Ordering::AcqRel, Ordering::Relaxed);
            is_late.err()
        }
    }

    fn captured() -> Stack {
        let mut frames = [0; DEPTH];
        frames.iter_mut().zip(&FRAMES).for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
        (frames, COUNT.load(Ordering::Relaxed))
    }

    /// The unwinder may take a lock of the loader. If the thread holds that, it never comes back, and the process exits
    /// without its stack.
    extern "C" fn capture(_: libc::c_int) {
        let mut count = 0;
        // SAFETY: no other thread unwinds by this crate meanwhile: the watchdog waits for this.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                FRAMES[count].store(frame.ip() as usize, Ordering::Relaxed);
                count += 1;
                count < DEPTH
            });
        }
        COUNT.store(count, Ordering::Relaxed);
        let may_wait = was_in_own_code(&FRAMES[..count])
            && PHASE.compare_exchange(HOLD, WAITS, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if !may_wait {
            PHASE.store(SAID, Ordering::Release);
            return;
        }
        loop {
            match PHASE.load(Ordering::Acquire) {
                WAITS => std::hint::spin_loop(),
                STAY => break,
                _ => return,
            }
        }
        // SAFETY: zeros are a set, which is filled: no signal gets this thread out again.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            loop {
                libc::sigsuspend(&raw const all);
            }
        }
    }

    /// Whether a signal met a thread in the program's own code, called by nothing but such code. The innermost frames are
    /// those of the handler, and one of the C library which called that.
    fn was_in_own_code(frames: &[AtomicUsize]) -> bool {
        let own = OWN_CODE[0].load(Ordering::Relaxed)..OWN_CODE[1].load(Ordering::Relaxed);
        let is_own = |frame: &AtomicUsize| own.contains(&frame.load(Ordering::Relaxed));
        let mut met = frames.iter().map(is_own).skip_while(|is_own| *is_own).skip(1);
        // Outermost is the C library's start of a thread.
        met.next() == Some(true) && met.is_sorted_by(|inner, outer| inner >= outer)
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{Stack, Verdict};

    /// A thread, whose stack cannot be had here.
    #[derive(Debug)]
    pub(in crate::kernel) struct Thread;

    impl Thread {
        pub(in crate::kernel) fn current() -> Self {
            Self
        }

        pub(in crate::kernel) fn stack(&self) -> Option<Stack> {
            None
        }

        pub(in crate::kernel) fn stop(&self, _: impl Fn(&Stack) -> Verdict) -> Option<Stack> {
            None
        }
    }
}
