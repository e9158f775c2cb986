//! The stack of another thread of this process, which does not come to give it itself: a signal has it do so.
#![cfg_attr(
    target_os = "linux",
    allow(unsafe_code, reason = "a signal handler; the argument stands beside each place")
)]

use super::stacks::Stack;

#[cfg(target_os = "linux")]
pub(super) use linux::Thread;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Thread;

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::Stack;
    use crate::kernel::stacks::DEPTH;

    /// A thread that lives as long as whoever asks for its stack.
    #[derive(Debug)]
    pub(in crate::kernel) struct Thread(libc::pthread_t);

    static FRAMES: [AtomicUsize; DEPTH] = [const { AtomicUsize::new(0) }; DEPTH];
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    static IS_CAPTURED: AtomicBool = AtomicBool::new(false);

    /// What nothing else of a process is likely to use.
    fn signal() -> libc::c_int {
        libc::SIGRTMAX() - 2
    }

    /// For how long a thread may take, in milliseconds.
    const PATIENCE: u32 = 1000;

    impl Thread {
        pub(in crate::kernel) fn current() -> Self {
            // SAFETY: pthread_self(3) cannot fail.
            Self(unsafe { libc::pthread_self() })
        }

        /// Where the thread executes; `None` if it does not answer. For a process that then exits.
        #[expect(clippy::disallowed_methods, reason = "the other thread takes its time")]
        pub(in crate::kernel) fn stack(&self) -> Option<Stack> {
            // SAFETY: zeros are a sigaction. The thread executes a poll, so it lives.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = (capture as extern "C" fn(libc::c_int)) as usize;
                libc::sigaction(signal(), &raw const action, std::ptr::null_mut());
                libc::pthread_kill(self.0, signal());
            }
            for _ in 0..PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
                if IS_CAPTURED.load(Ordering::Acquire) {
                    let mut frames = [0; DEPTH];
                    frames.iter_mut().zip(&FRAMES).for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
                    return Some((frames, COUNT.load(Ordering::Relaxed)));
                }
            }
            None
        }
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
        IS_CAPTURED.store(true, Ordering::Release);
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::Stack;

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
    }
}
