//! The same for epoll(7): programs of pipes, pairs of sockets, eventfds and timerfds, duplicates of their descriptors, and epolls that
//! watch them and each other, at a level or at an edge.
//!
//! epoll_wait(2) may give out the events in any order, and the simulation gives out some of them at a time. So an answer is what a number
//! of calls have given altogether.

mod course; // a program in the middle of its calls
mod draw; // the program of a seed
pub(crate) mod worlds; // answers of Linux and of the simulation

pub(crate) use draw::draw;

/// A call. Descriptors have numbers that the program chose; a call on a number without one does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// pipe2(2): the reader, the writer.
    Pipe { ids: [u8; 2] },
    /// socketpair(2) of streams.
    Pair { ids: [u8; 2] },
    /// Two ends of a TCP connection on loopback.
    Connection { ids: [u8; 2] },
    /// eventfd(2).
    Event { id: u8, value: u32, is_semaphore: bool },
    /// timerfd_create(2).
    Timer { id: u8 },
    /// timerfd_settime(2), for a moment from now on if it is set.
    Arm { id: u8, is_set: bool, repeats: bool },
    /// epoll_create1(2).
    Epoll { id: u8 },
    /// epoll_ctl(2).
    Control { epoll: u8, action: Action, id: u8, events: u32 },
    /// epoll_wait(2) without waiting, some times.
    Wait { epoll: u8 },
    /// poll(2) without waiting.
    Poll { id: u8 },
    /// read(2): eight bytes, which are a number where the kernel counts, and of sockets one.
    Read { id: u8 },
    /// Reads until nothing is left.
    Drain { id: u8 },
    /// write(2): eight bytes with a number, and of sockets one.
    Write { id: u8, value: u64 },
    /// Writes until nothing more is taken.
    Fill { id: u8 },
    /// shutdown(2) of writing or reading.
    Shutdown { id: u8, is_read: bool },
    /// dup(2).
    Duplicate { id: u8, new: u8 },
    /// close(2).
    Close { id: u8 },
}

/// What epoll_ctl(2) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Add,
    Modify,
    Remove,
}
