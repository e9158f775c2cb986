//! fork(2), for a server whose children make one run each.
//!
//! A child has the thread that forked alone, and what other threads had locked stays locked in it. So the server forks
//! while no other thread of it does anything.
#![allow(unsafe_code, reason = "fork(2) and what goes with it; the argument stands beside each")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};

use crate::kernel::watchdog;

/// Makes this process end when the thread that forked it ends.
fn end_with_parent() {
    // SAFETY: prctl(2) takes a number of a signal here.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Leaves Ctrl-C to the process that started this one.
pub(crate) fn ignore_interrupts() {
    // SAFETY: no handler is set, so none can do what a handler must not.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

/// Calls `child` in a new process, which then exits, and waits for that.
///
/// # Errors
/// Those of fork(2) and waitpid(2).
pub(crate) fn in_a_child(child: impl FnOnce()) -> io::Result<ExitStatus> {
    // SAFETY: the child goes on with this thread alone. glibc makes its own locks good (fork(2), malloc), nobody else holds
    // one of Rust's meanwhile, and the watchdog's are held by this thread.
    let pid = watchdog::undisturbed(|| unsafe { libc::fork() });
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            end_with_parent();
            child();
            // SAFETY: no destructor of the parent's is this process's to run.
            unsafe { libc::_exit(0) }
        }
        pid => wait(pid),
    }
}

fn wait(pid: libc::pid_t) -> io::Result<ExitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for a write.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(ExitStatus::from_raw(status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Ends this process at once, without destructors.
pub(crate) fn end() -> ! {
    exit(0)
}

/// The same, with a code.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit(2) takes any code.
    unsafe { libc::_exit(code) }
}

/// Has a program that is started have its code, heap and stacks at the same addresses each time (personality(2)), where that may be asked
/// for: some containers forbid it.
pub(crate) fn fix_addresses(command: &mut Command) {
    // SAFETY: a system call, which does nothing that a forked process may not.
    unsafe {
        command.pre_exec(|| {
            libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
            Ok(())
        })
    };
}

/// Sends a whole file of a length, without a buffer.
///
/// # Errors
/// Those of sendfile(2).
pub(crate) fn send_all(to: &impl AsRawFd, file: &File, length: u64) -> io::Result<()> {
    let mut from = 0;
    while (from as u64) < length {
        // SAFETY: both are open, and the offset is valid for reads and writes.
        let sent = unsafe {
            libc::sendfile64(to.as_raw_fd(), file.as_raw_fd(), &raw mut from, length as usize - from as usize)
        };
        match sent {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
    Ok(())
}

/// A file in memory.
///
/// # Errors
/// Those of memfd_create(2).
pub(crate) fn file_in_memory() -> io::Result<File> {
    // SAFETY: the name ends with a zero.
    let fd = unsafe { libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC) };
    match fd {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: it was just made, and nobody else has it.
        fd => Ok(unsafe { File::from_raw_fd(fd) }),
    }
}

/// Makes a file the standard output and error of this process.
pub(crate) fn redirect_output(to: &impl AsRawFd) {
    for standard in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: dup2(2) takes any descriptors.
        unsafe { libc::dup2(to.as_raw_fd(), standard) };
    }
}
