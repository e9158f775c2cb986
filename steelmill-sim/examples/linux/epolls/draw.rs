//! Drawing programs of epolls and what they watch.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Action, Turn};

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const HANG_UP: u32 = libc::EPOLLRDHUP as u32;
const NORMAL: u32 = (libc::EPOLLRDNORM | libc::EPOLLWRNORM) as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const ONCE: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

/// The program of a seed.
pub(crate) fn draw(seed: u64) -> Vec<Turn> {
    let mut drawing = Drawing { rng: StdRng::seed_from_u64(seed), program: Vec::new(), epolls: 0, others: 0 };
    drawing.epoll();
    drawing.source();
    for _ in 0..drawing.rng.random_range(4..24) {
        drawing.turn();
    }
    drawing.program
}

/// Epolls have numbers from here on.
const EPOLLS: u8 = 100;

struct Drawing {
    rng: StdRng,
    program: Vec<Turn>,
    epolls: u8,
    others: u8,
}

impl Drawing {
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn made(&mut self) -> u8 {
        self.others += 1;
        self.others - 1
    }

    fn epoll(&mut self) {
        self.program.push(Turn::Epoll { id: EPOLLS + self.epolls });
        self.epolls += 1;
    }

    fn source(&mut self) {
        let turn = match self.rng.random_range(0..8) {
            0..=1 => Turn::Pipe { ids: [self.made(), self.made()] },
            2..=3 => Turn::Pair { ids: [self.made(), self.made()] },
            4..=5 => Turn::Connection { ids: [self.made(), self.made()] },
            6 => Turn::Event {
                id: self.made(),
                value: self.of(&[0, 0, 2]),
                is_semaphore: self.of(&[true, false]),
            },
            _ => Turn::Timer { id: self.made() },
        };
        self.program.push(turn);
        for id in 0..self.others {
            if self.rng.random_range(0..3) == 0 {
                self.watch(id, Action::Add);
            }
        }
    }

    fn any_epoll(&mut self) -> u8 {
        EPOLLS + self.rng.random_range(0..self.epolls)
    }

    /// The writer of a pipe, if there is one: how much others take differs on purpose.
    fn writer(&self) -> Option<u8> {
        self.program.iter().rev().find_map(|turn| match turn {
            Turn::Pipe { ids } => Some(ids[1]),
            _ => None,
        })
    }

    fn any(&mut self) -> u8 {
        self.rng.random_range(0..self.others)
    }

    fn watch(&mut self, id: u8, action: Action) {
        let how = self.of(&[0, 0, EDGE, EDGE, EDGE, ONCE, EDGE | ONCE, EXCLUSIVE, EXCLUSIVE | EDGE]);
        // At an edge one direction is not asked for alone: what happens in the other one is told as well.
        let what = match how & EDGE {
            0 => self.of(&[IN, IN, IN | OUT, OUT, IN | HANG_UP, IN | OUT | HANG_UP, IN | NORMAL, 0]),
            _ => self.of(&[IN | OUT, IN | OUT | HANG_UP]),
        };
        let epoll = self.any_epoll();
        self.program.push(Turn::Control { epoll, action, id, events: what | how });
    }

    fn turn(&mut self) {
        let (id, epoll) = (self.any(), self.any_epoll());
        let turn = match self.rng.random_range(0..40) {
            0 => return self.epoll(),
            1 => return self.source(),
            2..=5 => return self.watch(id, Action::Add),
            6..=8 => return self.watch(id, Action::Modify),
            9 => return self.watch(id, Action::Remove),
            // An epoll that is watched, now and then by itself.
            10 => {
                let action = self.of(&[Action::Add, Action::Add, Action::Remove]);
                return self.watch(epoll, action);
            }
            11..=20 => Turn::Wait { epoll },
            21..=22 => Turn::Poll { id: self.of(&[id, id, epoll]) },
            23..=25 => Turn::Read { id },
            26 => Turn::Drain { id },
            27..=31 => Turn::Write { id, value: self.of(&[1, 1, 3, 0, u64::MAX - 1, u64::MAX]) },
            32 => match self.writer() {
                Some(id) => Turn::Fill { id },
                None => Turn::Read { id },
            },
            33 => Turn::Shutdown { id, is_read: self.of(&[true, false, false]) },
            34 => Turn::Duplicate { id, new: self.made() },
            35..=36 => Turn::Close { id: self.of(&[id, id, id, epoll]) },
            _ => Turn::Arm { id, is_set: self.of(&[true, true, false]), repeats: self.of(&[true, false]) },
        };
        self.program.push(turn);
    }
}
