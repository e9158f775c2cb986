//! pthread_exit(3): a guest thread that ends in the middle of its routine.
//!
//! The C library unwinds the stack up to the innermost frame that has announced that it cleans up, as pthread_cleanup_push(3) does, and
//! goes on there. A guest's routine is called from such a frame, so that the thread ends as ours do: the C library's own frame is
//! on the stack of a thread that sleeps.

use std::ffi::c_void;

use super::Routine;

/// What such a frame keeps for the C library: `__pthread_unwind_buf_t`, which is shorter.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[repr(C, align(16))]
struct Buffer([u8; 512]);

/// Calls a guest's routine; what it returned, or `None` if it exited.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn call(routine: Routine, argument: *mut c_void) -> Option<*mut c_void> {
    let mut buffer = Buffer([0; 512]);
    let mut returned = std::ptr::null_mut();
    // SAFETY: pthread_create(3): the routine may be called with the argument. The buffer and the place are valid until this returns.
    let has_exited = unsafe { call_cleaning(routine, argument, &raw mut buffer, &raw mut returned) };
    (has_exited == 0).then_some(returned)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn call(routine: Routine, argument: *mut c_void) -> Option<*mut c_void> {
    Some(routine(argument))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe extern "C" {
    fn __sigsetjmp(buffer: *mut c_void, keeps_mask: i32) -> i32;
    fn __pthread_register_cancel(buffer: *mut c_void);
    fn __pthread_unregister_cancel(buffer: *mut c_void);
}

/// Calls a routine from a frame that is registered with the C library. 0 if it has returned, and then what is stored; 1 if it has
/// exited, and the stack was unwound to here.
///
/// # Safety
/// The routine may be called; the buffer and the place for its result are valid.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn call_cleaning(
    routine: Routine,
    argument: *mut c_void,
    buffer: *mut Buffer,
    result: *mut *mut c_void,
) -> i32 {
    // `__sigsetjmp` returns twice, with the callee-saved registers as they were.
    std::arch::naked_asm!(
        "push rbp", "mov rbp, rsp", "push rbx", "push r12", "push r13", "push r14",
        "mov rbx, rdi", "mov r12, rsi", "mov r13, rdx", "mov r14, rcx",
        "mov rdi, r13", "xor esi, esi", "call {jump}",
        "test eax, eax", "jne 2f",
        "mov rdi, r13", "call {register}",
        "mov rdi, r12", "call rbx", "mov [r14], rax",
        "mov rdi, r13", "call {unregister}",
        "xor eax, eax",
        "2:",
        "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret",
        jump = sym __sigsetjmp,
        register = sym __pthread_register_cancel,
        unregister = sym __pthread_unregister_cancel,
    )
}

/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn call_cleaning(
    routine: Routine,
    argument: *mut c_void,
    buffer: *mut Buffer,
    result: *mut *mut c_void,
) -> i32 {
    std::arch::naked_asm!(
        "stp x29, x30, [sp, #-48]!", "mov x29, sp", "stp x19, x20, [sp, #16]", "stp x21, x22, [sp, #32]",
        "mov x19, x0", "mov x20, x1", "mov x21, x2", "mov x22, x3",
        "mov x0, x21", "mov w1, wzr", "bl {jump}",
        "cbnz w0, 2f",
        "mov x0, x21", "bl {register}",
        "mov x0, x20", "blr x19", "str x0, [x22]",
        "mov x0, x21", "bl {unregister}",
        "mov w0, wzr",
        "2:",
        "ldp x21, x22, [sp, #32]", "ldp x19, x20, [sp, #16]", "ldp x29, x30, [sp], #48", "ret",
        jump = sym __sigsetjmp,
        register = sym __pthread_register_cancel,
        unregister = sym __pthread_unregister_cancel,
    )
}
