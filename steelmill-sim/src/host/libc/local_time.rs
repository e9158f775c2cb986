//! Local time: localtime(3), mktime(3), tzset(3). A machine's time zone is UTC, unless a program's `TZ` holds a rule, such as
//! `CET-1CEST,M3.5.0,M10.5.0/3` (tzset(3)); it has no files of zones.
//!
//! The C library would read the host's files by calls of its own, and it has one static for all machines, which localtime_r sets
//! once. So ours sets it anew for each call by a rule, and asks for UTC otherwise.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use libc::{time_t, tm};

use super::environment;
use crate::machine::cluster;
use crate::machine::real::real;

thread_local! {
    /// What localtime gave last: a thread-local here, as the C library's static would be shared by all machines.
    static LAST: UnsafeCell<MaybeUninit<tm>> = const { UnsafeCell::new(MaybeUninit::uninit()) };
}

/// Whether a program's zone is a rule; it is the C library's from then on. `None` outside of a run.
fn has_rule() -> Option<bool> {
    if !cluster::is_simulating() {
        return None;
    }
    let has_rule = environment::has_own() && environment::get(c"TZ").is_some_and(is_rule);
    if has_rule {
        // SAFETY: tzset(3) takes nothing, and changes what guests alone ask for, in turns.
        unsafe { real!("tzset", fn() -> ())() };
    }
    Some(has_rule)
}

/// Whether the value of `TZ` is a rule, not the name of a file: `std offset ...`.
fn is_rule(zone: &[u8]) -> bool {
    let is_quoted = zone.first() == Some(&b'<');
    let name = match is_quoted {
        true => zone.iter().position(|byte| *byte == b'>').map_or(0, |end| end + 1),
        false => zone.iter().take_while(|byte| byte.is_ascii_alphabetic()).count(),
    };
    let offset = zone[name..].strip_prefix(b"+").or(zone[name..].strip_prefix(b"-")).unwrap_or(&zone[name..]);
    name >= 3 && offset.first().is_some_and(u8::is_ascii_digit)
}

/// # Safety
/// As localtime_r(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn localtime_r(time: *const time_t, into: *mut tm) -> *mut tm {
    if has_rule() != Some(false) {
        // SAFETY: as ours.
        return unsafe { real!("localtime_r", fn(*const time_t, *mut tm) -> *mut tm)(time, into) };
    }
    // SAFETY: as ours; gmtime_r(3) takes the same.
    unsafe {
        let filled = libc::gmtime_r(time, into);
        if let Some(filled) = filled.as_mut() {
            filled.tm_zone = c"UTC".as_ptr();
        }
        filled
    }
}

/// # Safety
/// As localtime(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn localtime(time: *const time_t) -> *mut tm {
    match cluster::is_simulating() {
        // SAFETY: as ours; the thread alone has its place.
        true => unsafe { localtime_r(time, LAST.with(|last| last.get().cast())) },
        // SAFETY: as ours.
        false => unsafe { real!("localtime", fn(*const time_t) -> *mut tm)(time) },
    }
}

/// # Safety
/// As mktime(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn mktime(from: *mut tm) -> time_t {
    match has_rule() {
        // SAFETY: as ours; timegm(3) takes the same.
        Some(false) => unsafe {
            (*from).tm_isdst = 0;
            let time = libc::timegm(from);
            (*from).tm_zone = c"UTC".as_ptr();
            time
        },
        // SAFETY: as ours.
        _ => unsafe { real!("mktime", fn(*mut tm) -> time_t)(from) },
    }
}

/// # Safety
/// As tzset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn tzset() {
    if has_rule().is_none() {
        // SAFETY: as ours.
        unsafe { real!("tzset", fn() -> ())() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_told_from_the_name_of_a_file() {
        for rule in ["CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT", "<+0330>-3:30", "XYZ+5"] {
            assert!(is_rule(rule.as_bytes()), "{rule}");
        }
        for name in ["", "UTC", "Europe/Berlin", "Etc/GMT+5", ":/etc/localtime", "<+03", "A1"] {
            assert!(!is_rule(name.as_bytes()), "{name}");
        }
    }
}
