//! Pipes (pipe(7)): bytes between threads of one process, in pages as Linux keeps them. That a pipe is full, and that a write finds room, is
//! a matter of pages: a reader that leaves a byte of one has made no room.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::{Buffers, Errno, READABLE, Read, WRITABLE};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::Cluster;

/// How many pages a pipe has, and how long one is: a write of so much or less is taken whole or not at all (`PIPE_BUF`).
const PAGES: usize = 16;
const PAGE: usize = 4_096;

#[derive(Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    pages: VecDeque<Page>,
    /// Whether it is open at the reading end, and at the writing one.
    is_open: [bool; 2],
    waiters: [Waiters; 2],
}

/// A page in use: where its bytes end, and how many of them are left to read.
#[derive(Debug, Clone, Copy)]
struct Page {
    end: usize,
    left: usize,
}

const READER: usize = 0;
const WRITER: usize = 1;

/// One end of a pipe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PipeEnd {
    pipe: u32,
    own: usize,
}

impl Pipe {
    fn is_full(&self) -> bool {
        self.pages.len() >= PAGES
    }

    /// Takes up to `n` bytes out; whether that has made room in a full pipe.
    fn consume(&mut self, mut n: usize) -> bool {
        let mut has_made_room = false;
        self.bytes.drain(..n);
        while let Some(page) = self.pages.front_mut().filter(|_| n > 0) {
            let taken = n.min(page.left);
            page.left -= taken;
            n -= taken;
            if page.left == 0 {
                has_made_room |= self.is_full();
                self.pages.pop_front();
            }
        }
        has_made_room
    }

    /// Takes in as much as there is room for: what is left of the last page is for the odd bytes of a write, if all of them fit
    /// (`anon_pipe_write()` of Linux).
    fn take(&mut self, wanted: usize) -> usize {
        let (mut left, odd) = (wanted, wanted % PAGE);
        if let Some(page) = self.pages.back_mut().filter(|page| odd > 0 && page.end + odd <= PAGE) {
            page.end += odd;
            page.left += odd;
            left -= odd;
        }
        while left > 0 && !self.is_full() {
            let length = left.min(PAGE);
            self.pages.push_back(Page { end: length, left: length });
            left -= length;
        }
        wanted - left
    }
}

impl Cluster {
    /// The end that reads, and the one that writes.
    pub(crate) fn open_pipe(&mut self) -> [PipeEnd; 2] {
        let pipes = &mut self.descriptors.pipes;
        let place = pipes.iter().position(Option::is_none).unwrap_or_else(|| {
            pipes.push(None);
            pipes.len() - 1
        });
        pipes[place] = Some(Pipe { is_open: [true; 2], ..Pipe::default() });
        [READER, WRITER].map(|own| PipeEnd { pipe: place as u32, own })
    }

    fn pipe(&mut self, end: PipeEnd) -> &mut Pipe {
        self.descriptors.pipes[end.pipe as usize].as_mut().expect("an open end has its pipe")
    }

    fn wake_pipe(&mut self, end: PipeEnd, side: usize) {
        let waiters = self.pipe(end).waiters[side].take();
        self.kernel.wake_all(waiters);
    }

    pub(super) fn close_pipe(&mut self, end: PipeEnd) {
        let pipe = self.pipe(end);
        pipe.is_open[end.own] = false;
        let is_over = pipe.is_open == [false; 2];
        for side in [READER, WRITER] {
            self.wake_pipe(end, side);
        }
        if is_over {
            self.descriptors.pipes[end.pipe as usize] = None;
        }
    }

    /// As `pipe_poll()` of Linux.
    pub(super) fn pipe_readiness(&mut self, end: PipeEnd) -> u32 {
        let pipe = self.pipe(end);
        let when = |holds: bool, event: i32| if holds { event } else { 0 };
        let ready = match end.own {
            READER => when(!pipe.bytes.is_empty(), READABLE) | when(!pipe.is_open[WRITER], libc::EPOLLHUP),
            _ => when(!pipe.is_full(), WRITABLE) | when(!pipe.is_open[READER], libc::EPOLLERR),
        };
        ready as u32
    }

    /// Both ends tell how many bytes there are to read.
    pub(super) fn pipe_available(&mut self, end: PipeEnd) -> usize {
        self.pipe(end).bytes.len()
    }

    pub(super) fn await_pipe(&mut self, end: PipeEnd, waiter: Waiter) -> Option<Waiter> {
        self.kernel.waits_for(WaitsFor::Bytes);
        self.pipe(end).waiters[end.own].add(waiter)
    }

    pub(super) fn read_pipe(
        &mut self,
        end: PipeEnd,
        buffers: &mut Buffers<'_>,
    ) -> Result<Option<Read>, Errno> {
        if end.own != READER {
            return Err(libc::EBADF);
        }
        let room = buffers.room();
        let pipe = self.pipe(end);
        let n = pipe.bytes.len().min(room);
        if n == 0 {
            return Ok((room == 0 || !pipe.is_open[WRITER]).then_some(Read::of(0)));
        }
        let (first, second) = pipe.bytes.as_slices();
        let first = &first[..first.len().min(n)];
        buffers.put(0, first);
        buffers.put(first.len(), &second[..n - first.len()]);
        if pipe.consume(n) {
            self.wake_pipe(end, WRITER);
        }
        Ok(Some(Read::of(n)))
    }

    pub(super) fn write_pipe(&mut self, end: PipeEnd, parts: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
        if end.own != WRITER {
            return Err(libc::EBADF);
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if wanted == 0 {
            return Ok(Some(0));
        }
        let pipe = self.pipe(end);
        if !pipe.is_open[READER] {
            return Err(libc::EPIPE);
        }
        let taken = pipe.take(wanted);
        pipe.bytes.extend(parts.iter().flat_map(|part| part.iter().copied()).take(taken));
        // Also by a write that finds no room: who watches edges is told again.
        self.wake_pipe(end, READER);
        Ok((taken > 0).then_some(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_counted_in_pages() {
        let mut pipe = Pipe::default();
        assert_eq!((0..20).map(|_| pipe.take(3_000)).sum::<usize>(), 16 * 3_000, "no two fit into a page");
        assert_eq!(pipe.take(1_000), 1_000, "what is left of the last page");
        assert_eq!(pipe.take(1_000), 0);
        pipe.bytes.extend([0; 16 * 3_000 + 1_000]);
        assert!(!pipe.consume(2_999), "a byte is left of a page");
        assert_eq!(pipe.take(2_000), 0);
        assert!(pipe.consume(1));
        assert_eq!(
            (pipe.take(5_000), pipe.take(1)),
            (4_096, 0),
            "the last page is for odd bytes that fit whole"
        );
    }
}
