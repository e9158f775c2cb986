//! Users and groups: getuid(2), setuid(2), getpwnam(3), getgrnam(3) and their kin.
//!
//! Every process is one of the same user, who has no privileges and no entry in passwd(5). A machine has no entries at all.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

use libc::size_t;

use super::paths::{confined, refused};
use super::refused::PRIVILEGES;
use super::{answer, caller};
pub(super) use crate::machine::proc::USER;
use crate::machine::real::real;
use crate::schema::system_use::SystemCall;

macro_rules! numbers {
    ($($name:literal $function:ident;)*) => {$(
        /// # Safety
        /// As the system call of that name.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function() -> c_uint {
            match caller() {
                Some(_) => USER,
                // SAFETY: as ours.
                None => unsafe { real!($name, fn() -> c_uint)() },
            }
        }
    )*};
}

numbers! {
    "getuid" getuid;
    "geteuid" geteuid;
    "getgid" getgid;
    "getegid" getegid;
}

/// The real, the effective and the saved number of a user or a group, which are one.
macro_rules! three_numbers {
    ($($name:literal $function:ident;)*) => {$(
        /// # Safety
        /// As getresuid(2).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(one: *mut c_uint, effective: *mut c_uint, saved: *mut c_uint) -> c_int {
            match caller() {
                Some(_) => {
                    // SAFETY: getresuid(2): they are valid for a write.
                    [one, effective, saved].into_iter().for_each(|place| unsafe { place.write(USER) });
                    0
                }
                // SAFETY: as ours.
                None => unsafe {
                    real!($name, fn(*mut c_uint, *mut c_uint, *mut c_uint) -> c_int)(one, effective, saved)
                },
            }
        }
    )*};
}

three_numbers! {
    "getresuid" getresuid;
    "getresgid" getresgid;
}

/// No number to change, as calls with several arguments say it.
const UNCHANGED: c_uint = c_uint::MAX;

/// Changes of a user or a group: a user without privileges may only stay who it is.
macro_rules! changes_of_user {
    ($($name:literal $function:ident($($number:ident),*);)*) => {$(
        /// # Safety
        /// As the system call of that name.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($number: c_uint),*) -> c_int {
            match confined() {
                Some(_) if [$($number),*].iter().all(|number| matches!(*number, USER | UNCHANGED)) => 0,
                Some(process) => answer(refused(process, SystemCall::Other, PRIVILEGES, libc::EPERM)),
                // SAFETY: as ours.
                None => unsafe { changes_of_user!(@ $name $($number)*)($($number),*) },
            }
        }
    )*};
    (@ $name:literal $a:ident) => { real!($name, fn(c_uint) -> c_int) };
    (@ $name:literal $a:ident $b:ident) => { real!($name, fn(c_uint, c_uint) -> c_int) };
    (@ $name:literal $a:ident $b:ident $c:ident) => { real!($name, fn(c_uint, c_uint, c_uint) -> c_int) };
}

changes_of_user! {
    "setuid" setuid(user);
    "seteuid" seteuid(user);
    "setgid" setgid(group);
    "setegid" setegid(group);
    "setreuid" setreuid(user, effective);
    "setregid" setregid(group, effective);
    "setresuid" setresuid(user, effective, saved);
    "setresgid" setresgid(group, effective, saved);
}

/// # Safety
/// As getgroups(2): a process has no supplementary groups.
#[unsafe(no_mangle)]
unsafe extern "C" fn getgroups(room: c_int, groups: *mut libc::gid_t) -> c_int {
    match caller() {
        Some(_) => 0,
        // SAFETY: as ours.
        None => unsafe { real!("getgroups", fn(c_int, *mut libc::gid_t) -> c_int)(room, groups) },
    }
}

/// Functions that look for an entry, and give it or null.
macro_rules! finds_none {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// # Safety
        /// As getpwnam(3).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> *mut c_void {
            match caller() {
                Some(_) => null_mut(),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> *mut c_void)($($argument),*) },
            }
        }
    )*};
}

finds_none! {
    "getpwnam" getpwnam(name: *const c_char);
    "getpwuid" getpwuid(user: c_uint);
    "getpwent" getpwent();
    "getgrnam" getgrnam(name: *const c_char);
    "getgrgid" getgrgid(group: c_uint);
    "getgrent" getgrent();
    "getspnam" getspnam(name: *const c_char);
}

/// The same, where the entry is written to a place of the caller's.
macro_rules! finds_none_reentrant {
    ($($name:literal $function:ident($key:ty);)*) => {$(
        /// # Safety
        /// As getpwnam_r(3).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(
            key: $key,
            entry: *mut c_void,
            buffer: *mut c_char,
            room: size_t,
            found: *mut *mut c_void,
        ) -> c_int {
            if caller().is_some() {
                // SAFETY: getpwnam_r(3): it is valid for a write.
                unsafe { found.write(null_mut()) };
                return 0;
            }
            type Find = unsafe extern "C" fn($key, *mut c_void, *mut c_char, size_t, *mut *mut c_void) -> c_int;
            // SAFETY: as ours.
            unsafe { real!(@ $name, Find)(key, entry, buffer, room, found) }
        }
    )*};
}

finds_none_reentrant! {
    "getpwnam_r" getpwnam_r(*const c_char);
    "getpwuid_r" getpwuid_r(c_uint);
    "getgrnam_r" getgrnam_r(*const c_char);
    "getgrgid_r" getgrgid_r(c_uint);
}

/// # Safety
/// As getgrouplist(3): the given group is the only one.
#[unsafe(no_mangle)]
unsafe extern "C" fn getgrouplist(
    user: *const c_char,
    group: c_uint,
    groups: *mut c_uint,
    count: *mut c_int,
) -> c_int {
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe {
            real!("getgrouplist", fn(*const c_char, c_uint, *mut c_uint, *mut c_int) -> c_int)(
                user, group, groups, count,
            )
        };
    }
    // SAFETY: getgrouplist(3): there is room for as many groups as the count says, which is valid for reads and writes.
    unsafe {
        let room = count.replace(1);
        if room < 1 {
            return -1;
        }
        groups.write(group);
    }
    1
}

/// # Safety
/// As getlogin(3): nobody has logged in.
#[unsafe(no_mangle)]
unsafe extern "C" fn getlogin() -> *mut c_char {
    match caller() {
        Some(_) => {
            super::set_errno(libc::ENXIO);
            null_mut()
        }
        // SAFETY: as ours.
        None => unsafe { real!("getlogin", fn() -> *mut c_char)() },
    }
}

/// # Safety
/// As getlogin_r(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getlogin_r(name: *mut c_char, room: size_t) -> c_int {
    match caller() {
        Some(_) => libc::ENXIO,
        // SAFETY: as ours.
        None => unsafe { real!("getlogin_r", fn(*mut c_char, size_t) -> c_int)(name, room) },
    }
}
