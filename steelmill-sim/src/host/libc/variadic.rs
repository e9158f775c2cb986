//! Functions with any number of arguments, which the C library makes of calls of its own: dprintf(3), execl(3), syslog(3).
//!
//! stdarg(3): ours gather their arguments as the processor's calling convention lays them down, and go on to the function that takes a
//! `va_list`. Stable Rust cannot define such functions, so that a few instructions of each processor do it.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use std::ffi::{c_char, c_int, c_void};

use super::paths::confined;
use super::refused::PROCESSES;
use super::{answer, guest};
use crate::machine::real::real;
use crate::schema::system_use::SystemCall;

/// Defines a function of so many fixed arguments, whose others are gathered for `target`. On both processors a `va_list` is passed as
/// a pointer.
#[cfg(target_arch = "x86_64")]
macro_rules! gathers {
    ($($function:ident, $fixed:literal fixed, then $register:literal, for $target:ident;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $function() {
            // System V ABI for AMD64, §3.5.7: a register save area, and a va_list at the end of the stack.
            std::arch::naked_asm!(
                "push rbp", "mov rbp, rsp", "sub rsp, 208",
                "mov [rsp + 32], rdi", "mov [rsp + 40], rsi", "mov [rsp + 48], rdx",
                "mov [rsp + 56], rcx", "mov [rsp + 64], r8", "mov [rsp + 72], r9",
                "test al, al", "je 2f",
                "movaps [rsp + 80], xmm0", "movaps [rsp + 96], xmm1",
                "movaps [rsp + 112], xmm2", "movaps [rsp + 128], xmm3",
                "movaps [rsp + 144], xmm4", "movaps [rsp + 160], xmm5",
                "movaps [rsp + 176], xmm6", "movaps [rsp + 192], xmm7",
                "2:",
                "mov dword ptr [rsp], {used}", "mov dword ptr [rsp + 4], 48",
                "lea rax, [rbp + 16]", "mov [rsp + 8], rax",
                "lea rax, [rsp + 32]", "mov [rsp + 16], rax",
                concat!("mov ", $register, ", rsp"),
                "call {target}",
                "leave", "ret",
                used = const 8 * $fixed,
                target = sym $target,
            )
        }
    )*};
}

#[cfg(target_arch = "aarch64")]
macro_rules! gathers {
    ($($function:ident, $fixed:literal fixed, then $register:literal, for $target:ident;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $function() {
            // Procedure Call Standard for the Arm 64-bit Architecture, §B: two register save areas, and a va_list.
            std::arch::naked_asm!(
                "stp x29, x30, [sp, #-240]!", "mov x29, sp",
                "stp x0, x1, [sp, #48]", "stp x2, x3, [sp, #64]", "stp x4, x5, [sp, #80]", "stp x6, x7, [sp, #96]",
                "stp q0, q1, [sp, #112]", "stp q2, q3, [sp, #144]", "stp q4, q5, [sp, #176]", "stp q6, q7, [sp, #208]",
                "add x9, sp, #240", "str x9, [sp, #16]",
                "add x9, sp, #112", "str x9, [sp, #24]",
                "add x9, sp, #240", "str x9, [sp, #32]",
                "mov w9, #{unused}", "neg w9, w9", "str w9, [sp, #40]",
                "mov w9, #-128", "str w9, [sp, #44]",
                concat!("add x", $fixed, ", sp, #16"),
                "bl {target}",
                "ldp x29, x30, [sp], #240", "ret",
                unused = const 8 * (8 - $fixed),
                target = sym $target,
            )
        }
    )*};
}

gathers! {
    dprintf, 2 fixed, then "rdx", for vdprintf;
    __dprintf_chk, 3 fixed, then "rcx", for __vdprintf_chk;
    syslog, 2 fixed, then "rdx", for vsyslog;
    __syslog_chk, 3 fixed, then "rcx", for __vsyslog_chk;
    execl, 2 fixed, then "rdx", for exec_path;
    execlp, 2 fixed, then "rdx", for exec_found;
    execle, 2 fixed, then "rdx", for exec_with_environment;
}

/// A `va_list`, of which words are taken.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
struct Arguments {
    general: u32,
    vector: u32,
    stack: *const usize,
    saved: *const u8,
}

#[cfg(target_arch = "x86_64")]
impl Arguments {
    /// # Safety
    /// There is one more, of a word.
    unsafe fn next(&mut self) -> usize {
        const REGISTERS: u32 = 48;
        // SAFETY: as the caller says: it is in the save area, or on the stack.
        unsafe {
            if self.general < REGISTERS {
                let word = self.saved.add(self.general as usize).cast::<usize>().read();
                self.general += 8;
                return word;
            }
            let word = self.stack.read();
            self.stack = self.stack.add(1);
            word
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[repr(C)]
struct Arguments {
    stack: *const usize,
    general_end: *const u8,
    vector_end: *const u8,
    general: i32,
    vector: i32,
}

#[cfg(target_arch = "aarch64")]
impl Arguments {
    /// # Safety
    /// There is one more, of a word.
    unsafe fn next(&mut self) -> usize {
        // SAFETY: as the caller says: it is in the save area, or on the stack.
        unsafe {
            if self.general < 0 {
                let word = self.general_end.offset(self.general as isize).cast::<usize>().read();
                self.general += 8;
                return word;
            }
            let word = self.stack.read();
            self.stack = self.stack.add(1);
            word
        }
    }
}

impl Arguments {
    /// A command line, whose first word was fixed, up to the null at its end.
    ///
    /// # Safety
    /// The arguments are pointers, one of which is null.
    unsafe fn command_line(&mut self, first: *const c_char) -> Vec<*const c_char> {
        let mut all = vec![first];
        while all.last().is_some_and(|last| !last.is_null()) {
            // SAFETY: as the caller says.
            all.push(std::ptr::with_exposed_provenance(unsafe { self.next() }));
        }
        all
    }
}

/// execl(3) and its kin, with a function that executes a path.
///
/// # Safety
/// As execl(3)'s.
unsafe fn exec(
    first: *const c_char,
    arguments: &mut Arguments,
    execute: impl FnOnce(&[*const c_char], &mut Arguments) -> c_int,
) -> c_int {
    match confined() {
        Some(process) => answer(super::paths::refused(process, SystemCall::Process, PROCESSES, libc::ENOSYS)),
        // SAFETY: as the caller says.
        None => execute(&unsafe { arguments.command_line(first) }, arguments),
    }
}

/// # Safety
/// As execl(3).
unsafe extern "C" fn exec_path(
    path: *const c_char,
    first: *const c_char,
    arguments: &mut Arguments,
) -> c_int {
    // SAFETY: as ours.
    unsafe { exec(first, arguments, |words, _| libc::execv(path, words.as_ptr())) }
}

/// # Safety
/// As execlp(3).
unsafe extern "C" fn exec_found(
    path: *const c_char,
    first: *const c_char,
    arguments: &mut Arguments,
) -> c_int {
    // SAFETY: as ours.
    unsafe { exec(first, arguments, |words, _| libc::execvp(path, words.as_ptr())) }
}

/// # Safety
/// As execle(3), which has the environment behind the null.
unsafe extern "C" fn exec_with_environment(
    path: *const c_char,
    first: *const c_char,
    arguments: &mut Arguments,
) -> c_int {
    // SAFETY: as ours.
    unsafe {
        exec(first, arguments, |words, rest| {
            libc::execve(path, words.as_ptr(), std::ptr::with_exposed_provenance(rest.next()))
        })
    }
}

/// # Safety
/// As vdprintf(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn vdprintf(fd: c_int, format: *const c_char, arguments: *mut c_void) -> c_int {
    if guest().is_none() {
        // SAFETY: as ours.
        return unsafe {
            real!("vdprintf", fn(c_int, *const c_char, *mut c_void) -> c_int)(fd, format, arguments)
        };
    }
    let mut text = std::ptr::null_mut();
    let print = real!("vasprintf", fn(*mut *mut c_char, *const c_char, *mut c_void) -> c_int);
    // SAFETY: as ours; it gives memory, which is freed below.
    let length = unsafe { print(&raw mut text, format, arguments) };
    let mut left = match usize::try_from(length) {
        Ok(length) => length,
        Err(_) => return -1,
    };
    let mut from = text;
    while left > 0 {
        // SAFETY: so many bytes are left of the text.
        let Ok(written @ 1..) = usize::try_from(unsafe { libc::write(fd, from.cast(), left) }) else { break };
        left -= written;
        // SAFETY: as above.
        from = unsafe { from.add(written) };
    }
    // SAFETY: vasprintf(3) gave it.
    unsafe { libc::free(text.cast()) };
    if left == 0 { length } else { -1 }
}

/// # Safety
/// As vdprintf(3); what the flag asks for is not checked.
#[unsafe(no_mangle)]
unsafe extern "C" fn __vdprintf_chk(
    fd: c_int,
    _flag: c_int,
    format: *const c_char,
    arguments: *mut c_void,
) -> c_int {
    // SAFETY: as ours.
    unsafe { vdprintf(fd, format, arguments) }
}

/// A machine has no logger at `/dev/log`, so that nothing is sent.
///
/// # Safety
/// As vsyslog(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn vsyslog(priority: c_int, format: *const c_char, arguments: *mut c_void) {
    if guest().is_none() {
        // SAFETY: as ours.
        unsafe { real!("vsyslog", fn(c_int, *const c_char, *mut c_void) -> ())(priority, format, arguments) }
    }
}

/// # Safety
/// As vsyslog(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn __vsyslog_chk(
    priority: c_int,
    _flag: c_int,
    format: *const c_char,
    arguments: *mut c_void,
) {
    // SAFETY: as ours.
    unsafe { vsyslog(priority, format, arguments) }
}
