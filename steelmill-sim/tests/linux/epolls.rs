//! epoll(7) and what it watches: pipes, sockets, eventfds, timerfds, other epolls.

use super::epolls_answer;
use super::linux::epolls::{Action::*, Turn::*};

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
const ONCE: u32 = libc::EPOLLONESHOT as u32;
const HANG_UP: u32 = libc::EPOLLRDHUP as u32;

#[test]
fn each_end_of_a_pipe_has_its_direction() {
    epolls_answer(&[
        (Pipe { ids: [0, 1] }, "ok"),
        (Read { id: 1 }, "EBADF"),
        (Write { id: 0, value: 0 }, "EBADF"),
        (Shutdown { id: 0, is_read: true }, "ENOTSOCK"),
    ]);
}

#[test]
fn a_pipe_hangs_up_for_its_reader_and_fails_for_its_writer() {
    epolls_answer(&[
        (Pipe { ids: [0, 1] }, "ok"),
        (Poll { id: 0 }, "0 0x0"),
        (Poll { id: 1 }, "1 0x104"),
        (Write { id: 1, value: 1 }, "8"),
        (Close { id: 1 }, "ok"),
        (Poll { id: 0 }, "1 0x51"),
        (Drain { id: 0 }, "some 0"),
        (Poll { id: 0 }, "1 0x10"),
        (Pipe { ids: [2, 3] }, "ok"),
        (Close { id: 2 }, "ok"),
        (Poll { id: 3 }, "1 0x10c"),
        (Write { id: 3, value: 1 }, "EPIPE"),
    ]);
}

#[test]
fn a_full_pipe_has_room_when_a_page_is_read_and_says_so_at_an_edge() {
    epolls_answer(&[
        (Epoll { id: 100 }, "ok"),
        (Pipe { ids: [0, 1] }, "ok"),
        (Control { epoll: 100, action: Add, id: 0, events: IN | OUT | HANG_UP | EDGE }, "ok"),
        (Control { epoll: 100, action: Add, id: 1, events: IN | OUT | HANG_UP | EDGE }, "ok"),
        (Wait { epoll: 100 }, "1:0x4"),
        (Fill { id: 1 }, "some EAGAIN"),
        (Wait { epoll: 100 }, "0:0x1"),
        (Fill { id: 1 }, "none EAGAIN"),
        (Wait { epoll: 100 }, "0:0x1"),
        (Read { id: 0 }, "8 506381209866536711"),
        (Poll { id: 1 }, "0 0x0"),
        (Drain { id: 0 }, "some EAGAIN"),
        (Wait { epoll: 100 }, "1:0x4"),
    ]);
}

#[test]
fn a_hang_up_is_told_to_an_interest_in_nothing_but_not_to_one_that_is_disarmed() {
    epolls_answer(&[
        (Epoll { id: 100 }, "ok"),
        (Pair { ids: [0, 1] }, "ok"),
        (Control { epoll: 100, action: Add, id: 0, events: 0 }, "ok"),
        (Pair { ids: [2, 3] }, "ok"),
        (Control { epoll: 100, action: Add, id: 2, events: OUT | ONCE }, "ok"),
        (Wait { epoll: 100 }, "2:0x4"),
        (Close { id: 1 }, "ok"),
        (Close { id: 3 }, "ok"),
        (Wait { epoll: 100 }, "0:0x10"),
    ]);
}

#[test]
fn a_timer_is_told_once_at_an_edge() {
    epolls_answer(&[
        (Epoll { id: 100 }, "ok"),
        (Timer { id: 0 }, "ok"),
        (Control { epoll: 100, action: Add, id: 0, events: IN | EDGE }, "ok"),
        (Arm { id: 0, is_set: true, repeats: true }, "ok"),
        (Wait { epoll: 100 }, "0:0x1"),
        (Wait { epoll: 100 }, ""),
        (Read { id: 0 }, "8 1"),
        (Wait { epoll: 100 }, ""),
    ]);
}

#[test]
fn an_epoll_is_readable_while_it_has_something_to_tell() {
    epolls_answer(&[
        (Epoll { id: 100 }, "ok"),
        (Epoll { id: 101 }, "ok"),
        (Event { id: 0, value: 0, is_semaphore: false }, "ok"),
        (Control { epoll: 100, action: Add, id: 0, events: IN }, "ok"),
        (Control { epoll: 101, action: Add, id: 100, events: IN }, "ok"),
        (Write { id: 0, value: 2 }, "8"),
        (Wait { epoll: 101 }, "100:0x1"),
        (Wait { epoll: 100 }, "0:0x1"),
        (Poll { id: 100 }, "1 0x41"),
        (Read { id: 0 }, "8 2"),
        (Poll { id: 100 }, "0 0x0"),
        (Wait { epoll: 101 }, ""),
    ]);
}

#[test]
fn epolls_watch_each_other_in_no_loop_and_not_too_deep() {
    epolls_answer(&[
        (Epoll { id: 100 }, "ok"),
        (Epoll { id: 101 }, "ok"),
        (Epoll { id: 102 }, "ok"),
        (Epoll { id: 103 }, "ok"),
        (Epoll { id: 104 }, "ok"),
        (Epoll { id: 105 }, "ok"),
        (Control { epoll: 100, action: Add, id: 100, events: IN }, "EINVAL"),
        (Control { epoll: 100, action: Add, id: 101, events: IN }, "ok"),
        (Control { epoll: 101, action: Add, id: 102, events: IN }, "ok"),
        (Control { epoll: 102, action: Add, id: 100, events: IN }, "ELOOP"),
        (Control { epoll: 102, action: Add, id: 103, events: IN }, "ok"),
        (Control { epoll: 103, action: Add, id: 104, events: IN }, "ok"),
        (Control { epoll: 104, action: Add, id: 105, events: IN }, "ELOOP"),
    ]);
}

#[test]
fn normal_data_is_of_all_but_counters() {
    epolls_answer(&[
        (Pair { ids: [0, 1] }, "ok"),
        (Poll { id: 0 }, "1 0x304"),
        (Connection { ids: [2, 3] }, "ok"),
        (Write { id: 2, value: 1 }, "1"),
        (Poll { id: 3 }, "1 0x145"),
        (Event { id: 4, value: 2, is_semaphore: false }, "ok"),
        (Poll { id: 4 }, "1 0x5"),
        (Epoll { id: 100 }, "ok"),
        (Control { epoll: 100, action: Add, id: 3, events: libc::EPOLLRDNORM as u32 }, "ok"),
        (Wait { epoll: 100 }, "3:0x40"),
        (
            Control { epoll: 100, action: Add, id: 2, events: IN | EXCLUSIVE | libc::EPOLLRDNORM as u32 },
            "EINVAL",
        ),
    ]);
}
