//! Programs: what a fuzzer draws, both worlds carry out, and a test has as a literal.

/// One call, or what is between calls. Sockets have numbers that the program chose; a step on a number without a socket does
/// nothing, so that any step can be taken out of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// socket(2).
    Socket { id: u8, family: Family, kind: Kind },
    /// socketpair(2).
    Pair { ids: [u8; 2], kind: Kind },
    /// bind(2).
    Bind { id: u8, to: Place },
    /// listen(2).
    Listen { id: u8, backlog: i32 },
    /// connect(2).
    Connect { id: u8, to: Place },
    /// accept(2): the accepted socket gets number `new`.
    Accept { id: u8, new: u8 },
    /// send(2) of so many bytes.
    Send { id: u8, length: usize },
    /// sendto(2).
    SendTo { id: u8, to: Place, length: usize },
    /// Sends until nothing more is taken.
    Fill { id: u8 },
    /// recvfrom(2).
    Receive { id: u8, length: usize, peek: bool },
    /// Receives until nothing is left.
    Drain { id: u8 },
    /// shutdown(2).
    Shutdown { id: u8, how: How },
    /// close(2).
    Close { id: u8 },
    /// setsockopt(2).
    Set { id: u8, option: Opt, value: i32 },
    /// getsockopt(2).
    Get { id: u8, option: Opt },
    /// setsockopt(2) with `IP_ADD_MEMBERSHIP` or `IPV6_ADD_MEMBERSHIP`, at the interface with an index; 0 for any.
    Join { id: u8, group: Ip, interface: u8 },
    /// setsockopt(2) with `IP_DROP_MEMBERSHIP` or `IPV6_DROP_MEMBERSHIP`, likewise.
    Leave { id: u8, group: Ip, interface: u8 },
    /// getsockname(2).
    Local { id: u8 },
    /// getpeername(2).
    Peer { id: u8 },
    /// ioctl(2) with `FIONREAD`.
    Available { id: u8 },
    /// getsockopt(2) with `SO_PEERCRED`.
    PeerProcess { id: u8 },
    /// sendmsg(2) of a byte with credentials: the process's own, or another's.
    SendCredentials { id: u8, own: bool },
    /// recvmsg(2), with room for credentials.
    ReceiveMessage { id: u8, length: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
    Unix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Datagram,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Read,
    Write,
    Both,
}

/// Where to bind, connect or send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// An IP address, and one of the program's ports; 0 is port 0.
    At(Ip, u8),
    /// The local address of a socket, as it was after the step before. From another host it is that of the socket's host, if it
    /// has none.
    Of(u8),
    /// The IPv4 address of the host with a number, and one of the program's ports.
    Host4(u8, u8),
    /// Its IPv6 address.
    Host6(u8, u8),
    /// An abstract name of the Unix domain.
    Abstract(u8),
    /// The empty name of the Unix domain, for which bind(2) chooses one.
    Unnamed,
    /// `AF_UNSPEC`.
    Unspecified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ip {
    /// 0.0.0.0
    Any4,
    /// 127.0.0.1
    Loop4,
    /// 127.0.0.2
    Second4,
    /// The host's own IPv4 address.
    Own4,
    /// ::
    Any6,
    /// ::1
    Loop6,
    /// ::ffff:127.0.0.1
    Mapped,
    /// ::ffff:0.0.0.0
    MappedAny,
    /// The host's own IPv6 address.
    Own6,
    /// 239.1.2.3
    Group4,
    /// 255.255.255.255
    LimitedBroadcast,
    /// 10.255.255.255
    NetBroadcast,
    /// 127.255.255.255
    LoopBroadcast,
    /// ::ffff:239.1.2.3
    MappedGroup,
    /// ::ffff:255.255.255.255
    MappedBroadcast,
    /// ff05::fb
    Group6,
    /// ff02::fb, of the interface with an index; 0 for none.
    LinkGroup(u8),
    /// fe80::9, which nobody has, likewise.
    LinkLocal(u8),
}

/// Socket options that are an `int`, and `SO_LINGER`, of which -1 is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opt {
    ReuseAddress,
    ReusePort,
    KeepAlive,
    Broadcast,
    Linger,
    Error,
    Type,
    Domain,
    Protocol,
    Accepting,
    OutOfBandInline,
    NoDelay,
    KeepIdle,
    KeepInterval,
    KeepCount,
    UserTimeout,
    SynCount,
    Ttl,
    Tos,
    MulticastTtl,
    MulticastLoop,
    OnlyV6,
    Hops,
    PassCredentials,
    SendBuffer,
    ReceiveBuffer,
    /// An address in the order of the network, or the index of an interface.
    MulticastInterface,
    MulticastAll,
    MulticastInterfaceV6,
    MulticastAllV6,
}
