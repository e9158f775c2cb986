//! The C library's own functions, behind those that the simulation defines under the same names.
#![allow(unsafe_code, reason = "looking up functions of the C library; the argument stands beside each")]

use std::ffi::{CStr, c_int, c_long, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The C library's own function of a name.
///
/// # Panics
/// When it has none.
pub(crate) fn function(cache: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: `name` ends with a zero; RTLD_NEXT looks behind this program, so it does not find our stand-in.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "the C library has no {name:?}");
    cache.store(found, Ordering::Relaxed);
    found
}

/// Calls the C library's function of a name and a type: `real!("close", fn(c_int) -> c_int)(fd)`.
macro_rules! real {
    ($name:literal, fn($($argument:ty),*) -> $result:ty) => {
        $crate::machine::real::real!(@ $name, unsafe extern "C" fn($($argument),*) -> $result)
    };
    (@ $name:literal, $type:ty) => {{
        static REAL: std::sync::atomic::AtomicPtr<std::ffi::c_void> =
            std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
        let function = $crate::machine::real::function(
            &REAL,
            // A literal without a zero, and one put behind it.
            std::ffi::CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()).expect("one zero, at the end"),
        );
        #[allow(unused_unsafe, reason = "some calls stand in an unsafe block")]
        // SAFETY: the C library's function of this name has this type.
        let function = unsafe { std::mem::transmute::<*mut std::ffi::c_void, $type>(function) };
        function
    }};
}
pub(crate) use real;

/// syscall(2), past our stand-in; the error as a negative number.
#[inline]
pub(crate) fn syscall(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    type Call = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;
    let call = real!(@ "syscall", Call);
    // SAFETY: the caller's arguments are what the call of that number takes; syscall takes up to six.
    let result = unsafe { call(number, a, b, c, d, e, f) };
    if result == -1 { -(errno() as isize) } else { result as isize }
}

/// Where syscall(2) of the C library is.
pub(crate) fn address_of_syscall() -> usize {
    type Call = unsafe extern "C" fn(c_long, ...) -> c_long;
    real!(@ "syscall", Call) as *const () as usize
}

/// Sleeps for a millisecond of real time.
pub(crate) fn sleep_millisecond() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    syscall(libc::SYS_nanosleep, [(&raw const time).addr(), 0, 0, 0, 0, 0]);
}

fn errno() -> c_int {
    // SAFETY: every thread has an errno.
    unsafe { *libc::__errno_location() }
}
