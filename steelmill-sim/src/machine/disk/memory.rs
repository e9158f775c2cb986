//! Memory that mappings of a file share (mmap(2), MAP_SHARED): a file in memory of the real kernel, which holds what the file does.
//!
//! Stores to a mapping are not seen when they happen. They are found by comparison, when somebody asks what the file has.

use libc::c_long;

use crate::machine::descriptors::Errno;
use crate::machine::real;

pub(super) struct Memory {
    /// Its descriptor.
    file: usize,
    /// Whether some mapping is or was writable, so that pages may differ from those of the file.
    pub(super) is_writable: bool,
}

/// A system call on the file in memory.
fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let result = real::syscall(number, arguments);
    usize::try_from(result).map_err(|_| -result as Errno)
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = call(libc::SYS_close, [self.file, 0, 0, 0, 0, 0]);
    }
}

impl Memory {
    /// With zeros, which take no place.
    pub(super) fn new(length: u64) -> Result<Self, Errno> {
        let name = c"file of a simulated disk";
        let file =
            call(libc::SYS_memfd_create, [name.as_ptr().addr(), libc::MFD_CLOEXEC as usize, 0, 0, 0, 0])?;
        let memory = Self { file, is_writable: false };
        memory.set_length(length);
        Ok(memory)
    }

    /// Maps a part of it, as mmap(2) does.
    pub(super) fn map(
        &self,
        address: usize,
        length: usize,
        protection: i32,
        flags: i32,
        offset: u64,
    ) -> Result<usize, Errno> {
        call(
            libc::SYS_mmap,
            [address, length, protection as usize, flags as usize, self.file, offset as usize],
        )
    }

    /// Where the next page that was ever touched is, from an offset on.
    pub(super) fn touched_from(&self, offset: u64) -> Option<u64> {
        let found = call(libc::SYS_lseek, [self.file, offset as usize, libc::SEEK_DATA as usize, 0, 0, 0]);
        found.ok().map(|at| at as u64)
    }

    pub(super) fn read(&self, offset: u64, to: &mut [u8]) {
        let n = call(libc::SYS_pread64, [self.file, to.as_mut_ptr().addr(), to.len(), offset as usize, 0, 0]);
        to[n.unwrap_or(0)..].fill(0);
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        let written =
            call(libc::SYS_pwrite64, [self.file, bytes.as_ptr().addr(), bytes.len(), offset as usize, 0, 0]);
        assert_eq!(written, Ok(bytes.len()), "memory for a mapped file of a simulated disk");
    }

    pub(super) fn set_length(&self, length: u64) {
        let set = call(libc::SYS_ftruncate, [self.file, length as usize, 0, 0, 0, 0]);
        assert!(set.is_ok(), "memory for a mapped file of a simulated disk: error {set:?}");
    }

    pub(super) fn punch(&self, offset: u64, length: u64) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        if length > 0 {
            let _ =
                call(libc::SYS_fallocate, [self.file, mode as usize, offset as usize, length as usize, 0, 0]);
        }
    }
}
