//! A counter that threads add to and take from (eventfd(2)): how runtimes wake their epoll.

use std::io::IoSlice;

use super::{Buffers, Errno};
use crate::kernel::waiter::Waiters;

pub(crate) struct EventCounter {
    count: u64,
    /// EFD_SEMAPHORE: a read takes one instead of all.
    is_semaphore: bool,
    pub(super) waiters: Waiters,
}

impl EventCounter {
    pub(crate) fn new(count: u64, is_semaphore: bool) -> Self {
        Self { count, is_semaphore, waiters: Waiters::default() }
    }

    pub(super) fn readiness(&self) -> u32 {
        let readable = if self.count > 0 { libc::EPOLLIN } else { 0 };
        let writable = if self.count < u64::MAX - 1 { libc::EPOLLOUT } else { 0 };
        (readable | writable) as u32
    }

    pub(super) fn read(&mut self, buffers: &mut Buffers<'_>) -> Result<Option<usize>, Errno> {
        if buffers.room() < size_of::<u64>() {
            return Err(libc::EINVAL);
        }
        if self.count == 0 {
            return Ok(None);
        }
        let taken = if self.is_semaphore { 1 } else { self.count };
        self.count -= taken;
        buffers.put(0, &taken.to_ne_bytes());
        Ok(Some(size_of::<u64>()))
    }

    pub(super) fn write(&mut self, parts: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(8).collect();
        let more = u64::from_ne_bytes(bytes.try_into().map_err(|_| libc::EINVAL)?);
        if more == u64::MAX {
            return Err(libc::EINVAL);
        }
        // The greatest count is u64::MAX - 1: a write that would pass it blocks.
        match self.count.checked_add(more).filter(|count| *count < u64::MAX) {
            Some(count) => {
                self.count = count;
                Ok(Some(size_of::<u64>()))
            }
            None => Ok(None),
        }
    }
}
