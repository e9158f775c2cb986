//! Drawing programs: mostly what people do with sockets, and now and then what nobody does.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::carry_out::PORTS;
use super::step::{Family, How, Ip, Kind, Opt, Place, Step};

/// The program of a seed.
pub(crate) fn draw(seed: u64) -> Vec<Step> {
    let mut drawing = Drawing { rng: StdRng::seed_from_u64(seed), program: Vec::new(), sockets: Vec::new() };
    for _ in 0..drawing.rng.random_range(1..=2) {
        drawing.scene();
    }
    for _ in 0..drawing.rng.random_range(2..=12) {
        drawing.step();
    }
    if drawing.chance(8) {
        drawing.fill();
    }
    // Last, so that a seed has the program before it whatever is drawn here.
    if drawing.chance(6) {
        drawing.credentials();
    }
    if drawing.chance(20) {
        drawing.buffers();
    }
    if drawing.chance(20) {
        drawing.multicast();
    }
    if drawing.chance(6) {
        drawing.groups();
    }
    drawing.program
}

/// A socket that the program may have.
#[derive(Debug, Clone, Copy)]
struct Made {
    id: u8,
    family: Family,
    kind: Kind,
    listens: bool,
}

struct Drawing {
    rng: StdRng,
    program: Vec<Step>,
    sockets: Vec<Made>,
}

impl Drawing {
    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.random_range(0..one_in) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn add(&mut self, step: Step) {
        self.program.push(step);
    }

    fn make(&mut self, family: Family, kind: Kind) -> u8 {
        let id = self.sockets.len() as u8;
        self.sockets.push(Made { id, family, kind, listens: false });
        id
    }

    fn socket(&mut self, family: Family, kind: Kind) -> u8 {
        let id = self.make(family, kind);
        self.add(Step::Socket { id, family, kind });
        while self.chance(4) {
            self.set(id);
        }
        id
    }

    /// What most programs begin with.
    fn scene(&mut self) {
        match self.rng.random_range(0..10) {
            0..=5 => self.connection(),
            6..=7 => self.datagrams(),
            8 => {
                let kind = self.of(&[Kind::Stream, Kind::Datagram]);
                let ids = [self.make(Family::Unix, kind), self.make(Family::Unix, kind)];
                self.add(Step::Pair { ids, kind });
            }
            _ => {
                let family = self.family();
                let kind = self.of(&[Kind::Stream, Kind::Datagram]);
                self.socket(family, kind);
            }
        }
    }

    fn family(&mut self) -> Family {
        self.of(&[Family::V4, Family::V4, Family::V4, Family::V6, Family::V6, Family::Unix])
    }

    /// A listener, a connection to it, and usually its other end.
    fn connection(&mut self) {
        let family = self.family();
        let listener = self.socket(family, Kind::Stream);
        self.sockets.last_mut().expect("just made").listens = true;
        let to = self.place_of(family);
        self.add(Step::Bind { id: listener, to });
        let backlog = self.of(&[8, 8, 8, 1, 0]);
        self.add(Step::Listen { id: listener, backlog });
        for _ in 0..self.of(&[1, 1, 1, 2, 3]) {
            let family = if self.chance(8) { self.family() } else { family };
            let id = self.socket(family, Kind::Stream);
            if self.chance(6) {
                let to = self.place_of(family);
                self.add(Step::Bind { id, to });
            }
            let to = self.near(listener, to);
            self.add(Step::Connect { id, to });
            if !self.chance(5) {
                let new = self.make(family, Kind::Stream);
                self.add(Step::Accept { id: listener, new });
            }
        }
        if self.chance(4) {
            self.add(Step::Close { id: listener });
        }
    }

    fn datagrams(&mut self) {
        let family = self.family();
        for _ in 0..2 {
            let id = self.socket(family, Kind::Datagram);
            if !self.chance(4) {
                let to = self.place_of(family);
                self.add(Step::Bind { id, to });
            }
        }
        let id = self.sockets.last().expect("just made").id;
        let to = self.near(id - 1, Place::At(Ip::Loop4, 1));
        if self.chance(2) {
            self.add(Step::Connect { id, to });
        } else {
            self.add(Step::SendTo { id, to, length: 10 });
        }
    }

    /// Credentials over a pair of Unix sockets.
    fn credentials(&mut self) {
        let kind = self.of(&[Kind::Stream, Kind::Datagram]);
        let ids = [self.make(Family::Unix, kind), self.make(Family::Unix, kind)];
        self.add(Step::Pair { ids, kind });
        for _ in 0..self.rng.random_range(3..12) {
            let id = self.of(&ids);
            let (length, value) = (self.of(&[1, 2, 100]), self.of(&[0, 1, 1, 7]));
            let option = Opt::PassCredentials;
            let step = self.of(&[
                Step::Set { id, option, value },
                Step::Get { id, option },
                Step::Send { id, length },
                Step::Send { id, length },
                Step::SendCredentials { id, own: true },
                Step::ReceiveMessage { id, length },
                Step::ReceiveMessage { id, length },
                Step::PeerProcess { id },
                Step::Close { id },
            ]);
            self.add(step);
        }
    }

    fn buffers(&mut self) {
        let (family, kind) = (self.family(), self.of(&[Kind::Stream, Kind::Datagram]));
        let id = self.socket(family, kind);
        for option in [Opt::SendBuffer, Opt::ReceiveBuffer] {
            let value = self.of(&[0, 1, 5_000, 300_000, 10_000_000, -1]);
            self.add(Step::Set { id, option, value });
            self.add(Step::Get { id, option });
        }
    }

    fn multicast(&mut self) {
        /// 127.0.0.1 and an address that nobody has, in the order of the network.
        const LOOPBACK: i32 = i32::from_ne_bytes([127, 0, 0, 1]);
        const NOBODY: i32 = i32::from_ne_bytes([10, 9, 9, 9]);
        let (family, kind) = (self.family(), self.of(&[Kind::Stream, Kind::Datagram, Kind::Datagram]));
        let id = self.socket(family, kind);
        for _ in 0..4 {
            let option = self.of(&[
                Opt::MulticastInterface,
                Opt::MulticastInterface,
                Opt::MulticastAll,
                Opt::MulticastInterfaceV6,
                Opt::MulticastAllV6,
            ]);
            let value = match option {
                Opt::MulticastInterface => self.of(&[0, LOOPBACK, NOBODY]),
                _ => self.of(&[0, 1, 7, -1]),
            };
            self.add(Step::Set { id, option, value });
            self.add(Step::Get { id, option });
        }
    }

    /// Sockets that are bound, connected and sent to groups, to broadcast and to addresses of one link.
    fn groups(&mut self) {
        let port = self.of(&[0, 1, 1, 1]);
        let mut ids = Vec::new();
        for _ in 0..self.of(&[1, 2, 2, 3]) {
            let family = self.of(&[Family::V4, Family::V4, Family::V6]);
            let kind = self.of(&[Kind::Datagram, Kind::Datagram, Kind::Datagram, Kind::Stream]);
            let id = self.make(family, kind);
            ids.push((id, family));
            self.add(Step::Socket { id, family, kind });
            if self.chance(2) {
                self.add(Step::Set { id, option: Opt::ReuseAddress, value: 1 });
            }
            if self.chance(2) {
                self.add(Step::Set { id, option: Opt::Broadcast, value: 1 });
            }
            if !self.chance(3) {
                let to = self.place_of_many(family, port);
                self.add(Step::Bind { id, to });
                self.add(Step::Local { id });
            }
        }
        for _ in 0..self.rng.random_range(2..12) {
            let (id, family) = self.of(&ids);
            let (to, interface) = (self.place_of_many(family, port), self.of(&[0, 0, 1, 2, 2, 7]));
            let group = match family {
                Family::V4 => self.of(&[Ip::Group4, Ip::Group4, Ip::Group4, Ip::LimitedBroadcast]),
                _ => self.of(&[Ip::Group6, Ip::LinkGroup(0), Ip::LinkGroup(0), Ip::Own6]),
            };
            let step = match self.rng.random_range(0..16) {
                0..=1 => Step::Join { id, group, interface },
                2 => Step::Leave { id, group, interface },
                3..=6 => Step::SendTo { id, to, length: self.of(&[1, 10, 0]) },
                7 => match to {
                    // Once a connect has failed for want of a route, Linux tells of one refusal more.
                    Place::At(Ip::LimitedBroadcast | Ip::NetBroadcast | Ip::LoopBroadcast, _) => {
                        Step::Local { id }
                    }
                    _ => Step::Connect { id, to },
                },
                8 => Step::Send { id, length: 10 },
                9..=11 => Step::Receive { id, length: 100, peek: false },
                12 => Step::Peer { id },
                13 => Step::Set { id, option: self.of(&[Opt::MulticastLoop, Opt::MulticastAll]), value: 0 },
                14 => {
                    let option = match family {
                        Family::V4 => Opt::MulticastLoop,
                        _ => Opt::MulticastInterfaceV6,
                    };
                    Step::Set { id, option, value: self.of(&[0, 1, 2]) }
                }
                _ => Step::Local { id },
            };
            self.add(step);
        }
    }

    fn place_of_many(&mut self, family: Family, port: u8) -> Place {
        let ip = match family {
            Family::V4 => self.of(&[
                Ip::Any4,
                Ip::Any4,
                Ip::Own4,
                Ip::Loop4,
                Ip::Group4,
                Ip::Group4,
                Ip::Group4,
                Ip::LimitedBroadcast,
                Ip::NetBroadcast,
                Ip::LoopBroadcast,
            ]),
            _ => self.of(&[
                Ip::Any6,
                Ip::Any6,
                Ip::Own6,
                Ip::Loop6,
                Ip::Group6,
                Ip::Group6,
                Ip::LinkGroup(0),
                Ip::LinkGroup(1),
                Ip::LinkGroup(2),
                Ip::LinkGroup(7),
                Ip::MappedGroup,
                Ip::MappedBroadcast,
                Ip::LinkLocal(0),
                Ip::LinkLocal(1),
                Ip::LinkLocal(2),
            ]),
        };
        Place::At(ip, port)
    }

    /// A place that a socket of a family usually binds.
    fn place_of(&mut self, family: Family) -> Place {
        if self.chance(40) {
            return self.any_place();
        }
        let port = self.of(&[0, 1, 1, 1, 2, 3]);
        match family {
            Family::V4 => Place::At(self.of(&[Ip::Loop4, Ip::Loop4, Ip::Any4, Ip::Second4, Ip::Own4]), port),
            Family::V6 => Place::At(self.of(&[Ip::Loop6, Ip::Loop6, Ip::Any6, Ip::Mapped, Ip::Own6]), port),
            Family::Unix => {
                self.of(&[Place::Abstract(1), Place::Abstract(1), Place::Abstract(2), Place::Unnamed])
            }
        }
    }

    fn any_place(&mut self) -> Place {
        let ip = self.of(&[
            Ip::Any4,
            Ip::Loop4,
            Ip::Second4,
            Ip::Own4,
            Ip::Any6,
            Ip::Loop6,
            Ip::Mapped,
            Ip::MappedAny,
            Ip::Own6,
        ]);
        let port = self.rng.random_range(0..=PORTS.min(3) as u8);
        let places = [Place::At(ip, port), Place::At(ip, port), Place::At(ip, port), Place::Unspecified];
        let other = self.of(&places);
        if self.chance(8) { Place::Abstract(self.of(&[1, 2])) } else { other }
    }

    /// Mostly the address of a socket.
    fn near(&mut self, id: u8, or: Place) -> Place {
        match self.rng.random_range(0..12) {
            0 => or,
            1 => self.any_place(),
            _ => Place::Of(id),
        }
    }

    fn set(&mut self, id: u8) {
        let option = self.of(&[
            Opt::ReuseAddress,
            Opt::ReuseAddress,
            Opt::ReusePort,
            Opt::KeepAlive,
            Opt::Broadcast,
            Opt::Linger,
            Opt::Linger,
            Opt::OutOfBandInline,
            Opt::NoDelay,
            Opt::KeepIdle,
            Opt::KeepInterval,
            Opt::KeepCount,
            Opt::UserTimeout,
            Opt::SynCount,
            Opt::Ttl,
            Opt::Tos,
            Opt::MulticastTtl,
            Opt::MulticastLoop,
            Opt::OnlyV6,
            Opt::Hops,
        ]);
        let value = match option {
            Opt::Linger => self.of(&[0, 0, -1, 1]),
            _ => self.of(&[1, 1, 1, 0, 0, 7, -1, 255, 256, 40_000]),
        };
        self.add(Step::Set { id, option, value });
        if self.chance(3) {
            self.add(Step::Get { id, option });
        }
    }

    /// A full buffer at the end of a program: how much fits into it differs on purpose. The byte before has a reset on its way
    /// arrive first.
    fn fill(&mut self) {
        let place = self.rng.random_range(0..self.sockets.len());
        let id = self.sockets[place].id;
        self.add(Step::Send { id, length: 1 });
        self.add(Step::Fill { id });
    }

    /// Any step, on a socket that the program may have.
    fn step(&mut self) {
        if self.sockets.is_empty() || self.chance(30) {
            return self.scene();
        }
        let place = self.rng.random_range(0..self.sockets.len());
        let Made { id, family, kind, listens } = self.sockets[place];
        let length = self.of(&[1, 10, 10, 100, 5000, 0]);
        if listens && !self.chance(3) {
            let new = self.make(family, kind);
            return self.add(Step::Accept { id, new });
        }
        match self.rng.random_range(0..40) {
            0..=8 => self.add(Step::Send { id, length }),
            9..=16 => {
                let peek = self.chance(5);
                self.add(Step::Receive { id, length, peek });
            }
            17..=20 => {
                let how = self.of(&[How::Write, How::Write, How::Both, How::Read]);
                self.add(Step::Shutdown { id, how });
            }
            21..=25 => self.add(Step::Close { id }),
            26..=28 => self.add(Step::Drain { id }),
            29..=30 => self.set(id),
            31 => self.add(Step::Get { id, option: Opt::Error }),
            32 => {
                let option = self.of(&[Opt::Type, Opt::Domain, Opt::Protocol, Opt::Accepting, Opt::Error]);
                self.add(Step::Get { id, option });
            }
            33 => self.add(Step::Local { id }),
            34 => self.add(Step::Peer { id }),
            35 => self.add(Step::Available { id }),
            36 => {
                let other = self.of(&self.sockets.clone()).id;
                let place = self.place_of(family);
                let to = self.near(other, place);
                self.add(Step::SendTo { id, to, length });
            }
            37 => {
                let other = self.of(&self.sockets.clone()).id;
                let place = self.place_of(family);
                let to = self.near(other, place);
                self.add(Step::Connect { id, to });
            }
            38 => {
                let to = self.place_of(family);
                self.add(Step::Bind { id, to });
            }
            _ => {
                let backlog = self.of(&[8, 1, 0, -1]);
                self.add(Step::Listen { id, backlog });
            }
        }
    }
}
