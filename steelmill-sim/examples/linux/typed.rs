//! The same for typed sockets: programs of tokio's methods, on tokio's sockets and on the simulated ones.
//!
//! Each operation may wait for a moment; what is not done by then "waits", and is dropped. So a program needs no tasks, and is
//! compared by what each operation gives: a value, or an error's kind and number.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

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

/// Ports by the order in which they were seen: they differ from run to run.
#[derive(Default)]
pub(crate) struct Ports(BTreeMap<(bool, u16), usize>);

impl Ports {
    pub(crate) fn text(&mut self, is_udp: bool, address: std::net::SocketAddr) -> String {
        let next = self.0.len() + 1;
        format!("{} p{}", address.ip(), self.0.entry((is_udp, address.port())).or_insert(next))
    }
}

/// Defines `answers` for the types of a world, which the module it is used in has to name.
macro_rules! typed_world {
    () => {
        use std::collections::BTreeMap;
        use std::future::Future;
        use std::io;
        use std::net::SocketAddr;

        use futures::future::{Either, select};
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        use super::super::carry_out::Host;
        use super::{Act, Ports, Setting};

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
            let mut things = BTreeMap::new();
            let mut ports = Ports::default();
            let mut answers = Vec::new();
            for act in acts {
                let done = Box::pin(perform(network, &mut things, &mut ports, *act, host));
                let answer = match select(done, Box::pin(moment())).await {
                    Either::Left((Some(Ok(answer)), _)) => answer,
                    Either::Left((Some(Err(error)), _)) => {
                        format!("{:?} {:?}", error.kind(), error.raw_os_error())
                    }
                    Either::Left((None, _)) => "nothing".into(),
                    Either::Right(_) => "waits".into(),
                };
                // What it has sent arrives.
                moment().await;
                answers.push(answer);
            }
            answers
        }

        async fn perform(
            network: &Network,
            things: &mut BTreeMap<u8, Thing>,
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
                    let to = local(things.get(&to))?;
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
                    let to = local(things.get(&to))?;
                    let Thing::Udp(socket) = things.get(&id)? else { return None };
                    socket.send_to(&bytes(length), to).await.map(|n| n.to_string())
                }
                Act::Associate { id, to } => {
                    let to = local(things.get(&to))?;
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
                    let to = local(things.get(&to))?;
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
