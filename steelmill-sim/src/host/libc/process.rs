//! What a thread asks about itself and its process, its name, and the end of both.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::size_t;

use super::paths::refused;
use super::{answer, guest};
use crate::machine::descriptors::Errno;
use crate::machine::exit_functions::ExitFunction;
use crate::machine::real::real;
use crate::machine::world::Process;
use crate::machine::{cluster, program, threads};
use crate::schema::system_use::SystemCall;

/// Whether a guest has called exit(3): `std::process::exit` keeps in a static that the whole process is exiting, and has
/// every later caller wait for that by pause(2).
static HAS_EXITED: AtomicBool = AtomicBool::new(false);

/// # Safety
/// As exit(3). A guest's ends its process.
#[unsafe(no_mangle)]
unsafe extern "C" fn exit(code: c_int) -> ! {
    if let Some(machine) = program::current_machine() {
        HAS_EXITED.store(true, Ordering::Relaxed);
        program::exit(machine, code);
    }
    // SAFETY: as ours.
    unsafe { real!("exit", fn(c_int) -> !)(code) }
}

/// Functions that end a process at once. A guest's ends its process.
macro_rules! ends {
    ($($name:literal $function:ident;)*) => {$(
        /// # Safety
        /// As _exit(2).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(code: c_int) -> ! {
            if let Some(machine) = program::current_machine() {
                program::exit_now(machine, code);
            }
            // SAFETY: as ours.
            unsafe { real!($name, fn(c_int) -> !)(code) }
        }
    )*};
}

ends! {
    "_exit" _exit;
    "_Exit" _Exit;
    "quick_exit" quick_exit;
}

/// Registers a function, if a guest does.
fn register(function: ExitFunction) -> bool {
    let process = guest();
    if let Some(process) = process {
        cluster::with(process.run, |run| run.exit_functions.register(process.machine, function));
    }
    process.is_some()
}

/// Registers a function to be called at exit (Itanium C++ ABI, §3.3.5). atexit(3) is a call of this.
///
/// # Safety
/// As the compiler's runtime calls it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_atexit(
    function: extern "C" fn(*mut c_void),
    argument: *mut c_void,
    library: *mut c_void,
) -> c_int {
    if register(ExitFunction::WithArgument(function, argument)) {
        return 0;
    }
    type Function = extern "C" fn(*mut c_void);
    // SAFETY: as ours.
    unsafe {
        real!("__cxa_atexit", fn(Function, *mut c_void, *mut c_void) -> c_int)(function, argument, library)
    }
}

/// # Safety
/// As on_exit(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int {
    if register(ExitFunction::WithCode(function, argument)) {
        return 0;
    }
    type Function = extern "C" fn(c_int, *mut c_void);
    // SAFETY: as ours.
    unsafe { real!("on_exit", fn(Function, *mut c_void) -> c_int)(function, argument) }
}

/// # Safety
/// As pause(2). A second guest that calls `std::process::exit` waits here, and fails its run: the code that it was given is
/// not known. So does the real process, after a run that it made in its own; it ends as one that failed.
#[unsafe(no_mangle)]
unsafe extern "C" fn pause() -> c_int {
    let has_exited = HAS_EXITED.load(Ordering::Relaxed);
    match program::current_machine() {
        Some(machine) if has_exited => {
            machine.fail_run(
                "a second program of this process called `std::process::exit`, which works once in a process: return from \
                 `main` instead",
            );
            program::exit(machine, 1)
        }
        Some(_) => {
            let never = threads::block_on_interruptible(false, std::future::pending::<()>());
            debug_assert!(never.is_none(), "only a signal ends it");
            answer(Err(libc::EINTR))
        }
        None if has_exited => {
            let _ = writeln!(
                std::io::stderr(),
                "a program in the simulation called `std::process::exit`, after which the real process cannot end as it \
                 would have: it exits with code 101. Return from `main` instead."
            );
            // SAFETY: _exit(2) takes any code.
            unsafe { libc::_exit(101) }
        }
        // SAFETY: as ours.
        None => unsafe { real!("pause", fn() -> c_int)() },
    }
}

/// # Safety
/// As sched_yield(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_yield() -> c_int {
    match guest() {
        Some(_) => {
            threads::yield_turn();
            threads::called_in_vain();
            0
        }
        // SAFETY: as ours.
        None => unsafe { real!("sched_yield", fn() -> c_int)() },
    }
}

/// # Safety
/// As thrd_yield(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_yield() {
    // SAFETY: as ours.
    unsafe { sched_yield() };
}

/// The most bytes of a thread's name, with the zero at its end.
const NAME_ROOM: usize = 16;

/// # Safety
/// As pthread_setname_np(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setname_np(thread: libc::pthread_t, name: *const c_char) -> c_int {
    let Some(process) = guest() else {
        // SAFETY: as ours.
        return unsafe {
            real!("pthread_setname_np", fn(libc::pthread_t, *const c_char) -> c_int)(thread, name)
        };
    };
    // SAFETY: pthread_setname_np(3): it ends with a zero.
    let name = unsafe { CStr::from_ptr(name) };
    if name.to_bytes_with_nul().len() > NAME_ROOM {
        return libc::ERANGE;
    }
    name_thread(process, thread, name)
}

fn name_thread(process: Process, thread: libc::pthread_t, name: &CStr) -> c_int {
    let is_found =
        cluster::with(process.run, |run| run.name_thread(process.machine, thread, &name.to_string_lossy()));
    if is_found { 0 } else { libc::ESRCH }
}

/// # Safety
/// As pthread_getname_np(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getname_np(thread: libc::pthread_t, name: *mut c_char, room: size_t) -> c_int {
    let Some(process) = guest() else {
        // SAFETY: as ours.
        return unsafe {
            real!("pthread_getname_np", fn(libc::pthread_t, *mut c_char, size_t) -> c_int)(thread, name, room)
        };
    };
    if room < NAME_ROOM {
        return libc::ERANGE;
    }
    match thread_name(process, thread) {
        // SAFETY: pthread_getname_np(3): there is that much room.
        Some(known) => unsafe {
            name.copy_from(known.as_ptr().cast(), NAME_ROOM);
            0
        },
        None => libc::ESRCH,
    }
}

/// The name of a thread, with zeros behind it.
fn thread_name(process: Process, thread: libc::pthread_t) -> Option<[u8; NAME_ROOM]> {
    let mut name = [0; NAME_ROOM];
    cluster::with(process.run, |run| {
        let known = run.thread_name(process.machine, thread)?.as_bytes();
        let length = known.len().min(NAME_ROOM - 1);
        name[..length].copy_from_slice(&known[..length]);
        Some(name)
    })
}

/// The name of the thread; what else it sets belongs to the real process, and is refused.
///
/// What has no effect here: it is kept, and told. prctl(2) gives small numbers, or writes others to where its argument points.
fn attribute(process: Process, operation: c_int, value: c_ulong, other: c_ulong) -> Result<c_int, Errno> {
    let machine = process.machine;
    let set = |kept: c_int, value: c_ulong| {
        cluster::with(process.run, |run| run.attributes.set(machine, kept, value));
        Ok(0)
    };
    let get = |kept: c_int, default: c_ulong| {
        cluster::with(process.run, |run| run.attributes.get(machine, kept)).unwrap_or(default)
    };
    match operation {
        libc::PR_SET_DUMPABLE if value > 1 => Err(libc::EINVAL),
        libc::PR_SET_NO_NEW_PRIVS if value != 1 || other != 0 => Err(libc::EINVAL),
        libc::PR_SET_PDEATHSIG if value > 64 => Err(libc::EINVAL),
        libc::PR_SET_DUMPABLE
        | libc::PR_SET_NO_NEW_PRIVS
        | libc::PR_SET_PDEATHSIG
        | libc::PR_SET_KEEPCAPS
        | libc::PR_SET_CHILD_SUBREAPER
        | libc::PR_SET_TIMERSLACK
        | libc::PR_SET_THP_DISABLE => set(operation, value),
        libc::PR_GET_DUMPABLE => Ok(get(libc::PR_SET_DUMPABLE, 1) as c_int),
        libc::PR_GET_NO_NEW_PRIVS => Ok(get(libc::PR_SET_NO_NEW_PRIVS, 0) as c_int),
        libc::PR_GET_KEEPCAPS => Ok(get(libc::PR_SET_KEEPCAPS, 0) as c_int),
        libc::PR_GET_THP_DISABLE => Ok(get(libc::PR_SET_THP_DISABLE, 0) as c_int),
        libc::PR_GET_TIMERSLACK => Ok(get(libc::PR_SET_TIMERSLACK, 50_000) as c_int),
        libc::PR_GET_PDEATHSIG | libc::PR_GET_CHILD_SUBREAPER => {
            let kept = match operation {
                libc::PR_GET_PDEATHSIG => libc::PR_SET_PDEATHSIG,
                _ => libc::PR_SET_CHILD_SUBREAPER,
            };
            let told = get(kept, 0) as c_int;
            // SAFETY: PR_GET_PDEATHSIG(2const): it points to an int.
            unsafe { std::ptr::with_exposed_provenance_mut::<c_int>(value as usize).write(told) };
            Ok(0)
        }
        // An unprivileged process has no capability.
        libc::PR_CAPBSET_READ => Ok(0),
        libc::PR_CAPBSET_DROP => Err(libc::EPERM),
        _ => refused(process, SystemCall::Process, "refused settings of the process", libc::EINVAL),
    }
}

/// # Safety
/// As prctl(2), which takes up to four arguments beside the operation.
#[unsafe(no_mangle)]
unsafe extern "C" fn prctl(operation: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int {
    let Some(process) = guest() else {
        // SAFETY: as ours.
        return unsafe {
            real!("prctl", fn(c_int, c_ulong, c_ulong, c_ulong, c_ulong) -> c_int)(operation, a, b, c, d)
        };
    };
    // SAFETY: pthread_self(3) has no conditions.
    let this = unsafe { libc::pthread_self() };
    match operation {
        libc::PR_SET_NAME => {
            // SAFETY: PR_SET_NAME(2const): it ends with a zero, or is cut off after what there is room for.
            let name = unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(a as usize)) }.to_bytes();
            let mut cut = name[..name.len().min(NAME_ROOM - 1)].to_vec();
            cut.push(0);
            name_thread(process, this, CStr::from_bytes_with_nul(&cut).expect("one zero, at the end"))
        }
        libc::PR_GET_NAME => {
            let name: *mut u8 = std::ptr::with_exposed_provenance_mut(a as usize);
            let known = thread_name(process, this).expect("it executes");
            // SAFETY: PR_GET_NAME(2const): there is room for 16 bytes.
            unsafe { name.copy_from(known.as_ptr(), NAME_ROOM) };
            0
        }
        _ => answer(attribute(process, operation, a, b)),
    }
}
