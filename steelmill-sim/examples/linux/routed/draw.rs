//! Drawing programs on several hosts: connections and datagrams between them, cuts, and waits.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::step::{Family, How, Ip, Kind, Opt, Place, Step};
use super::{HOSTS, Move};

/// The program of a seed.
pub(crate) fn draw(seed: u64) -> Vec<Move> {
    let mut rng = StdRng::seed_from_u64(seed);
    let hosts = rng.random_range(2..=HOSTS);
    let mut drawing =
        Drawing { rng, hosts, moves: Vec::new(), sockets: Vec::new(), cuts: Vec::new(), waited: 0 };
    if drawing.chance(6) {
        drawing.cut();
    }
    for _ in 0..drawing.rng.random_range(1..=3) {
        drawing.scene();
    }
    for _ in 0..drawing.rng.random_range(4..=14) {
        drawing.one();
    }
    drawing.ending();
    drawing.moves
}

#[derive(Debug, Clone, Copy)]
struct Made {
    id: u8,
    host: u8,
    kind: Kind,
    listens: bool,
}

struct Drawing {
    rng: StdRng,
    hosts: u8,
    moves: Vec<Move>,
    sockets: Vec<Made>,
    cuts: Vec<(u8, u8)>,
    /// How long it has waited, in milliseconds.
    waited: u16,
}

/// The most time that a program waits, in milliseconds.
const WAITS: u16 = 5_000;

impl Drawing {
    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.random_range(0..one_in) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn on(&mut self, host: u8, step: Step) {
        self.moves.push(Move::On { host, step });
    }

    fn make(&mut self, host: u8, kind: Kind) -> u8 {
        let id = self.sockets.len() as u8;
        self.sockets.push(Made { id, host, kind, listens: false });
        id
    }

    fn socket(&mut self, host: u8, family: Family, kind: Kind) -> u8 {
        let id = self.make(host, kind);
        self.on(host, Step::Socket { id, family, kind });
        // Without it a small segment waits for the acknowledgement of the one before (docs/network.md).
        if kind == Kind::Stream {
            self.on(host, Step::Set { id, option: Opt::NoDelay, value: 1 });
        }
        id
    }

    /// Two hosts, mostly different ones.
    fn two(&mut self) -> (u8, u8) {
        let (first, second) = (self.rng.random_range(0..self.hosts), self.rng.random_range(0..self.hosts));
        if first == second && !self.chance(8) { (first, (second + 1) % self.hosts) } else { (first, second) }
    }

    fn scene(&mut self) {
        match self.rng.random_range(0..4) {
            0 => self.datagrams(),
            _ => self.connection(),
        }
    }

    fn family(&mut self) -> (Family, Ip) {
        match self.rng.random_range(0..6) {
            0..=2 => (Family::V4, Ip::Any4),
            3 => (Family::V4, Ip::Own4),
            4 => (Family::V6, Ip::Any6),
            _ => (Family::V6, Ip::Own6),
        }
    }

    /// A listener on one host, connections from another, and their other ends; now and then cut before they are there.
    fn connection(&mut self) {
        let (server, client) = self.two();
        let (family, ip) = self.family();
        let listener = self.socket(server, family, Kind::Stream);
        self.sockets.last_mut().expect("just made").listens = true;
        let port = self.rng.random_range(0..=3);
        self.on(server, Step::Bind { id: listener, to: Place::At(ip, port) });
        if !self.chance(20) {
            let backlog = self.of(&[8, 8, 8, 1, 0]);
            self.on(server, Step::Listen { id: listener, backlog });
        }
        for _ in 0..self.of(&[1, 1, 1, 2, 3]) {
            let id = self.socket(client, family, Kind::Stream);
            if self.chance(8) {
                self.options(client, id);
            }
            if self.chance(10) {
                self.cut_between(client, server);
            }
            self.on(client, Step::Connect { id, to: Place::Of(listener) });
            if !self.chance(5) {
                let new = self.make(server, Kind::Stream);
                self.on(server, Step::Accept { id: listener, new });
            }
        }
    }

    fn datagrams(&mut self) {
        let (one, other) = self.two();
        let (family, ip) = self.family();
        let first = self.socket(one, family, Kind::Datagram);
        let port = self.rng.random_range(0..=3);
        self.on(one, Step::Bind { id: first, to: Place::At(ip, port) });
        let second = self.socket(other, family, Kind::Datagram);
        let to = Place::Of(first);
        if self.chance(2) {
            self.on(other, Step::Connect { id: second, to });
            self.on(other, Step::Send { id: second, length: 10 });
        } else {
            self.on(other, Step::SendTo { id: second, to, length: 10 });
        }
    }

    /// What has a socket give up sooner.
    fn options(&mut self, host: u8, id: u8) {
        if self.chance(3) {
            return self.keepalive(host, id);
        }
        let (option, value) = self.of(&[
            (Opt::UserTimeout, 300),
            (Opt::UserTimeout, 1_000),
            (Opt::UserTimeout, 1_700),
            (Opt::SynCount, 1),
            (Opt::SynCount, 2),
            (Opt::Linger, 0),
            (Opt::Linger, 0),
        ]);
        self.on(host, Step::Set { id, option, value });
    }

    /// Probes for the peer after a second, in any order of the calls.
    fn keepalive(&mut self, host: u8, id: u8) {
        let count = self.of(&[1, 1, 2]);
        let mut sets =
            vec![(Opt::KeepAlive, 1), (Opt::KeepIdle, 1), (Opt::KeepInterval, 1), (Opt::KeepCount, count)];
        while !sets.is_empty() {
            let (option, value) = sets.swap_remove(self.rng.random_range(0..sets.len()));
            self.on(host, Step::Set { id, option, value });
        }
    }

    fn cut(&mut self) {
        let (from, to) = self.two();
        self.cut_between(from, to);
    }

    /// Cuts one direction or both.
    fn cut_between(&mut self, from: u8, to: u8) {
        let ways = self.of(&[&[(0, 1)][..], &[(1, 0)], &[(0, 1), (1, 0)], &[(0, 1), (1, 0)]]);
        let ends = [from, to];
        for (from, to) in ways {
            let (from, to) = (ends[*from], ends[*to]);
            self.moves.push(Move::Cut { from, to });
            self.cuts.push((from, to));
        }
    }

    fn heal(&mut self) {
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.moves.push(Move::Heal { from, to });
        }
    }

    fn wait(&mut self) {
        let millis = self.of(&[100, 300, 300, 500, 700, 900, 1_100, 1_300, 1_700, 2_500]);
        let millis = millis.min(WAITS.saturating_sub(self.waited));
        if millis >= 100 {
            self.waited += millis;
            self.moves.push(Move::Wait { millis });
        }
    }

    fn one(&mut self) {
        if self.sockets.is_empty() || self.chance(30) {
            return self.scene();
        }
        let place = self.rng.random_range(0..self.sockets.len());
        let Made { id, host, kind, listens } = self.sockets[place];
        let length = self.of(&[1, 10, 10, 100, 5_000, 30_000]);
        if listens && !self.chance(3) {
            let new = self.make(host, kind);
            return self.on(host, Step::Accept { id, new });
        }
        match self.rng.random_range(0..40) {
            0..=9 => self.on(host, Step::Send { id, length }),
            10..=14 => {
                let peek = self.chance(5);
                self.on(host, Step::Receive { id, length, peek });
            }
            15..=16 => self.on(host, Step::Drain { id }),
            17..=19 => {
                let how = self.of(&[How::Write, How::Write, How::Both, How::Read]);
                self.on(host, Step::Shutdown { id, how });
            }
            20..=22 => self.on(host, Step::Close { id }),
            23 => self.options(host, id),
            24 => self.on(host, Step::Get { id, option: Opt::Error }),
            25 => self.on(host, Step::Peer { id }),
            26 => {
                let (other, port) = (self.rng.random_range(0..self.hosts), self.rng.random_range(1..=3));
                let to = self.of(&[Place::Host4(other, port), Place::Host6(other, port)]);
                let step = self.of(&[Step::Connect { id, to }, Step::SendTo { id, to, length }]);
                self.on(host, step);
            }
            27..=30 => self.cut(),
            31..=32 => self.heal(),
            _ => self.wait(),
        }
    }

    /// Mostly heals, waits, and reads what has come.
    fn ending(&mut self) {
        if !self.cuts.is_empty() {
            self.wait();
            if !self.chance(4) {
                self.heal();
                self.wait();
            }
        }
        for place in 0..self.sockets.len() {
            let Made { id, host, listens, .. } = self.sockets[place];
            if listens {
                let new = self.make(host, Kind::Stream);
                self.on(host, Step::Accept { id, new });
            } else if self.chance(2) {
                self.on(host, Step::Receive { id, length: 40_000, peek: false });
            }
        }
    }
}
