//! Netlink sockets (netlink(7), rtnetlink(7)): how programs ask for interfaces, addresses and routes, and hear of other addresses.
//!
//! A request is answered as it is written. What would change something is not permitted, as to a process that may not
//! administer its network.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::IpAddr;

use super::{Buffers, Errno, FileId, Object, READABLE, Read, Sender, WRITABLE};
use crate::kernel::waiter::Waiters;
use crate::machine::cluster::Cluster;
use crate::machine::net::interfaces::Interface;

/// The port of the kernel.
const KERNEL: u32 = 0;

/// Where a request begins behind its header (`struct nlmsghdr`).
const HEADER: usize = 16;

/// What follows the headers of links, addresses and routes (rtnetlink(7)), where the libc crate has no names for them.
const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const OPERSTATE_UP: u8 = 6;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;

#[derive(Default)]
pub(crate) struct Netlink {
    machine: u32,
    /// Its port, once it is bound.
    port: Option<u32>,
    /// The groups it listens to, as a set of bits: RTMGRP_IPV4_IFADDR and its kin.
    groups: u32,
    received: VecDeque<Vec<u8>>,
    pub(super) waiters: Waiters,
}

impl Netlink {
    pub(crate) fn new(machine: u32) -> Self {
        Self { machine, ..Self::default() }
    }

    /// Listens to a group, by its number.
    ///
    /// # Errors
    /// `EINVAL` for one beyond those that routing has.
    pub(crate) fn join(&mut self, group: u32) -> Result<(), Errno> {
        self.groups |= bit(group)?;
        Ok(())
    }

    /// As [`join`](Self::join), but listens to it no more.
    pub(crate) fn leave(&mut self, group: u32) -> Result<(), Errno> {
        self.groups &= !bit(group)?;
        Ok(())
    }

    pub(super) fn readiness(&self) -> u32 {
        let readable = if self.received.is_empty() { 0 } else { READABLE };
        (readable | WRITABLE | libc::EPOLLWRBAND) as u32
    }

    pub(super) fn available(&self) -> usize {
        self.received.front().map_or(0, Vec::len)
    }

    pub(super) fn read(&mut self, buffers: &mut Buffers<'_>, peek: bool) -> Option<Read> {
        let message = match peek {
            true => self.received.front()?.clone(),
            false => self.received.pop_front()?,
        };
        let bytes = message.len().min(buffers.room());
        buffers.put(0, &message[..bytes]);
        let from = Some(Sender::Netlink { port: KERNEL, groups: 0 });
        Some(Read { whole: message.len(), from, ..Read::of(bytes) })
    }
}

/// A group in the set of those that a socket listens to. The kernel has more than these 32, of which nothing is told here.
fn bit(group: u32) -> Result<u32, Errno> {
    match group {
        1..=32 => Ok(1 << (group - 1)),
        33..=64 => Ok(0),
        _ => Err(libc::EINVAL),
    }
}

/// A message of a kind, to be filled.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32, sequence: u32, port: u32) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags as u16).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(port.to_ne_bytes());
        Self(bytes)
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn address(self, kind: u16, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => self.attribute(kind, &ip.octets()),
            IpAddr::V6(ip) => self.attribute(kind, &ip.octets()),
        }
    }

    fn name(self, kind: u16, name: &str) -> Self {
        self.attribute(kind, &[name.as_bytes(), b"\0"].concat())
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// What a program asks the kernel: all of it, the header's fields, and what is behind that.
#[derive(Clone, Copy)]
struct Request<'a> {
    whole: &'a [u8],
    kind: u16,
    flags: i32,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first request of what was written, and what is behind it.
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let header = bytes.get(..HEADER)?;
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = word(0) as usize;
        let payload = bytes.get(HEADER..length)?;
        let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        let request = Self {
            whole: &bytes[..length],
            kind: half(4),
            flags: half(6).into(),
            sequence: word(8),
            payload,
        };
        Some((request, rest))
    }

    fn is_dump(&self) -> bool {
        self.flags & libc::NLM_F_DUMP == libc::NLM_F_DUMP
    }

    /// The address family asked for; 0 for all.
    fn family(&self) -> i32 {
        self.payload.first().copied().unwrap_or(0).into()
    }

    /// To which address a route is asked for: an attribute behind `struct rtmsg`.
    fn destination(&self) -> Option<IpAddr> {
        let mut rest = self.payload.get(12..)?;
        loop {
            let [low, high, kind, behind, value @ ..] = rest else { return None };
            let length = usize::from(u16::from_ne_bytes([*low, *high])).checked_sub(4)?;
            let value = value.get(..length)?;
            if u16::from_ne_bytes([*kind, *behind]) == RTA_DST {
                let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
                return v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok();
            }
            rest = rest.get(4 + length.next_multiple_of(4)..)?;
        }
    }

    /// The index of the interface asked for (`struct ifinfomsg`); 0 for all.
    fn index(&self) -> u32 {
        let index = self.payload.get(4..8).and_then(|bytes| bytes.try_into().ok());
        index.map_or(0, u32::from_ne_bytes)
    }
}

/// How a message is sent: alone or as one of several, for whose request.
#[derive(Clone, Copy)]
struct Reply {
    flags: i32,
    sequence: u32,
    port: u32,
}

impl Reply {
    fn message(self, kind: u16) -> Message {
        Message::new(kind, self.flags, self.sequence, self.port)
    }

    fn link(self, interface: &Interface) -> Vec<u8> {
        let (kind, hardware) = interface.hardware;
        let broadcast = if interface.is_loopback() { [0; 6] } else { [0xff; 6] };
        self.message(libc::RTM_NEWLINK)
            .put(&[libc::AF_UNSPEC as u8, 0])
            .put(&kind.to_ne_bytes())
            .put(&interface.index.to_ne_bytes())
            .put(&interface.flags.to_ne_bytes())
            .put(&[0; 4])
            .name(IFLA_IFNAME, interface.name)
            .attribute(IFLA_MTU, &interface.mtu.to_ne_bytes())
            .attribute(IFLA_OPERSTATE, &[OPERSTATE_UP])
            .attribute(IFLA_ADDRESS, &hardware)
            .attribute(IFLA_BROADCAST, &broadcast)
            .finish()
    }

    /// An address of an interface, of a kind: RTM_NEWADDR or RTM_DELADDR.
    fn address(self, kind: u16, interface: &Interface, (ip, prefix): (IpAddr, u8)) -> Vec<u8> {
        let scope = if interface.is_loopback() { libc::RT_SCOPE_HOST } else { libc::RT_SCOPE_UNIVERSE };
        let message = self
            .message(kind)
            .put(&[family_of(ip) as u8, prefix, libc::IFA_F_PERMANENT as u8, scope])
            .put(&interface.index.to_ne_bytes())
            .address(IFA_ADDRESS, ip);
        match ip {
            IpAddr::V4(v4) => {
                let message = message.address(IFA_LOCAL, ip).name(IFA_LABEL, interface.name);
                match interface.broadcast(v4, prefix) {
                    Some(broadcast) => message.address(IFA_BROADCAST, broadcast.into()),
                    None => message,
                }
            }
            IpAddr::V6(_) => message,
        }
        .finish()
    }

    /// The route to an interface's own network.
    fn route(self, interface: &Interface, (ip, prefix): (IpAddr, u8)) -> Vec<u8> {
        let network = match ip {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & (u32::MAX << (32 - prefix))).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & (u128::MAX << (128 - u32::from(prefix)))).into()),
        };
        self.message(libc::RTM_NEWROUTE)
            .put(&[family_of(ip) as u8, prefix, 0, 0, libc::RT_TABLE_MAIN])
            .put(&[libc::RTPROT_KERNEL, libc::RT_SCOPE_LINK, libc::RTN_UNICAST])
            .put(&[0; 4])
            .attribute(RTA_TABLE, &u32::from(libc::RT_TABLE_MAIN).to_ne_bytes())
            .address(RTA_DST, network)
            .address(RTA_PREFSRC, ip)
            .attribute(RTA_OIF, &interface.index.to_ne_bytes())
            .finish()
    }

    /// The way to an address: there is one to each, if only to nobody.
    fn way_to(self, interfaces: &[Interface], to: IpAddr) -> Option<Vec<u8>> {
        let all = || interfaces.iter().flat_map(|one| one.addresses.iter().map(move |(ip, _)| (one, *ip)));
        let own = all().find(|(_, ip)| *ip == to).map(|(_, ip)| ip);
        let is_local = to.is_loopback() || own.is_some();
        let (interface, first) =
            all().find(|(one, ip)| one.is_loopback() == is_local && ip.is_ipv4() == to.is_ipv4())?;
        let kind = if is_local { libc::RTN_LOCAL } else { libc::RTN_UNICAST };
        let prefix = if to.is_ipv4() { 32 } else { 128 };
        let message = self
            .message(libc::RTM_NEWROUTE)
            .put(&[family_of(to) as u8, prefix, 0, 0, libc::RT_TABLE_MAIN])
            .put(&[libc::RTPROT_UNSPEC, libc::RT_SCOPE_UNIVERSE, kind])
            .put(&[0; 4])
            .attribute(RTA_TABLE, &u32::from(libc::RT_TABLE_MAIN).to_ne_bytes())
            .address(RTA_DST, to)
            .attribute(RTA_OIF, &interface.index.to_ne_bytes())
            .address(RTA_PREFSRC, own.unwrap_or(first));
        Some(message.finish())
    }

    /// The end of several.
    fn done(self) -> Vec<u8> {
        self.message(libc::NLMSG_DONE as u16).put(&[0; 4]).finish()
    }

    /// That a request failed, with all of it, or with 0 that it did not.
    fn error(self, request: Request<'_>, code: Errno) -> Vec<u8> {
        let error = Message::new(libc::NLMSG_ERROR as u16, 0, self.sequence, self.port);
        let asked = if code == 0 { &request.whole[..HEADER] } else { request.whole };
        error.put(&(-code).to_ne_bytes()).put(asked).finish()
    }
}

fn family_of(ip: IpAddr) -> i32 {
    if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// A message for each address of a family; 0 stands for all.
fn of_each_address(
    interfaces: &[Interface],
    family: i32,
    message: impl Fn(&Interface, (IpAddr, u8)) -> Vec<u8>,
) -> Vec<u8> {
    let of = |interface: &Interface| {
        let wanted = interface.addresses.iter().filter(|(ip, _)| family == 0 || family == family_of(*ip));
        wanted.flat_map(|address| message(interface, *address)).collect::<Vec<u8>>()
    };
    interfaces.iter().flat_map(of).collect()
}

/// The messages that answer a request, each a datagram.
///
/// # Errors
/// `EPERM` for what would change something, `EOPNOTSUPP` for what nobody answers, and `ENODEV` and `EINVAL` for what there is not.
fn answers(interfaces: &[Interface], request: Request<'_>, port: u32) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = if request.is_dump() { libc::NLM_F_MULTI } else { 0 };
    let reply = Reply { flags, sequence: request.sequence, port };
    let dumped: Vec<u8> = match request.kind {
        libc::RTM_GETLINK if request.is_dump() => {
            interfaces.iter().flat_map(|interface| reply.link(interface)).collect()
        }
        libc::RTM_GETLINK => match interfaces.iter().find(|interface| interface.index == request.index()) {
            Some(interface) => return Ok(vec![reply.link(interface)]),
            None => return Err(libc::ENODEV),
        },
        libc::RTM_GETADDR if request.is_dump() => {
            let message =
                |interface: &Interface, address| reply.address(libc::RTM_NEWADDR, interface, address);
            of_each_address(interfaces, request.family(), message)
        }
        libc::RTM_GETROUTE if request.is_dump() => {
            let message = |interface: &Interface, address| match interface.is_loopback() {
                true => Vec::new(), // it is in the table of local addresses
                false => reply.route(interface, address),
            };
            of_each_address(interfaces, request.family(), message)
        }
        libc::RTM_GETROUTE => match request.destination().and_then(|to| reply.way_to(interfaces, to)) {
            Some(way) => return Ok(vec![way]),
            None => return Err(libc::EINVAL),
        },
        // Requests come in fours: new, delete, get, and set. Only getting is for everybody.
        kind if kind >= libc::RTM_NEWLINK && kind % 4 != libc::RTM_GETLINK % 4 => return Err(libc::EPERM),
        _ => return Err(libc::EOPNOTSUPP),
    };
    // Without any there is only the end.
    Ok([dumped, reply.done()].into_iter().filter(|message| !message.is_empty()).collect())
}

impl Cluster {
    /// The netlink socket that a file is, if it is one.
    pub(crate) fn netlink(&mut self, id: FileId) -> Option<&mut Netlink> {
        match &mut self.descriptors.get(id).object {
            Object::Netlink(netlink) => Some(netlink),
            _ => None,
        }
    }

    /// Gives a netlink socket a port, and groups to listen to: bind(2). Its own, if it is given 0.
    pub(crate) fn bind_netlink(&mut self, id: FileId, port: u32, groups: u32) -> Option<u32> {
        // The kernel gives numbers from there downwards.
        let own = u32::MAX - 4_096 - id;
        let netlink = self.netlink(id)?;
        netlink.groups |= groups;
        Some(*netlink.port.get_or_insert(if port == KERNEL { own } else { port }))
    }

    /// The port and the groups of a netlink socket.
    pub(crate) fn netlink_name(&mut self, id: FileId) -> Option<(u32, u32)> {
        self.netlink(id).map(|netlink| (netlink.port.unwrap_or(KERNEL), netlink.groups))
    }

    pub(super) fn write_netlink(&mut self, id: FileId, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let port = self.bind_netlink(id, KERNEL, 0).ok_or(libc::ENOTSOCK)?;
        let machine = self.netlink(id).ok_or(libc::ENOTSOCK)?.machine;
        let interfaces = self.interfaces(machine);
        let mut rest = &bytes[..];
        while let Some((request, behind)) = Request::parse(rest) {
            let reply = Reply { flags: 0, sequence: request.sequence, port };
            let sent = match answers(&interfaces, request, port) {
                Err(code) => vec![reply.error(request, code)],
                Ok(mut answers) => {
                    if request.flags & libc::NLM_F_ACK != 0 && !request.is_dump() {
                        answers.push(reply.error(request, 0));
                    }
                    answers
                }
            };
            self.netlink_receives(id, sent);
            rest = behind;
        }
        Ok(bytes.len())
    }

    fn netlink_receives(&mut self, id: FileId, messages: Vec<Vec<u8>>) {
        let Some(netlink) = self.netlink(id) else { return };
        netlink.received.extend(messages);
        let waiters = netlink.waiters.take();
        self.kernel.wake_all(waiters);
    }

    /// Tells those that listen that a machine has other addresses.
    pub(crate) fn netlink_address_changed(&mut self, machine: u32, before: &[Interface]) {
        let now = self.interfaces(machine);
        let notice = Reply { flags: 0, sequence: 0, port: KERNEL };
        for (id, groups) in self.descriptors.netlinks_of(machine) {
            let listens = |ip: IpAddr| {
                let group = if ip.is_ipv4() { libc::RTMGRP_IPV4_IFADDR } else { libc::RTMGRP_IPV6_IFADDR };
                groups & group as u32 != 0
            };
            let mut messages = Vec::new();
            for (before, now) in before.iter().zip(&now) {
                let all = before.addresses.iter().zip(&now.addresses);
                for (old, new) in all.filter(|(old, new)| old != new && listens(new.0)) {
                    messages.push(notice.address(libc::RTM_DELADDR, before, *old));
                    messages.push(notice.address(libc::RTM_NEWADDR, now, *new));
                }
            }
            self.netlink_receives(id, messages);
        }
    }
}

impl super::Descriptors {
    /// The netlink sockets of a machine, with the groups that they listen to.
    fn netlinks_of(&self, machine: u32) -> Vec<(FileId, u32)> {
        let all = self.files.iter().enumerate();
        let of = all.filter_map(|(id, file)| match &file.as_ref()?.object {
            Object::Netlink(netlink) if netlink.machine == machine => Some((id as FileId, netlink.groups)),
            _ => None,
        });
        of.collect()
    }
}
