//! Other processes, which a machine does not have: fork(2), execve(2), posix_spawn(3) fail as where a kernel lacks them.

use std::ffi::{c_char, c_int, c_void};

use libc::pid_t;

use super::answer;
use super::paths::{confined, refused};
use crate::machine::real::real;
use crate::schema::system_use::SystemCall;

const WHAT: &str = "refused processes";

macro_rules! processes {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> $result {
            match confined() {
                Some(process) => answer(refused(process, SystemCall::Process, WHAT, libc::ENOSYS)),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> $result)($($argument),*) },
            }
        }
    )*};
}

processes! {
    "fork" fork() -> pid_t;
    "execve" execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    "execv" execv(path: *const c_char, arguments: *const *const c_char) -> c_int;
    "execvp" execvp(path: *const c_char, arguments: *const *const c_char) -> c_int;
    "system" system(command: *const c_char) -> c_int;
}

/// Returns the error, instead of setting errno.
macro_rules! spawns {
    ($($name:literal $function:ident;)*) => {$(
        /// # Safety
        /// As posix_spawn(3).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(
            pid: *mut pid_t,
            path: *const c_char,
            actions: *const c_void,
            attributes: *const c_void,
            arguments: *const *mut c_char,
            environment: *const *mut c_char,
        ) -> c_int {
            match confined() {
                Some(process) => {
                    refused(process, SystemCall::Process, WHAT, libc::ENOSYS).unwrap_or_else(|code| code)
                }
                // SAFETY: as ours.
                None => unsafe {
                    type Spawn = unsafe extern "C" fn(
                        *mut pid_t,
                        *const c_char,
                        *const c_void,
                        *const c_void,
                        *const *mut c_char,
                        *const *mut c_char,
                    ) -> c_int;
                    real!(@ $name, Spawn)(pid, path, actions, attributes, arguments, environment)
                },
            }
        }
    )*};
}

spawns! {
    "posix_spawn" posix_spawn;
    "posix_spawnp" posix_spawnp;
}
