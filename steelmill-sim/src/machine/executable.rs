//! The file of this program: its symbols and code (elf(5)).
#![allow(unsafe_code, reason = "mapping the file; the argument stands beside it")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::null_mut;

use super::real;

/// Maps the file of this program for reading. The mapping is never removed.
///
/// # Errors
/// When the file cannot be opened or mapped.
pub(crate) fn map() -> io::Result<&'static [u8]> {
    let file = File::open("/proc/self/exe")?;
    let length = file.metadata()?.len() as usize;
    let (protection, flags) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
    let arguments = [null_mut::<u8>().addr(), length, protection, flags, file.as_raw_fd() as usize, 0];
    let at = real::syscall(libc::SYS_mmap, arguments);
    let at = usize::try_from(at).map_err(|_| io::Error::from_raw_os_error(-at as i32))?;
    // SAFETY: mmap(2): so many bytes are mapped there for good. Linux refuses to write a file that is executed (ETXTBSY).
    Ok(unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(at), length) })
}
