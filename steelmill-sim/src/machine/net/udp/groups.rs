//! Datagrams to many: multicast groups (RFC 1112, ip(7), ipv6(7)) and broadcast. All machines are on one network, without routers.
//!
//! A machine receives what is sent to a group while a socket of it has joined. Then every socket that is bound to the group's port, at
//! the group or at no address, gets a copy, unless it wants those of its own groups alone (`IP_MULTICAST_ALL`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Route, SocketId, UdpSocket};
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::Errno;
use crate::machine::net::address;
use crate::machine::net::options::{INTERFACE, LOOPBACK};
use crate::schema::event::{DeliveryProblem, MessageKind};

/// The most groups of a socket: Linux's `igmp_max_memberships`.
const GROUPS_MAX: usize = 20;

/// A socket that has joined groups.
pub(crate) type Member = u32;

#[derive(Default)]
pub(crate) struct Groups {
    /// By group and machine.
    joined: BTreeMap<(IpAddr, u32), BTreeSet<Member>>,
    members: Member,
}

impl Groups {
    /// Enters a socket, which becomes a member with its first group.
    ///
    /// # Errors
    /// `EINVAL` for an address of no group, `EADDRINUSE` for one that it has joined, `ENOBUFS` beyond 20 groups.
    pub(crate) fn join(
        &mut self,
        machine: u32,
        group: IpAddr,
        member: &mut Option<Member>,
    ) -> Result<(), Errno> {
        if !group.is_multicast() {
            return Err(libc::EINVAL);
        }
        let own = *member.get_or_insert_with(|| {
            self.members += 1;
            self.members
        });
        let joined = self.joined.values().filter(|members| members.contains(&own)).count();
        let is_known = self.joined.get(&(group, machine)).is_some_and(|members| members.contains(&own));
        match (is_known, joined >= GROUPS_MAX) {
            (true, _) => return Err(libc::EADDRINUSE),
            (_, true) => return Err(libc::ENOBUFS),
            _ => {}
        }
        self.joined.entry((group, machine)).or_default().insert(own);
        Ok(())
    }

    /// # Errors
    /// `EADDRNOTAVAIL` for a group that it has not joined.
    pub(crate) fn leave(&mut self, machine: u32, group: IpAddr, member: Option<Member>) -> Result<(), Errno> {
        let members = self.joined.get_mut(&(group, machine)).ok_or(libc::EADDRNOTAVAIL)?;
        if !member.is_some_and(|member| members.remove(&member)) {
            return Err(libc::EADDRNOTAVAIL);
        }
        if members.is_empty() {
            self.joined.remove(&(group, machine));
        }
        Ok(())
    }

    /// A socket is closed.
    pub(crate) fn leave_all(&mut self, member: Option<Member>) {
        let Some(member) = member else { return };
        self.joined.retain(|_, members| {
            members.remove(&member);
            !members.is_empty()
        });
    }

    /// A machine's process has ended.
    pub(super) fn end(&mut self, machine: u32) {
        self.joined.retain(|(_, other), _| *other != machine);
    }

    fn machines(&self, group: IpAddr) -> impl Iterator<Item = u32> {
        self.joined.range((group, 0)..=(group, u32::MAX)).map(|((_, machine), _)| *machine)
    }

    /// The sockets of a machine that have joined a group.
    fn members(&self, machine: u32, group: IpAddr) -> Option<&BTreeSet<Member>> {
        self.joined.get(&(group, machine))
    }
}

impl Cluster {
    /// Whether a socket may join at this interface: at any, or at one that the machine has.
    pub(crate) fn check_interface(&self, machine: u32, at: Interface) -> Result<(), Errno> {
        let is_own = match at {
            Interface::Address(ip) => ip.is_unspecified() || self.net.addresses.is_local(ip.into(), machine),
            Interface::Index(index) => index <= INTERFACE.into(),
        };
        if is_own { Ok(()) } else { Err(libc::ENODEV) }
    }

    /// The interface by which a socket is to send to groups: that of a number, or the one with an address.
    pub(crate) fn multicast_interface(&self, machine: u32, at: Interface) -> Result<u8, Errno> {
        match at {
            Interface::Address(ip) if ip.is_unspecified() => Ok(0),
            Interface::Address(ip) if ip.is_loopback() => Ok(LOOPBACK),
            Interface::Address(ip) if self.net.addresses.is_local(ip.into(), machine) => Ok(INTERFACE),
            Interface::Index(index) if index <= INTERFACE.into() => Ok(index as u8),
            _ => Err(libc::EADDRNOTAVAIL),
        }
    }

    /// Sends a datagram to a group or to all: each machine has its own latency, and its own luck.
    #[cold]
    pub(super) fn udp_send_to_many(
        &mut self,
        sender: SocketId,
        (source, target): (SocketAddr, SocketAddr),
        from: u32,
        bytes: &[u8],
    ) {
        let (is_heard, stays) = match self.net.udp.get(sender) {
            Ok(socket) if target.ip().is_multicast() => (
                socket.options.hears_itself(target.is_ipv6()),
                target.is_ipv4() && socket.options.multicast_interface(false) == Some(LOOPBACK),
            ),
            _ => (true, target.ip().is_loopback()),
        };
        let machines: Vec<u32> = match target.ip().is_multicast() {
            true => self.net.udp.groups.machines(target.ip()).collect(),
            false => (0..self.hosts.len() as u32).collect(),
        };
        let mut is_sent = false;
        for to in machines.into_iter().filter(|to| if *to == from { is_heard } else { !stays }) {
            self.udp_route(&Route { sender, source, target, from, to }, bytes);
            is_sent = true;
        }
        if !is_sent {
            self.trace_message(MessageKind::Datagram, None, from, address::NO_MACHINE, bytes);
            self.trace_loss(DeliveryProblem::NoReceiver, false);
        }
    }

    /// Gives a datagram to a group or to all to each socket of a machine that is bound for it.
    #[cold]
    pub(super) fn udp_deliver_to_many(
        &mut self,
        machine: u32,
        (source, target): (SocketAddr, SocketAddr),
        payload: &[u8],
    ) {
        let ip = target.ip();
        let members = self.net.udp.groups.members(machine, ip);
        let mut sockets = self.net.udp_ports.covering(machine, ip, target.port());
        sockets.retain(|index| {
            let socket = &self.net.udp.all[*index as usize];
            let is_received = !ip.is_multicast()
                || members.is_some_and(|members| {
                    socket.options.hears_all(ip.is_ipv6(), socket.local.is_ipv6())
                        || socket.member.is_some_and(|member| members.contains(&member))
                });
            is_received && socket.peer.is_none_or(|peer| peer == source)
        });
        if sockets.is_empty() {
            return self.trace_datagram(Some(DeliveryProblem::NoReceiver));
        }
        for index in sockets {
            self.udp_enqueue(index, source, payload.to_vec());
        }
    }
}

/// Where a socket joins a group.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interface {
    Address(Ipv4Addr),
    Index(u32),
}

impl UdpSocket {
    fn change_groups(
        &self,
        group: IpAddr,
        at: Interface,
        change: impl FnOnce(&mut Groups, u32, IpAddr, &mut Option<Member>) -> Result<(), Errno>,
    ) -> io::Result<()> {
        cluster::with(self.run(), |run| {
            run.check_interface(self.process.machine, at).map_err(address::os_error)?;
            let socket = run.net.udp.get(self.id)?;
            if group.is_ipv6() && socket.local.is_ipv4() {
                return Err(address::os_error(libc::ENOPROTOOPT));
            }
            let mut member = socket.member;
            let changed = change(&mut run.net.udp.groups, self.process.machine, group, &mut member);
            run.net.udp.get(self.id)?.member = member;
            changed.map_err(address::os_error)
        })
    }

    /// Joins an IPv4 group (`IP_ADD_MEMBERSHIP`) at the interface with an address of this machine, or with `0.0.0.0`. From then on
    /// the machine receives what is sent to the group.
    ///
    /// # Errors
    /// As ip(7): `EINVAL` for an address of no group, `EADDRINUSE` if it has joined, `ENODEV` for an address of no interface.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.change_groups(group.into(), Interface::Address(interface), Groups::join)
    }

    /// Joins an IPv6 group (`IPV6_ADD_MEMBERSHIP`) at the interface of a number, or at 0, any.
    ///
    /// # Errors
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4); `ENOPROTOOPT` of an IPv4 socket.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.change_groups((*group).into(), Interface::Index(interface), Groups::join)
    }

    /// Leaves an IPv4 group (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` for one that it has not joined.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.change_groups(group.into(), Interface::Address(interface), |groups, machine, group, member| {
            groups.leave(machine, group, *member)
        })
    }

    /// Leaves an IPv6 group (`IPV6_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// As [`leave_multicast_v4`](UdpSocket::leave_multicast_v4).
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.change_groups((*group).into(), Interface::Index(interface), |groups, machine, group, member| {
            groups.leave(machine, group, *member)
        })
    }
}
