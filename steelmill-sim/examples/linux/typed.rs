//! The same for typed sockets: programs of tokio's methods, on tokio's sockets and on the simulated ones.
//!
//! Each operation may wait for a moment; what is not done by then "waits", and is dropped. So a program needs no tasks, and is
//! compared by what each operation gives: a value, or an error's kind and number.
//!
//! On several hosts ([`Trip`]) a router forwards, and drops at times, as in [`routed`](super::routed). What comes of a timer is
//! compared where it does not hang on a moment.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::carry_out::Host;
use super::routed::Move;
use super::step::Ip;

/// An operation on the thing with a number; without one it does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// `Network::bind`.
    Bind { id: u8, ip: Ip, port: u8 },
    /// `Network::bind_udp`.
    BindUdp { id: u8, ip: Ip, port: u8 },
    /// `Network::connect` to the address of another thing.
    Connect { id: u8, to: u8 },
    /// `accept`.
    Accept { id: u8, new: u8 },
    /// `write`, or `send` to the connected peer.
    Write { id: u8, length: usize },
    /// `read`, or `recv_from`.
    Read { id: u8, length: usize },
    /// `try_read`, or `try_recv_from`.
    TryRead { id: u8, length: usize },
    /// `peek`, or `peek_from`.
    Peek { id: u8 },
    /// `send_to`.
    SendTo { id: u8, to: u8, length: usize },
    /// `connect` of a UDP socket.
    Associate { id: u8, to: u8 },
    /// `shutdown`.
    Shutdown { id: u8 },
    /// `set_zero_linger`.
    ZeroLinger { id: u8 },
    /// `take_error`.
    TakeError { id: u8 },
    /// `local_addr`.
    Local { id: u8 },
    /// `peer_addr`.
    Peer { id: u8 },
    /// `TcpSocket::new_v4`, or `new_v6`.
    Socket { id: u8, is_ipv6: bool },
    /// `bind` of a `TcpSocket`.
    BindSocket { id: u8, ip: Ip, port: u8 },
    /// A `TcpSocket`'s `set_...`.
    Set { id: u8, option: Setting, value: u32 },
    /// What it is set to.
    Get { id: u8, option: Setting },
    /// `listen` of a `TcpSocket`, which is a listener then.
    Listen { id: u8, backlog: u32 },
    /// `connect` of a `TcpSocket`, which is a stream then.
    ConnectSocket { id: u8, to: u8 },
    /// Drops it.
    Drop { id: u8 },
}

/// What a program on several hosts consists of. A thing is used on the host on which it was made.
pub(crate) type Trip = Move<Act>;

/// Options of a `TcpSocket`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    ReuseAddress,
    ReusePort,
    KeepAlive,
    NoDelay,
    ZeroLinger,
    SendBuffer,
    ReceiveBuffer,
}

/// The program of a seed.
pub(crate) fn draw(seed: u64) -> Vec<Act> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut acts = Vec::new();
    let ip = |rng: &mut StdRng| {
        let all = [Ip::Loop4, Ip::Loop4, Ip::Loop4, Ip::Any4, Ip::Loop6, Ip::Any6, Ip::Mapped, Ip::Own4];
        all[rng.random_range(0..all.len())]
    };
    let mut made = 0;
    for _ in 0..rng.random_range(1..=2) {
        if rng.random_range(0..3) == 0 {
            for _ in 0..2 {
                acts.push(Act::BindUdp { id: made, ip: ip(&mut rng), port: rng.random_range(0..2) });
                made += 1;
            }
            acts.push(Act::Associate { id: made - 1, to: made - 2 });
        } else {
            acts.push(Act::Bind { id: made, ip: ip(&mut rng), port: rng.random_range(0..2) });
            acts.push(Act::Connect { id: made + 1, to: made });
            acts.push(Act::Accept { id: made, new: made + 2 });
            made += 3;
        }
    }
    for _ in 0..rng.random_range(2..=10) {
        let (id, to) = (rng.random_range(0..made), rng.random_range(0..made));
        let length = [1, 10, 100, 5000, 0][rng.random_range(0..5)];
        acts.push(match rng.random_range(0..24) {
            0..=5 => Act::Write { id, length },
            6..=9 => Act::Read { id, length },
            10 => Act::TryRead { id, length },
            11 => Act::Peek { id },
            12 => Act::SendTo { id, to, length },
            13 => Act::Associate { id, to },
            14..=15 => Act::Shutdown { id },
            16 => Act::ZeroLinger { id },
            17 => Act::TakeError { id },
            18 => Act::Local { id },
            19 => Act::Peer { id },
            20 => {
                made += 1;
                Act::Accept { id, new: made - 1 }
            }
            _ => Act::Drop { id },
        });
    }
    // Last, so that a seed has the program before it whatever is drawn here.
    if rng.random_range(0..3) == 0 {
        draw_sockets(&mut rng, &mut acts, made);
    }
    acts
}

/// Sockets that are made, given options, bound, and made listeners and streams, in steps.
fn draw_sockets(rng: &mut StdRng, acts: &mut Vec<Act>, first: u8) {
    use Setting::*;
    let ips = [Ip::Loop4, Ip::Loop4, Ip::Any4, Ip::Own4, Ip::Loop6, Ip::Any6, Ip::Mapped];
    let options =
        [ReuseAddress, ReuseAddress, ReusePort, KeepAlive, NoDelay, ZeroLinger, SendBuffer, ReceiveBuffer];
    let ids = [first, first + 1, first + 2];
    let is_ipv6 = rng.random_range(0..3) == 0;
    for id in ids {
        acts.push(Act::Socket { id, is_ipv6: if rng.random_range(0..6) == 0 { !is_ipv6 } else { is_ipv6 } });
        let mut set = |rng: &mut StdRng| {
            let option = options[rng.random_range(0..options.len())];
            let value = [0, 1, 1, 5000][rng.random_range(0..4)];
            let read = Act::Get { id, option };
            let given = [Act::Set { id, option, value }, Act::Set { id, option, value }, read];
            acts.extend_from_slice(&given[rng.random_range(0..3)..]);
        };
        for _ in 0..rng.random_range(0..3) {
            set(rng);
        }
    }
    let place = if is_ipv6 { rng.random_range(4..7) } else { rng.random_range(0..4) };
    acts.push(Act::BindSocket { id: first, ip: ips[place], port: rng.random_range(0..2) });
    acts.push(Act::Listen { id: first, backlog: [0, 1, 8][rng.random_range(0..3)] });
    for _ in 0..rng.random_range(3..10) {
        let id = ids[rng.random_range(0..3)];
        let length = [1, 10, 100][rng.random_range(0..3)];
        acts.push(match rng.random_range(0..14) {
            0..=1 => {
                Act::BindSocket { id, ip: ips[rng.random_range(0..ips.len())], port: rng.random_range(0..2) }
            }
            2..=5 => Act::ConnectSocket { id: ids[rng.random_range(1..3)], to: first },
            6..=7 => Act::Accept { id: first, new: first + 3 },
            8 => Act::Local { id },
            9 => Act::TakeError { id },
            10 => Act::Write { id, length },
            11 => Act::Read { id: first + 3, length },
            12 => Act::Listen { id, backlog: 8 },
            _ => Act::Drop { id },
        });
    }
}

/// Drawing a program on several hosts.
struct Drawing {
    rng: StdRng,
    hosts: u8,
    trips: Vec<Trip>,
    /// Where things are, by number.
    homes: Vec<u8>,
    cuts: Vec<(u8, u8)>,
}

/// The program of a seed on several hosts.
pub(crate) fn draw_on_hosts(seed: u64) -> Vec<Trip> {
    let mut rng = StdRng::seed_from_u64(seed);
    let hosts = rng.random_range(2..=3);
    let mut drawing = Drawing { rng, hosts, trips: Vec::new(), homes: Vec::new(), cuts: Vec::new() };
    for _ in 0..drawing.rng.random_range(1..=2) {
        drawing.scene();
    }
    for _ in 0..drawing.rng.random_range(3..=12) {
        drawing.one();
    }
    drawing.heal();
    drawing.trips.push(Trip::Wait { millis: 900 });
    for id in 0..drawing.homes.len() as u8 {
        drawing.on(id, Act::Read { id, length: 40_000 });
    }
    drawing.trips
}

impl Drawing {
    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.random_range(0..one_in) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn make(&mut self, host: u8) -> u8 {
        self.homes.push(host);
        self.homes.len() as u8 - 1
    }

    /// An operation on a thing, where that is.
    fn on(&mut self, id: u8, act: Act) {
        let host = self.homes[usize::from(id)];
        self.trips.push(Trip::On { host, step: act });
    }

    /// Two things on two hosts: a listener and a stream, with the stream's other end, or two UDP sockets.
    fn scene(&mut self) {
        let server = self.rng.random_range(0..self.hosts);
        let client = (server + self.rng.random_range(1..self.hosts)) % self.hosts;
        let ip = self.of(&[Ip::Any4, Ip::Own4, Ip::Any6, Ip::Own6]);
        let (first, second, port) = (self.make(server), self.make(client), self.rng.random_range(0..2));
        if self.chance(4) {
            let any = if matches!(ip, Ip::Any4 | Ip::Own4) { Ip::Any4 } else { Ip::Any6 };
            self.on(first, Act::BindUdp { id: first, ip, port });
            self.on(second, Act::BindUdp { id: second, ip: any, port: 0 });
            return self.on(second, Act::Associate { id: second, to: first });
        }
        self.on(first, Act::Bind { id: first, ip, port });
        if self.chance(8) {
            self.cut(server, client);
        }
        if self.chance(4) {
            let is_ipv6 = matches!(ip, Ip::Any6 | Ip::Own6);
            self.on(second, Act::Socket { id: second, is_ipv6 });
            let option = self.of(&[Setting::KeepAlive, Setting::NoDelay, Setting::ZeroLinger]);
            self.on(second, Act::Set { id: second, option, value: 1 });
            self.on(second, Act::ConnectSocket { id: second, to: first });
        } else {
            self.on(second, Act::Connect { id: second, to: first });
        }
        let new = self.make(server);
        self.on(first, Act::Accept { id: first, new });
    }

    fn one(&mut self) {
        let all = self.homes.len() as u8;
        let (id, to) = (self.rng.random_range(0..all), self.rng.random_range(0..all));
        let length = self.of(&[1, 10, 100, 5_000, 30_000]);
        match self.rng.random_range(0..30) {
            0..=6 => self.on(id, Act::Write { id, length }),
            7..=10 => self.on(id, Act::Read { id, length }),
            11 => self.on(id, Act::TryRead { id, length }),
            12 => self.on(id, Act::Peek { id }),
            13 => self.on(id, Act::SendTo { id, to, length }),
            14..=15 => self.on(id, Act::Shutdown { id }),
            16 => self.on(id, Act::ZeroLinger { id }),
            17 => self.on(id, Act::TakeError { id }),
            18 => self.on(id, Act::Peer { id }),
            19..=20 => self.on(id, Act::Drop { id }),
            21..=24 => {
                let from = self.rng.random_range(0..self.hosts);
                self.cut(from, (from + 1) % self.hosts);
            }
            25..=26 => self.heal(),
            _ => {
                let millis = self.of(&[100, 300, 700, 1_100]);
                self.trips.push(Trip::Wait { millis });
            }
        }
    }

    /// Cuts one direction or both.
    fn cut(&mut self, one: u8, other: u8) {
        for (from, to) in self.of(&[&[(0, 1)][..], &[(1, 0)], &[(0, 1), (1, 0)]]).iter().copied() {
            let (from, to) = ([one, other][from], [one, other][to]);
            self.trips.push(Trip::Cut { from, to });
            self.cuts.push((from, to));
        }
    }

    fn heal(&mut self) {
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.trips.push(Trip::Heal { from, to });
        }
    }
}

/// Ports by the order in which they were seen: they differ from run to run. On several hosts one number is of several ports.
#[derive(Default)]
pub(crate) struct Ports {
    seen: BTreeMap<(bool, Option<std::net::IpAddr>, u16), usize>,
    has_hosts: bool,
}

impl Ports {
    pub(crate) fn text(&mut self, is_udp: bool, address: std::net::SocketAddr) -> String {
        let next = self.seen.len() + 1;
        let key = (is_udp, self.has_hosts.then_some(address.ip()), address.port());
        format!("{} p{}", address.ip(), self.seen.entry(key).or_insert(next))
    }
}

/// The address of a thing, as it is to be used on another host: that of its own host, if it has none.
pub(crate) fn seen_from(
    at: Option<&Host>,
    host: Host,
    address: Option<std::net::SocketAddr>,
) -> Option<std::net::SocketAddr> {
    let mut address = address?;
    if let Some(at) = at.filter(|at| at.own4 != host.own4 && address.ip().is_unspecified()) {
        address.set_ip(if address.is_ipv4() { at.own4.into() } else { at.own6.into() });
    }
    Some(address)
}

/// Defines `answers` for the types of a world, which the module it is used in has to name.
macro_rules! typed_world {
    () => {
        use std::collections::BTreeMap;
        use std::future::Future;
        use std::io;
        use std::net::SocketAddr;
        use std::time::Duration;

        use futures::future::{Either, select};
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        use super::super::carry_out::Host;
        use super::super::routed::MOMENT;
        use super::{Act, Ports, Setting, Trip, seen_from};

        enum Thing {
            Listener(TcpListener),
            Stream(TcpStream),
            Udp(UdpSocket),
            Socket(TcpSocket),
        }

        fn set(socket: &TcpSocket, option: Setting, value: u32) -> io::Result<()> {
            match option {
                Setting::ReuseAddress => socket.set_reuseaddr(value > 0),
                Setting::ReusePort => socket.set_reuseport(value > 0),
                Setting::KeepAlive => socket.set_keepalive(value > 0),
                Setting::NoDelay => socket.set_nodelay(value > 0),
                Setting::ZeroLinger => socket.set_zero_linger(),
                Setting::SendBuffer => socket.set_send_buffer_size(value),
                Setting::ReceiveBuffer => socket.set_recv_buffer_size(value),
            }
        }

        /// What an option is set to. Buffers that were not set have other sizes here than on Linux.
        fn get(socket: &TcpSocket, option: Setting) -> Option<io::Result<String>> {
            Some(match option {
                Setting::ReuseAddress => socket.reuseaddr().map(|on| on.to_string()),
                Setting::ReusePort => socket.reuseport().map(|on| on.to_string()),
                Setting::KeepAlive => socket.keepalive().map(|on| on.to_string()),
                Setting::NoDelay => socket.nodelay().map(|on| on.to_string()),
                Setting::ZeroLinger => socket.linger().map(|time| format!("{time:?}")),
                Setting::SendBuffer | Setting::ReceiveBuffer => return None,
            })
        }

        /// The answers of this world, one for each operation. `moment` is how long an operation may wait.
        pub(crate) async fn answers<M: Future<Output = ()>>(
            network: &Network,
            acts: &[Act],
            host: Host,
            moment: impl Fn() -> M,
        ) -> Vec<String> {
            let mut course = Course::default();
            let mut answers = Vec::new();
            for act in acts {
                answers.push(course.answer(network, *act, host, &moment).await);
            }
            answers
        }

        /// The answers of this world on several hosts. `router` is told what is next.
        pub(crate) async fn answers_on_hosts<M: Future<Output = ()>>(
            networks: &[Network],
            hosts: &[Host],
            trips: &[Trip],
            moment: impl Fn(Duration) -> M,
            mut router: impl FnMut(Trip),
            length: Duration,
        ) -> Vec<String> {
            let mut course =
                Course { ports: Ports { has_hosts: true, ..Ports::default() }, ..Course::default() };
            let mut answers = Vec::new();
            for trip in trips {
                router(*trip);
                answers.push(match *trip {
                    Trip::On { host, step: act } => {
                        let (network, host) = (&networks[usize::from(host)], hosts[usize::from(host)]);
                        course.answer(network, act, host, &|| moment(length)).await
                    }
                    Trip::Cut { .. } | Trip::Heal { .. } => {
                        moment(length).await;
                        "ok".into()
                    }
                    Trip::Wait { millis } => {
                        // In proportion to moments, which a look for what hangs on one has shorter and longer.
                        moment(length * millis.into() / MOMENT.as_millis() as u32).await;
                        "waited".into()
                    }
                });
            }
            answers
        }

        /// A program in the middle of its operations.
        #[derive(Default)]
        struct Course {
            things: BTreeMap<u8, Thing>,
            homes: BTreeMap<u8, Host>,
            ports: Ports,
        }

        impl Course {
            async fn answer<M: Future<Output = ()>>(
                &mut self,
                network: &Network,
                act: Act,
                host: Host,
                moment: &impl Fn() -> M,
            ) -> String {
                let Self { things, homes, ports } = self;
                let done = Box::pin(perform(network, things, homes, ports, act, host));
                let answer = match select(done, Box::pin(moment())).await {
                    Either::Left((Some(Ok(answer)), _)) => answer,
                    Either::Left((Some(Err(error)), _)) => {
                        format!("{:?} {:?}", error.kind(), error.raw_os_error())
                    }
                    Either::Left((None, _)) => "nothing".into(),
                    Either::Right(_) => "waits".into(),
                };
                homes.retain(|id, _| things.contains_key(id));
                things.keys().for_each(|id| {
                    homes.entry(*id).or_insert(host);
                });
                // What it has sent arrives.
                moment().await;
                answer
            }
        }

        async fn perform(
            network: &Network,
            things: &mut BTreeMap<u8, Thing>,
            homes: &BTreeMap<u8, Host>,
            ports: &mut Ports,
            act: Act,
            host: Host,
        ) -> Option<io::Result<String>> {
            let local = |thing: Option<&Thing>| match thing? {
                Thing::Listener(listener) => listener.local_addr().ok(),
                Thing::Stream(stream) => stream.local_addr().ok(),
                Thing::Udp(socket) => socket.local_addr().ok(),
                Thing::Socket(socket) => socket.local_addr().ok(),
            };
            let sum =
                |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum * 31 % 65_521 + u32::from(*byte));
            let bytes = |length: usize| -> Vec<u8> { (0..length).map(|n| (n % 251) as u8).collect() };
            let at = |ip, port: u8| SocketAddr::new(host.ip(ip), if port == 0 { 0 } else { host.port + 1 });
            Some(match act {
                Act::Bind { id, ip, port } => network.bind(at(ip, port)).await.map(|listener| {
                    things.insert(id, Thing::Listener(listener));
                    "ok".into()
                }),
                Act::BindUdp { id, ip, port } => network.bind_udp(at(ip, port)).await.map(|socket| {
                    things.insert(id, Thing::Udp(socket));
                    "ok".into()
                }),
                Act::Connect { id, to } => {
                    let to = seen_from(homes.get(&to), host, local(things.get(&to)))?;
                    network.connect(to).await.map(|stream| {
                        things.insert(id, Thing::Stream(stream));
                        "ok".into()
                    })
                }
                Act::Accept { id, new } => {
                    let Thing::Listener(listener) = things.get(&id)? else { return None };
                    listener.accept().await.map(|(stream, peer)| {
                        things.insert(new, Thing::Stream(stream));
                        ports.text(false, peer)
                    })
                }
                Act::Write { id, length } => match things.get_mut(&id)? {
                    Thing::Stream(stream) => stream.write(&bytes(length)).await.map(|n| n.to_string()),
                    Thing::Udp(socket) => socket.send(&bytes(length)).await.map(|n| n.to_string()),
                    Thing::Listener(_) | Thing::Socket(_) => return None,
                },
                Act::Read { id, length } => {
                    let mut buffer = vec![0; length];
                    match things.get_mut(&id)? {
                        Thing::Stream(stream) => {
                            stream.read(&mut buffer).await.map(|n| format!("{n} {}", sum(&buffer[..n])))
                        }
                        Thing::Udp(socket) => socket
                            .recv_from(&mut buffer)
                            .await
                            .map(|(n, from)| format!("{n} {} {}", sum(&buffer[..n]), ports.text(true, from))),
                        Thing::Listener(_) | Thing::Socket(_) => return None,
                    }
                }
                Act::TryRead { id, length } => {
                    let mut buffer = vec![0; length];
                    match things.get(&id)? {
                        Thing::Stream(stream) => {
                            stream.try_read(&mut buffer).map(|n| format!("{n} {}", sum(&buffer[..n])))
                        }
                        Thing::Udp(socket) => socket
                            .try_recv_from(&mut buffer)
                            .map(|(n, from)| format!("{n} {} {}", sum(&buffer[..n]), ports.text(true, from))),
                        Thing::Listener(_) | Thing::Socket(_) => return None,
                    }
                }
                Act::Peek { id } => {
                    let mut buffer = [0; 16];
                    match things.get(&id)? {
                        Thing::Stream(stream) => stream.peek(&mut buffer).await.map(|n| n.to_string()),
                        Thing::Udp(socket) => socket
                            .peek_from(&mut buffer)
                            .await
                            .map(|(n, from)| format!("{n} {}", ports.text(true, from))),
                        Thing::Listener(_) | Thing::Socket(_) => return None,
                    }
                }
                Act::SendTo { id, to, length } => {
                    let to = seen_from(homes.get(&to), host, local(things.get(&to)))?;
                    let Thing::Udp(socket) = things.get(&id)? else { return None };
                    socket.send_to(&bytes(length), to).await.map(|n| n.to_string())
                }
                Act::Associate { id, to } => {
                    let to = seen_from(homes.get(&to), host, local(things.get(&to)))?;
                    let Thing::Udp(socket) = things.get(&id)? else { return None };
                    socket.connect(to).await.map(|()| "ok".into())
                }
                Act::Shutdown { id } => {
                    let Thing::Stream(stream) = things.get_mut(&id)? else { return None };
                    stream.shutdown().await.map(|()| "ok".into())
                }
                Act::ZeroLinger { id } => {
                    let Thing::Stream(stream) = things.get(&id)? else { return None };
                    stream.set_zero_linger().map(|()| "ok".into())
                }
                Act::TakeError { id } => match things.get(&id)? {
                    Thing::Stream(stream) => stream.take_error(),
                    Thing::Udp(socket) => socket.take_error(),
                    Thing::Socket(socket) => socket.take_error(),
                    Thing::Listener(_) => return None,
                }
                .map(|error| error.map_or("none".into(), |error| format!("{:?}", error.raw_os_error()))),
                Act::Local { id } => {
                    let thing = things.get(&id)?;
                    let is_udp = matches!(thing, Thing::Udp(_));
                    Ok(local(Some(thing)).map_or("none".into(), |address| ports.text(is_udp, address)))
                }
                Act::Peer { id } => match things.get(&id)? {
                    Thing::Stream(stream) => stream.peer_addr().map(|address| ports.text(false, address)),
                    Thing::Udp(socket) => socket.peer_addr().map(|address| ports.text(true, address)),
                    Thing::Listener(_) | Thing::Socket(_) => return None,
                },
                Act::Socket { id, is_ipv6 } => {
                    let made = if is_ipv6 { network.tcp_socket_v6() } else { network.tcp_socket_v4() };
                    made.map(|socket| {
                        things.insert(id, Thing::Socket(socket));
                        "ok".into()
                    })
                }
                Act::BindSocket { id, ip, port } => {
                    let Thing::Socket(socket) = things.get(&id)? else { return None };
                    socket.bind(at(ip, port)).map(|()| "ok".into())
                }
                Act::Set { id, option, value } => {
                    let Thing::Socket(socket) = things.get(&id)? else { return None };
                    set(socket, option, value).map(|()| "ok".into())
                }
                Act::Get { id, option } => {
                    let Thing::Socket(socket) = things.get(&id)? else { return None };
                    return get(socket, option);
                }
                Act::Listen { id, backlog } => {
                    let Some(Thing::Socket(socket)) = things.remove(&id) else { return None };
                    socket.listen(backlog).map(|listener| {
                        things.insert(id, Thing::Listener(listener));
                        "ok".into()
                    })
                }
                Act::ConnectSocket { id, to } => {
                    let to = seen_from(homes.get(&to), host, local(things.get(&to)))?;
                    let Some(Thing::Socket(socket)) = things.remove(&id) else { return None };
                    socket.connect(to).await.map(|stream| {
                        things.insert(id, Thing::Stream(stream));
                        "ok".into()
                    })
                }
                Act::Drop { id } => {
                    drop(things.remove(&id)?);
                    Ok("ok".into())
                }
            })
        }
    };
}

/// tokio's sockets.
pub(crate) mod real {
    use steelmill_core::AddressError;
    use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

    /// What a machine's network is in the simulation.
    pub(crate) struct Network;

    impl Network {
        async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
            TcpListener::bind(address).await.map_err(|error| AddressError::listen(address, error))
        }

        async fn bind_udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
            UdpSocket::bind(address).await.map_err(|error| AddressError::listen(address, error))
        }

        async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
            TcpStream::connect(address).await.map_err(|error| AddressError::connect(address, error))
        }

        #[expect(clippy::unused_self, reason = "a machine's network has it")]
        fn tcp_socket_v4(&self) -> io::Result<TcpSocket> {
            TcpSocket::new_v4()
        }

        #[expect(clippy::unused_self, reason = "a machine's network has it")]
        fn tcp_socket_v6(&self) -> io::Result<TcpSocket> {
            TcpSocket::new_v6()
        }
    }

    typed_world!();
}

/// The simulated ones.
pub(crate) mod simulated {
    use steelmill_sim::{Network, TcpListener, TcpSocket, TcpStream, UdpSocket};

    typed_world!();
}
