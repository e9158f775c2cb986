//! Carrying out a program, step by step, with the calls of the thread's world: answers as text.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use super::calls::{self, Address, Errno};
use super::step::{Family, How, Ip, Kind, Opt, Place, Step};

/// How many ports of its own a program has.
pub(crate) const PORTS: u16 = 4;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

/// The host that a program runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    pub(crate) own4: Ipv4Addr,
    pub(crate) own6: Ipv6Addr,
    /// The port before the program's first one.
    pub(crate) port: u16,
}

impl Host {
    pub(crate) fn ip(&self, ip: Ip) -> IpAddr {
        let mapped = |ip: Ipv4Addr| IpAddr::V6(ip.to_ipv6_mapped());
        match ip {
            Ip::Any4 => Ipv4Addr::UNSPECIFIED.into(),
            Ip::Loop4 => Ipv4Addr::LOCALHOST.into(),
            Ip::Second4 => Ipv4Addr::new(127, 0, 0, 2).into(),
            Ip::Own4 => self.own4.into(),
            Ip::Any6 => Ipv6Addr::UNSPECIFIED.into(),
            Ip::Loop6 => Ipv6Addr::LOCALHOST.into(),
            Ip::Mapped => mapped(Ipv4Addr::LOCALHOST),
            Ip::MappedAny => mapped(Ipv4Addr::UNSPECIFIED),
            Ip::Own6 => self.own6.into(),
            Ip::Group4 => GROUP.into(),
            Ip::LimitedBroadcast => Ipv4Addr::BROADCAST.into(),
            Ip::NetBroadcast => Ipv4Addr::new(10, 255, 255, 255).into(),
            Ip::LoopBroadcast => Ipv4Addr::new(127, 255, 255, 255).into(),
            Ip::MappedGroup => mapped(GROUP),
            Ip::MappedBroadcast => mapped(Ipv4Addr::BROADCAST),
            Ip::Group6 => Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0xfb).into(),
            Ip::LinkGroup(_) => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb).into(),
            Ip::LinkLocal(_) => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9).into(),
        }
    }

    fn address(&self, ip: Ip, port: u8) -> SocketAddr {
        let port = if port == 0 { 0 } else { self.port + u16::from(port) };
        match (ip, self.ip(ip)) {
            (Ip::LinkGroup(scope) | Ip::LinkLocal(scope), IpAddr::V6(ip)) => {
                SocketAddrV6::new(ip, port, 0, scope.into()).into()
            }
            (_, ip) => SocketAddr::new(ip, port),
        }
    }
}

/// What is known of addresses, by all hosts of a program.
#[derive(Default)]
pub(crate) struct Book {
    /// Local addresses after the last step, each with the host of its socket.
    names: BTreeMap<u8, (Host, Address)>,
    /// Ports and names that the system chose, in the order in which they were seen. TCP and UDP have ports of their own, and so
    /// has each host.
    chosen: Vec<(i32, Address)>,
}

impl Book {
    fn place_of(&mut self, address: (i32, Address)) -> usize {
        let place = self.chosen.iter().position(|other| *other == address).unwrap_or_else(|| {
            self.chosen.push(address);
            self.chosen.len() - 1
        });
        place + 1
    }
}

/// A program in the middle of its steps, on one host.
pub(crate) struct Course {
    host: Host,
    sockets: BTreeMap<u8, OwnedFd>,
    /// The last known readiness.
    ready: BTreeMap<u8, i16>,
    book: Arc<Mutex<Book>>,
    /// Bytes of one socket differ from those of another, and from its own a little later.
    sent: usize,
}

/// More than any socket buffer holds.
const FILL_MAX: usize = 64 << 20;

impl Course {
    pub(crate) fn new(host: Host) -> Self {
        Self::beside(host, Arc::default())
    }

    /// The part of a program on one of several hosts, which share a book.
    pub(crate) fn beside(host: Host, book: Arc<Mutex<Book>>) -> Self {
        Self { host, sockets: BTreeMap::new(), ready: BTreeMap::new(), book, sent: 0 }
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.sockets.values()
    }

    /// Makes a step's call; what it returned.
    pub(crate) fn call(&mut self, step: Step) -> String {
        match self.attempt(step) {
            Some(Ok(value)) => value,
            Some(Err(errno)) => errno.to_string(),
            None => "no socket".into(),
        }
    }

    /// What has become of all sockets since the last step: those that are ready for something else now.
    pub(crate) fn changes(&mut self) -> String {
        let changed = self.changed();
        self.note_names();
        changed.iter().map(|(id, now)| format!(" {id}:{now}")).collect()
    }

    /// The sockets that are ready for something else than when it was asked last, and for what.
    pub(crate) fn changed(&mut self) -> Vec<(u8, String)> {
        let ready = calls::readiness(self.sockets.values());
        let mut changed = Vec::new();
        for (id, now) in self.sockets.keys().zip(ready) {
            if self.ready.insert(*id, now) != Some(now) {
                changed.push((*id, events(now)));
            }
        }
        changed
    }

    /// Notes the local addresses of all sockets, by which steps name them.
    pub(crate) fn note_names(&self) {
        let named = self.sockets.iter().filter_map(|(id, fd)| Some((*id, calls::local(fd).ok()??)));
        let named: Vec<(u8, Address)> = named.collect();
        let mut book = self.book.lock().expect("no step panics");
        book.names.retain(|_, (host, _)| host.own4 != self.host.own4);
        book.names.extend(named.into_iter().map(|(id, address)| (id, (self.host, address))));
    }

    fn attempt(&mut self, step: Step) -> Option<Result<String, Errno>> {
        let done = |result: Result<(), Errno>| result.map(|()| "ok".to_owned());
        Some(match step {
            Step::Socket { id, family, kind } => {
                let family = match family {
                    Family::V4 => libc::AF_INET,
                    Family::V6 => libc::AF_INET6,
                    Family::Unix => libc::AF_UNIX,
                };
                done(calls::socket(family, number(kind), 0).map(|fd| self.open(id, fd)))
            }
            Step::Pair { ids: [first, second], kind } => {
                done(calls::socketpair(number(kind)).map(|[a, b]| {
                    self.open(first, a);
                    self.open(second, b);
                }))
            }
            Step::Bind { id, to } => done(calls::bind(self.socket(id)?, &self.address(to)?)),
            Step::Listen { id, backlog } => done(calls::listen(self.socket(id)?, backlog)),
            Step::Connect { id, to } => {
                let (fd, to) = (self.socket(id)?, self.address(to)?);
                done(calls::connect(fd, &to))
            }
            Step::Accept { id, new } => calls::accept(self.socket(id)?).map(|(fd, peer)| {
                self.open(new, fd);
                self.text(id, peer)
            }),
            Step::Send { id, length } => self.send(id, None, length)?.map(|n| n.to_string()),
            Step::SendTo { id, to, length } => {
                let to = self.address(to)?;
                self.send(id, Some(&to), length)?.map(|n| n.to_string())
            }
            Step::Fill { id } => self.fill(id)?,
            Step::Receive { id, length, peek } => self.receive(id, length, peek)?,
            Step::Drain { id } => self.drain(id)?,
            Step::Shutdown { id, how } => {
                let how = match how {
                    How::Read => libc::SHUT_RD,
                    How::Write => libc::SHUT_WR,
                    How::Both => libc::SHUT_RDWR,
                };
                done(calls::shutdown(self.socket(id)?, how))
            }
            Step::Close { id } => {
                drop(self.sockets.remove(&id)?);
                self.ready.remove(&id);
                Ok("ok".into())
            }
            Step::Set { id, option: Opt::Linger, value } => {
                let linger = libc::linger { l_onoff: (value >= 0).into(), l_linger: value.max(0) };
                done(calls::set(self.socket(id)?, libc::SOL_SOCKET, libc::SO_LINGER, linger))
            }
            Step::Set { id, option, value } => {
                let (level, name) = option_number(option);
                done(calls::set(self.socket(id)?, level, name, value))
            }
            Step::Get { id, option: Opt::Linger } => {
                let linger = calls::get::<libc::linger>(self.socket(id)?, libc::SOL_SOCKET, libc::SO_LINGER);
                linger.map(|linger| format!("{} {}", linger.l_onoff, linger.l_linger))
            }
            Step::Get { id, option } => {
                let (level, name) = option_number(option);
                let value = calls::get::<i32>(self.socket(id)?, level, name);
                value.map(|value| match option {
                    Opt::Error if value != 0 => Errno(value).to_string(),
                    _ => value.to_string(),
                })
            }
            Step::Join { id, group, interface } => {
                let joined =
                    calls::change_group(self.socket(id)?, self.host.ip(group), interface.into(), true);
                done(joined)
            }
            Step::Leave { id, group, interface } => {
                let left =
                    calls::change_group(self.socket(id)?, self.host.ip(group), interface.into(), false);
                done(left)
            }
            Step::Local { id } => calls::local(self.socket(id)?).map(|address| self.text(id, address)),
            Step::Peer { id } => calls::peer(self.socket(id)?).map(|address| self.text(id, address)),
            Step::Available { id } => calls::count(self.socket(id)?, libc::FIONREAD).map(|n| n.to_string()),
            Step::PeerProcess { id } => {
                let found = calls::get::<libc::ucred>(self.socket(id)?, libc::SOL_SOCKET, libc::SO_PEERCRED);
                found.map(|found| whose(found).to_owned())
            }
            Step::SendCredentials { id, own } => {
                let mut credentials = calls::credentials();
                credentials.gid += u32::from(!own);
                let fd = self.socket(id)?;
                calls::send_credentials(fd, b"c", credentials).map(|n| n.to_string())
            }
            Step::ReceiveMessage { id, length } => receive_messages(self.socket(id)?, length),
        })
    }

    fn open(&mut self, id: u8, fd: OwnedFd) {
        self.ready.remove(&id);
        self.sockets.insert(id, fd);
    }

    fn socket(&self, id: u8) -> Option<&OwnedFd> {
        self.sockets.get(&id)
    }

    /// Sends in as many calls as short writes take: the simulation makes some by chance.
    fn send(&mut self, id: u8, to: Option<&Address>, length: usize) -> Option<Result<usize, Errno>> {
        let bytes: Vec<u8> = (0..length).map(|n| ((self.sent + n) * 7 % 251) as u8).collect();
        self.sent += length;
        let fd = self.socket(id)?;
        let mut sent = 0;
        loop {
            match calls::send(fd, &bytes[sent..], to) {
                Ok(n) => sent += n,
                Err(_) if sent > 0 => return Some(Ok(sent)),
                Err(errno) => return Some(Err(errno)),
            }
            if sent >= length {
                return Some(Ok(sent));
            }
        }
    }

    /// Sends large pieces, and when these find no room, single bytes. Datagrams to an Internet address always find room; when
    /// a refusal comes between them is a matter of latency.
    fn fill(&mut self, id: u8) -> Option<Result<String, Errno>> {
        let fd = self.socket(id)?;
        let option = |name| calls::get::<i32>(fd, libc::SOL_SOCKET, name);
        if option(libc::SO_TYPE) == Ok(libc::SOCK_DGRAM) && option(libc::SO_DOMAIN) != Ok(libc::AF_UNIX) {
            return None;
        }
        let bytes = vec![b'f'; 32 * 1024];
        let (mut sent, mut length) = (0, bytes.len());
        while sent < FILL_MAX {
            match calls::send(fd, &bytes[..length], None) {
                Ok(n) => sent += n,
                Err(Errno(libc::EAGAIN)) if length > 1 => length = 1,
                Err(errno) => return Some(Ok(format!("{} {errno}", if sent > 0 { "some" } else { "none" }))),
            }
        }
        Some(Ok("without end".into()))
    }

    fn receive(&mut self, id: u8, length: usize, peek: bool) -> Option<Result<String, Errno>> {
        let mut buffer = vec![0; length];
        let received = receive_all(self.socket(id)?, &mut buffer, if peek { libc::MSG_PEEK } else { 0 });
        Some(received.map(|(n, from)| {
            let sum = buffer.iter().take(n).fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(*byte));
            let from = from.map(|from| format!(" from {}", self.text(id, Some(from)))).unwrap_or_default();
            if n == 0 { format!("0{from}") } else { format!("{n} {sum:08x}{from}") }
        }))
    }

    fn drain(&mut self, id: u8) -> Option<Result<String, Errno>> {
        let mut buffer = vec![0; 64 * 1024];
        let mut some = "none";
        for _ in 0..FILL_MAX / 1024 {
            match calls::receive(self.socket(id)?, &mut buffer, 0) {
                Ok((0, _)) => return Some(Ok(format!("{some} 0"))),
                Ok(_) => some = "some",
                Err(errno) => return Some(Ok(format!("{some} {errno}"))),
            }
        }
        Some(Ok("without end".into()))
    }

    fn address(&self, place: Place) -> Option<Address> {
        Some(match place {
            Place::At(ip, port) => Address::Internet(self.host.address(ip, port)),
            Place::Of(id) => {
                let (host, address) = self.book.lock().expect("no step panics").names.get(&id)?.clone();
                if host.own4 == self.host.own4 { address } else { from_elsewhere(host, address) }
            }
            Place::Host4(number, port) | Place::Host6(number, port) => {
                let other = super::routed::host(number, self.host.port);
                let ip =
                    if matches!(place, Place::Host4(..)) { other.own4.into() } else { other.own6.into() };
                Address::Internet(SocketAddr::new(ip, self.host.port + u16::from(port)))
            }
            Place::Abstract(n) => Address::Unix(format!("\0{}-{n}", self.host.port).into_bytes()),
            Place::Unnamed => Address::Unix(Vec::new()),
            Place::Unspecified => Address::Unspecified,
        })
    }

    /// An address with the program's names for ports, the same in every run: `p1` is its first own one, `e1` the first that
    /// the system chose.
    fn text(&mut self, id: u8, address: Option<Address>) -> String {
        let socket = self.socket(id);
        let kind = socket.map_or(Ok(0), |fd| calls::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_TYPE));
        let kind = kind.unwrap_or(0);
        match address {
            None => "no address".into(),
            Some(Address::Internet(address)) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) if ip == self.host.own4 => "own4".into(),
                    IpAddr::V6(ip) if ip == self.host.own6 => "own6".into(),
                    IpAddr::V6(ip) if ip == self.host.own4.to_ipv6_mapped() => "mapped own4".into(),
                    ip => ip.to_string(),
                };
                let port = match address.port() {
                    0 => "0".into(),
                    port if (1..=PORTS).contains(&port.wrapping_sub(self.host.port)) => {
                        format!("p{}", port - self.host.port)
                    }
                    port => {
                        let port = SocketAddr::new(self.host_of(address.ip()).into(), port);
                        format!("e{}", self.place_of((kind, Address::Internet(port))))
                    }
                };
                let scope = match address {
                    SocketAddr::V6(address) if address.scope_id() != 0 => format!("%{}", address.scope_id()),
                    _ => String::new(),
                };
                format!("{ip}{scope} {port}")
            }
            Some(Address::Unix(name)) if name.is_empty() => "unnamed".into(),
            Some(Address::Unix(name)) => {
                let own = format!("\0{}-", self.host.port).into_bytes();
                match name.strip_prefix(&own[..]) {
                    Some(n) => format!("abstract {}", String::from_utf8_lossy(n)),
                    None => format!("name {}", self.place_of((kind, Address::Unix(name)))),
                }
            }
            Some(Address::Unspecified) => "unspecified".into(),
        }
    }

    fn place_of(&self, address: (i32, Address)) -> usize {
        self.book.lock().expect("no step panics").place_of(address)
    }

    /// The IPv4 address of the host that an address is of.
    fn host_of(&self, ip: IpAddr) -> Ipv4Addr {
        match ip.to_canonical() {
            IpAddr::V4(ip) if ip.octets()[0] == self.host.own4.octets()[0] => ip,
            IpAddr::V6(ip) if ip.segments()[0] == self.host.own6.segments()[0] => {
                let [a, b, c, _] = self.host.own4.octets();
                Ipv4Addr::new(a, b, c, ip.octets()[15])
            }
            _ => self.host.own4,
        }
    }
}

/// A socket's address for other hosts: that of its host, if it has any.
fn from_elsewhere(host: Host, address: Address) -> Address {
    match address {
        Address::Internet(address) if address.ip().is_unspecified() => {
            let ip = if address.is_ipv4() { host.own4.into() } else { host.own6.into() };
            Address::Internet(SocketAddr::new(ip, address.port()))
        }
        other => other,
    }
}

/// Receives a message, or bytes of a stream that one process sent in as many calls as short reads take.
fn receive_messages(fd: &OwnedFd, length: usize) -> Result<String, Errno> {
    let is_stream = calls::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Ok(libc::SOCK_STREAM);
    let receive = |buffer: &mut [u8], flags| {
        calls::receive_credentials(fd, buffer, flags).map(|(n, found)| (n, found.map_or("alone", whose)))
    };
    let mut buffer = vec![0; length];
    let (mut received, sender) = receive(&mut buffer, 0)?;
    while is_stream && 0 < received && received < length {
        let rest = &mut buffer[received..];
        if !receive(rest, libc::MSG_PEEK).is_ok_and(|(n, next)| n > 0 && next == sender) {
            break;
        }
        received += receive(rest, 0)?.0;
    }
    Ok(format!("{received} {sender}"))
}

/// Receives a datagram, or bytes of a stream in as many calls as short reads take: the simulation makes some by chance.
fn receive_all(fd: &OwnedFd, buffer: &mut [u8], flags: i32) -> Result<(usize, Option<Address>), Errno> {
    let kind = calls::get::<i32>(fd, libc::SOL_SOCKET, libc::SO_TYPE);
    let (mut received, from) = calls::receive(fd, buffer, flags)?;
    while kind == Ok(libc::SOCK_STREAM) && flags == 0 && 0 < received && received < buffer.len() {
        match calls::receive(fd, &mut buffer[received..], flags) {
            Ok((0, _)) | Err(_) => break,
            Ok((n, _)) => received += n,
        }
    }
    Ok((received, from))
}

fn number(kind: Kind) -> i32 {
    match kind {
        Kind::Stream => libc::SOCK_STREAM,
        Kind::Datagram => libc::SOCK_DGRAM,
    }
}

fn option_number(option: Opt) -> (i32, i32) {
    match option {
        Opt::ReuseAddress => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        Opt::ReusePort => (libc::SOL_SOCKET, libc::SO_REUSEPORT),
        Opt::KeepAlive => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        Opt::Broadcast => (libc::SOL_SOCKET, libc::SO_BROADCAST),
        Opt::Linger => (libc::SOL_SOCKET, libc::SO_LINGER),
        Opt::Error => (libc::SOL_SOCKET, libc::SO_ERROR),
        Opt::Type => (libc::SOL_SOCKET, libc::SO_TYPE),
        Opt::Domain => (libc::SOL_SOCKET, libc::SO_DOMAIN),
        Opt::Protocol => (libc::SOL_SOCKET, libc::SO_PROTOCOL),
        Opt::Accepting => (libc::SOL_SOCKET, libc::SO_ACCEPTCONN),
        Opt::OutOfBandInline => (libc::SOL_SOCKET, libc::SO_OOBINLINE),
        Opt::NoDelay => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        Opt::KeepIdle => (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
        Opt::KeepInterval => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
        Opt::KeepCount => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
        Opt::UserTimeout => (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
        Opt::SynCount => (libc::IPPROTO_TCP, libc::TCP_SYNCNT),
        Opt::Ttl => (libc::IPPROTO_IP, libc::IP_TTL),
        Opt::Tos => (libc::IPPROTO_IP, libc::IP_TOS),
        Opt::MulticastTtl => (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL),
        Opt::MulticastLoop => (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP),
        Opt::OnlyV6 => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        Opt::Hops => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
        Opt::PassCredentials => (libc::SOL_SOCKET, libc::SO_PASSCRED),
        Opt::SendBuffer => (libc::SOL_SOCKET, libc::SO_SNDBUF),
        Opt::ReceiveBuffer => (libc::SOL_SOCKET, libc::SO_RCVBUF),
        Opt::MulticastInterface => (libc::IPPROTO_IP, libc::IP_MULTICAST_IF),
        // ip(7) and linux/in6.h; the crate libc has no names for these.
        Opt::MulticastAll => (libc::IPPROTO_IP, 49),
        Opt::MulticastInterfaceV6 => (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF),
        Opt::MulticastAllV6 => (libc::IPPROTO_IPV6, 29),
    }
}

/// Credentials without numbers, which differ from world to world.
fn whose(found: libc::ucred) -> &'static str {
    let own = calls::credentials();
    match (found.pid, found.uid, found.gid) {
        found if found == (own.pid, own.uid, own.gid) => "own",
        (0, u32::MAX, u32::MAX) => "nobody",
        (0, 65_534, 65_534) => "unknown",
        (0, 0, 0) => "none",
        _ => "another's",
    }
}

/// Readiness as poll(2) names it.
fn events(ready: i16) -> String {
    const NAMES: [(i16, &str); 7] = [
        (libc::POLLIN, "in"),
        (libc::POLLPRI, "pri"),
        (libc::POLLOUT, "out"),
        (libc::POLLRDHUP, "rdhup"),
        (libc::POLLHUP, "hup"),
        (libc::POLLERR, "err"),
        (libc::POLLNVAL, "nval"),
    ];
    let set: Vec<&str> = NAMES.iter().filter(|(bit, _)| ready & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "nothing".into() } else { set.join("+") }
}
