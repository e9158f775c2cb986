//! Environment variables (environ(7)): setenv(3) and its kin, which change `environ` of the process that calls.
//!
//! The C library keeps in a static of its own which block it has allocated last and may grow, and it has one static for all
//! machines. So ours make a new block for each change, and leave the old one to whoever has got a pointer into it.
//! getenv(3) reads `environ`, and needs no other here.

use std::ffi::{CStr, CString, c_char, c_int};

use super::{answer, guest};
use crate::host::audit;
use crate::kernel::backtraces;
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::real::real;
use crate::schema::system_use::SystemCall;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Whether this thread is of a process with an environment of its own.
pub(super) fn has_own() -> bool {
    guest().is_some_and(|process| cluster::with(process.run, |run| run.has_own_statics(process)))
}

/// A variable of a process that has its own.
pub(super) fn get(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: both are strings; ours are never freed.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes())
    }
}

/// What is in the environment, but for one variable.
///
/// # Safety
/// Only this process's threads use it, and they take turns.
unsafe fn others(key: &[u8]) -> Vec<*mut c_char> {
    // SAFETY: null, or a vector of strings with a null at its end.
    let all = (0..).map_while(|n| unsafe {
        let block = environ;
        if block.is_null() { None } else { Some(*block.add(n)).filter(|entry| !entry.is_null()) }
    });
    let is_other = |entry: &*mut c_char| {
        // SAFETY: as above.
        let entry = unsafe { CStr::from_ptr(*entry) }.to_bytes();
        !(entry.starts_with(key) && entry.get(key.len()) == Some(&b'='))
    };
    all.filter(is_other).collect()
}

/// Makes these the environment. The block is never freed, nor are its strings: somebody may have got pointers to them.
fn replace(mut entries: Vec<*mut c_char>) {
    entries.push(std::ptr::null_mut());
    // SAFETY: it is read only by this process's threads, which take turns.
    unsafe { environ = Box::leak(entries.into_boxed_slice()).as_mut_ptr() };
}

/// The name of a variable.
///
/// # Safety
/// `name` is null or a string.
unsafe fn name_of<'a>(name: *const c_char) -> Result<&'a [u8], Errno> {
    if name.is_null() {
        return Err(libc::EINVAL);
    }
    // SAFETY: as the caller says.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    if name.is_empty() || name.contains(&b'=') { Err(libc::EINVAL) } else { Ok(name) }
}

/// # Safety
/// As setenv(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn setenv(name: *const c_char, value: *const c_char, overwrite: c_int) -> c_int {
    if !has_own() {
        // SAFETY: as ours.
        return unsafe {
            real!("setenv", fn(*const c_char, *const c_char, c_int) -> c_int)(name, value, overwrite)
        };
    }
    // SAFETY: setenv(3): both are strings.
    answer(unsafe { name_of(name) }.map(|key| unsafe {
        if overwrite != 0 || libc::getenv(name).is_null() {
            let entry = [key, b"=", CStr::from_ptr(value).to_bytes()].concat();
            let entry = CString::new(entry).expect("none of its parts has a zero");
            let mut entries = others(key);
            entries.push(entry.into_raw());
            replace(entries);
        }
        0
    }))
}

/// # Safety
/// As unsetenv(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn unsetenv(name: *const c_char) -> c_int {
    if !has_own() {
        // SAFETY: as ours.
        return unsafe { real!("unsetenv", fn(*const c_char) -> c_int)(name) };
    }
    // SAFETY: unsetenv(3): it is a string.
    answer(unsafe { name_of(name) }.map(|key| {
        // SAFETY: as above.
        replace(unsafe { others(key) });
        0
    }))
}

/// # Safety
/// As putenv(3): the string becomes part of the environment.
#[unsafe(no_mangle)]
unsafe extern "C" fn putenv(entry: *mut c_char) -> c_int {
    if !has_own() {
        // SAFETY: as ours.
        return unsafe { real!("putenv", fn(*mut c_char) -> c_int)(entry) };
    }
    // SAFETY: putenv(3): it is a string.
    let text = unsafe { CStr::from_ptr(entry) }.to_bytes();
    match text.iter().position(|byte| *byte == b'=') {
        Some(0) => answer(Err(libc::EINVAL)),
        Some(end) => {
            // SAFETY: as above.
            let mut entries = unsafe { others(&text[..end]) };
            entries.push(entry);
            replace(entries);
            0
        }
        // SAFETY: as ours; glibc removes a variable that is named without a value.
        None => unsafe { unsetenv(entry) },
    }
}

/// # Safety
/// As clearenv(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn clearenv() -> c_int {
    if !has_own() {
        // SAFETY: as ours.
        return unsafe { real!("clearenv", fn() -> c_int)() };
    }
    replace(Vec::new());
    0
}

/// What a task or the scenario reads is the real process's, and may differ elsewhere: the audit tells.
///
/// # Safety
/// As getenv(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
    // SAFETY: getenv(3): it is a string.
    if let Some(value) = backtraces::answer(unsafe { CStr::from_ptr(name) }) {
        return value.as_ptr().cast_mut();
    }
    if cluster::is_simulating() && !has_own() {
        audit::note(SystemCall::Environment);
    }
    // SAFETY: as ours.
    unsafe { real!("getenv", fn(*const c_char) -> *mut c_char)(name) }
}
