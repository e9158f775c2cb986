//! Changing from one thread to another: stack, callee-saved registers and thread pointer, in user space where the
//! processor can, by a futex where it cannot.
//!
//! A guest thread is a real thread, so that it has a stack and thread-locals of the C library's making. In user space its
//! *kernel half* sleeps for as long as it lives, and the thread of the seed executes on its stack, with the thread pointer (FS)
//! set to its thread-locals: one guest thread after the other. That takes the processor's FSGSBASE instructions. By futex each
//! thread executes on its own, and hands the turn over.
#![allow(unsafe_code, reason = "switching stacks; the argument stands beside each function")]

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::machine::real;

/// Where a thread that does not execute stands.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Context {
    stack: usize,
    thread_pointer: usize,
}

/// What the kernel half of a guest thread is to do.
const SLEEP: u32 = 0;
/// Exit as a thread does; or, by futex, execute.
const GO_ON: u32 = 1;
/// Exit without executing anything more, no destructor either.
const DIE: u32 = 2;

/// What a guest thread executes.
pub(super) type Start = extern "C" fn(*mut c_void);

/// Bytes of the stack that are left to the kernel half, which sleeps there.
#[cfg(target_arch = "x86_64")]
const OF_KERNEL_HALF: usize = 128;

/// MXCSR and the x87 control word, as a process begins with them (System V ABI for AMD64, §3.4.1).
#[cfg(target_arch = "x86_64")]
const CONTROL_WORDS: usize = 0x037f_0000_1f80;

/// A guest thread and whoever resumes it. Shared by the two threads that take turns, so it never moves.
#[repr(C)]
pub(super) struct Turns {
    guest: Cell<Context>,
    host: Cell<Context>,
    /// Where the kernel half sleeps.
    kernel_half: Cell<Context>,
    /// By futex: what the thread executes.
    start: Cell<Option<(Start, *mut c_void)>>,
    /// To the kernel half of the guest.
    word: AtomicU32,
    /// The kernel half sleeps, with its context saved.
    is_parked: AtomicU32,
    /// By futex: the host may execute.
    host_word: AtomicU32,
    in_user_space: bool,
}

// SAFETY: the threads that share it take turns, each handing over with release and acquire.
unsafe impl Send for Turns {}
// SAFETY: as above.
unsafe impl Sync for Turns {}

/// Whether threads change in user space here: x86-64 with FSGSBASE, which Linux enables since 5.9 and announces by bit 1
/// of AT_HWCAP2.
pub(super) fn is_user_space_possible() -> bool {
    // SAFETY: getauxval(3) takes any number.
    cfg!(target_arch = "x86_64") && unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 != 0
}

impl Turns {
    /// Turns of a thread that is about to be created. `by_futex` is for comparison where user space would do.
    pub(super) fn new(by_futex: bool) -> Self {
        Self {
            guest: Cell::default(),
            host: Cell::default(),
            kernel_half: Cell::default(),
            start: Cell::default(),
            word: AtomicU32::new(SLEEP),
            is_parked: AtomicU32::new(0),
            host_word: AtomicU32::new(0),
            in_user_space: !by_futex && is_user_space_possible(),
        }
    }

    /// All that a real thread does: sleeps until it is to exit, or, by futex, executes when it is resumed.
    ///
    /// # Safety
    /// Called once, by that thread, which has blocked all signals: in user space the rest of its stack belongs to whoever resumes
    /// it from here on.
    pub(super) unsafe fn park(&self) {
        #[cfg(target_arch = "x86_64")]
        if self.in_user_space {
            // SAFETY: as the caller says; `self` outlives the thread.
            return unsafe { park_kernel_half(self) };
        }
        self.is_parked.store(1, Ordering::Release);
        wake(&self.is_parked);
        self.await_turn();
        if let Some((start, argument)) = self.start.get() {
            start(argument);
        }
    }

    /// Has a guest thread begin when this is resumed.
    ///
    /// # Safety
    /// The real thread has parked, no other guest thread on it is resumed again, and the new one does not return from `start` in user
    /// space.
    pub(super) unsafe fn begin(&self, start: Start, argument: *mut c_void) {
        #[cfg(target_arch = "x86_64")]
        if self.in_user_space {
            let Context { stack, thread_pointer } = self.kernel_half.get();
            let top = (stack - OF_KERNEL_HALF) & !15;
            // What `switch` takes from a stack, in this order: r15 to r12, rbx and rbp are between.
            let frame = [
                CONTROL_WORDS,
                0,
                0,
                start as *const () as usize,
                argument.expose_provenance(),
                0,
                0,
                begin_guest as *const () as usize,
            ];
            let at = top - size_of_val(&frame);
            // SAFETY: it is a part of the stack that nobody uses, as the caller says.
            unsafe { std::ptr::with_exposed_provenance_mut::<[usize; 8]>(at).write(frame) };
            return self.guest.set(Context { stack: at, thread_pointer });
        }
        self.start.set(Some((start, argument)));
    }

    /// Whether one guest thread after the other may begin.
    pub(super) fn may_begin_anew(&self) -> bool {
        self.in_user_space
    }

    /// The thread pointer of the real thread, which has parked.
    pub(super) fn thread_pointer(&self) -> usize {
        self.kernel_half.get().thread_pointer
    }

    /// Waits until the guest thread has parked.
    pub(super) fn await_parked(&self) {
        while self.is_parked.load(Ordering::Acquire) == 0 {
            wait(&self.is_parked, 0);
        }
    }

    /// Lets the guest execute until it gives the turn back.
    ///
    /// # Safety
    /// Called by the thread of the seed, of a guest that has parked and not ended.
    pub(super) unsafe fn resume(&self) {
        #[cfg(target_arch = "x86_64")]
        if self.in_user_space {
            // SAFETY: the guest's context was made by `begin` or saved by `switch` in `give_back`, and nobody executes on its stack. The host's is saved for `give_back`.
            return unsafe { switch(self.host.as_ptr(), self.guest.as_ptr()) };
        }
        self.word.store(GO_ON, Ordering::Release);
        wake(&self.word);
        while self.host_word.swap(0, Ordering::Acquire) == 0 {
            wait(&self.host_word, 0);
        }
    }

    /// Gives the turn back to whoever resumed the guest; returns when it is resumed again.
    ///
    /// # Safety
    /// Called by the guest.
    pub(super) unsafe fn give_back(&self) {
        #[cfg(target_arch = "x86_64")]
        if self.in_user_space {
            // SAFETY: the host's context was saved by `switch` in `resume`.
            return unsafe { switch(self.guest.as_ptr(), self.host.as_ptr()) };
        }
        self.host_word.store(1, Ordering::Release);
        wake(&self.host_word);
        self.await_turn();
    }

    /// Gives the turn back for the last time. In user space it does not return.
    ///
    /// # Safety
    /// As [`give_back`](Turns::give_back); the thread touches nothing of the simulation any more.
    pub(super) unsafe fn end(&self) {
        #[cfg(target_arch = "x86_64")]
        if self.in_user_space {
            // SAFETY: as in `give_back`.
            return unsafe { switch(self.guest.as_ptr(), self.host.as_ptr()) };
        }
        self.host_word.store(1, Ordering::Release);
        wake(&self.host_word);
    }

    /// Has a real thread exit whose guest thread has ended.
    pub(super) fn release(&self) {
        self.word.store(GO_ON, Ordering::Release);
        wake(&self.word);
    }

    /// Has a real thread exit whose guest thread has not ended: nothing of it executes any more, no destructor either.
    pub(super) fn kill(&self) {
        self.word.store(DIE, Ordering::Release);
        wake(&self.word);
    }

    fn await_turn(&self) {
        loop {
            match self.word.swap(SLEEP, Ordering::Acquire) {
                SLEEP => wait(&self.word, SLEEP),
                DIE => exit_thread(),
                _ => return,
            }
        }
    }
}

/// A system call past our own stand-ins, which are for guests.
#[inline]
fn raw(number: libc::c_long, [a, b, c, d]: [usize; 4]) -> isize {
    real::syscall(number, [a, b, c, d, 0, 0])
}

fn wait(word: &AtomicU32, expected: u32) {
    let flags = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    raw(libc::SYS_futex, [word.as_ptr().addr(), flags, expected as usize, 0]);
}

fn wake(word: &AtomicU32) {
    let flags = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    raw(libc::SYS_futex, [word.as_ptr().addr(), flags, 1, 0]);
}

/// exit(2), of this thread alone: the C library is not told, and learns it from the kernel (CLONE_CHILD_CLEARTID).
fn exit_thread() -> ! {
    raw(libc::SYS_exit, [0; 4]);
    unreachable!("exit does not return")
}

/// Saves the context of the caller in `from` and goes on with that in `to`.
///
/// # Safety
/// `to` was saved by this function or made by [`Turns::begin`], nobody executes on its stack, and it is gone on with once.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn switch(from: *mut Context, to: *mut Context) {
    // The callee-saved registers of the System V ABI for AMD64 (§3.2.1), MXCSR and the x87 control word among them. All
    // others are the caller's to save.
    std::arch::naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "mov ecx, [rsp]",
        "movzx edx, word ptr [rsp + 4]",
        "rdfsbase rax",
        "mov [rdi + 8], rax",
        "mov [rdi], rsp",
        "mov rsp, [rsi]",
        "mov rax, [rsi + 8]",
        "wrfsbase rax",
        // Loading these takes longer than all else here, and nearly always they are the same.
        "cmp ecx, [rsp]",
        "je 2f",
        "ldmxcsr [rsp]",
        "2:",
        "cmp dx, [rsp + 4]",
        "je 3f",
        "fldcw [rsp + 4]",
        "3:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Where a guest thread begins: `r13` holds what it executes, and `r12` the argument.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn begin_guest() {
    std::arch::naked_asm!("mov rdi, r12", "call r13", "ud2")
}

/// Says where the caller's stack and thread-locals are, and sleeps without touching the rest of that stack until it is to return, or to
/// die.
///
/// # Safety
/// As [`Turns::park`].
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn park_kernel_half(turns: *const Turns) {
    std::arch::naked_asm!(
        "push r12",
        "mov r12, rdi",
        "rdfsbase rax", "mov [r12 + {kernel_half} + 8], rax", "mov [r12 + {kernel_half}], rsp",
        // From here on what is below is another's.
        "mov dword ptr [r12 + {parked}], 1",
        "lea rdi, [r12 + {parked}]", "mov esi, {wake}", "mov edx, 1", "mov eax, {futex}", "syscall",
        "2:",
        "mov eax, [r12 + {word}]",
        "cmp eax, {go_on}", "je 3f",
        "cmp eax, {die}", "je 4f",
        "lea rdi, [r12 + {word}]", "mov esi, {wait}", "xor edx, edx", "xor r10d, r10d", "mov eax, {futex}", "syscall",
        "jmp 2b",
        "4:",
        "xor edi, edi", "mov eax, {exit}", "syscall",
        "3:",
        "pop r12",
        "ret",
        kernel_half = const offset_of!(Turns, kernel_half),
        word = const offset_of!(Turns, word),
        parked = const offset_of!(Turns, is_parked),
        wake = const libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
        wait = const libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
        futex = const libc::SYS_futex,
        exit = const libc::SYS_exit,
        go_on = const GO_ON,
        die = const DIE,
    )
}

/// This thread's thread pointer: at its place is its own address (System V ABI for AMD64). `None` on other processors.
pub(super) fn thread_pointer() -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer: usize;
        // SAFETY: it reads a word of this thread's own.
        unsafe {
            std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags))
        };
        Some(pointer)
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}
