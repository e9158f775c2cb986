//! Bytes between threads of one process: pipes, and socket pairs of the Unix domain (pipe(2), socketpair(2)).

use std::collections::VecDeque;
use std::io::IoSlice;

use super::{Buffers, Errno, Read};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::Cluster;

/// How many bytes a direction holds: a pipe's on Linux (pipe(7)), and about a Unix socket's.
const CAPACITY: usize = 64 * 1024;

/// Two ends with a buffer in each direction.
pub(crate) struct Pair {
    /// What an end reads.
    buffers: [VecDeque<u8>; 2],
    /// Whether an end may read, and write.
    reads: [bool; 2],
    writes: [bool; 2],
    waiters: [Waiters; 2],
    is_open: [bool; 2],
}

/// One end of a pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PairEnd {
    pair: u32,
    end: u8,
}

impl PairEnd {
    fn own(self) -> usize {
        usize::from(self.end)
    }

    fn other(self) -> usize {
        usize::from(1 - self.end)
    }
}

impl Cluster {
    /// Two connected ends. Of a pipe the first only reads, and the second only writes.
    pub(crate) fn open_pair(&mut self, is_pipe: bool) -> [PairEnd; 2] {
        let pair = Pair {
            buffers: Default::default(),
            reads: [true, !is_pipe],
            writes: [!is_pipe, true],
            waiters: Default::default(),
            is_open: [true; 2],
        };
        let pairs = &mut self.descriptors.pairs;
        let place = pairs.iter().position(Option::is_none).unwrap_or_else(|| {
            pairs.push(None);
            pairs.len() - 1
        });
        pairs[place] = Some(pair);
        [0, 1].map(|end| PairEnd { pair: place as u32, end })
    }

    fn pair(&mut self, end: PairEnd) -> &mut Pair {
        self.descriptors.pairs[end.pair as usize].as_mut().expect("an open end has its pair")
    }

    fn wake_pair(&mut self, end: PairEnd) {
        for side in [end.own(), end.other()] {
            let waiters = self.pair(end).waiters[side].take();
            self.kernel.wake_all(waiters);
        }
    }

    pub(super) fn close_pair(&mut self, end: PairEnd) {
        self.shutdown_pair(end, true, true);
        let pair = self.pair(end);
        pair.is_open[end.own()] = false;
        if !pair.is_open[end.other()] {
            self.descriptors.pairs[end.pair as usize] = None;
        }
    }

    /// shutdown(2) of a socket pair's end.
    pub(crate) fn shutdown_pair(&mut self, end: PairEnd, reads: bool, writes: bool) {
        let pair = self.pair(end);
        pair.reads[end.own()] &= !reads;
        pair.writes[end.own()] &= !writes;
        self.wake_pair(end);
    }

    pub(super) fn pair_readiness(&mut self, end: PairEnd) -> u32 {
        let pair = self.pair(end);
        let (own, other) = (end.own(), end.other());
        let is_ended = !pair.writes[other];
        let mut ready = 0;
        if !pair.buffers[own].is_empty() || is_ended && pair.reads[own] {
            ready |= libc::EPOLLIN;
        }
        if is_ended {
            ready |= libc::EPOLLRDHUP;
        }
        if !pair.is_open[other] {
            ready |= libc::EPOLLHUP;
        }
        if pair.writes[own] && (pair.buffers[other].len() < CAPACITY || !pair.reads[other]) {
            ready |= libc::EPOLLOUT;
        }
        ready as u32
    }

    pub(super) fn pair_available(&mut self, end: PairEnd) -> usize {
        self.pair(end).buffers[end.own()].len()
    }

    pub(super) fn await_pair(&mut self, end: PairEnd, waiter: Waiter) -> Option<Waiter> {
        self.kernel.waits_for(WaitsFor::Bytes);
        self.pair(end).waiters[end.own()].add(waiter)
    }

    pub(super) fn read_pair(
        &mut self,
        end: PairEnd,
        buffers: &mut Buffers<'_>,
        peek: bool,
    ) -> Result<Option<Read>, Errno> {
        let pair = self.pair(end);
        let own = end.own();
        let n = pair.buffers[own].len().min(buffers.room());
        if n == 0 {
            let is_over = !pair.reads[own] || !pair.writes[end.other()];
            return Ok(is_over.then_some(Read::of(0)));
        }
        let (first, second) = pair.buffers[own].as_slices();
        let first = &first[..first.len().min(n)];
        buffers.put(0, first);
        buffers.put(first.len(), &second[..n - first.len()]);
        if !peek {
            pair.buffers[own].drain(..n);
            self.wake_pair(end);
        }
        Ok(Some(Read::of(n)))
    }

    pub(super) fn write_pair(&mut self, end: PairEnd, parts: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
        let pair = self.pair(end);
        let (own, other) = (end.own(), end.other());
        if !pair.writes[own] || !pair.reads[other] {
            return Err(libc::EPIPE);
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        let room = CAPACITY - pair.buffers[other].len();
        if room == 0 && wanted > 0 {
            return Ok(None);
        }
        let taken = room.min(wanted);
        pair.buffers[other].extend(parts.iter().flat_map(|part| part.iter().copied()).take(taken));
        self.wake_pair(end);
        Ok(Some(taken))
    }
}
