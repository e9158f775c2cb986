//! The file of this program: its symbols and code (elf(5)).
#![allow(unsafe_code, reason = "mapping the file; the argument stands beside each place")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::null_mut;

/// The file in memory. It is mapped, not read: most of a program's is debug information, which is not looked at.
pub(crate) struct Executable {
    start: *mut c_void,
    length: usize,
}

impl Executable {
    /// Maps the file of this program.
    ///
    /// # Errors
    /// When it cannot be opened or mapped.
    pub(crate) fn map() -> io::Result<Self> {
        let file = File::open("/proc/self/exe")?;
        let length = file.metadata()?.len() as usize;
        // SAFETY: a new mapping, of a file that is open.
        let start = unsafe {
            libc::mmap(null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { start, length }) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: so much is mapped until this is dropped, and the file of a program that executes is not written (ETXTBSY).
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: it is mapped, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start, self.length) };
    }
}
