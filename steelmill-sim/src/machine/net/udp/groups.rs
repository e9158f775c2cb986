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
    /// By group, interface and machine.
    joined: BTreeMap<(IpAddr, u8, u32), BTreeSet<Member>>,
    members: Member,
}

impl Groups {
    /// Enters a socket, which becomes a member with its first group.
    ///
    /// # Errors
    /// `EADDRINUSE` for one that it has joined there, `ENOBUFS` beyond 20 groups.
    fn join(
        &mut self,
        machine: u32,
        (group, at): (IpAddr, u8),
        member: &mut Option<Member>,
    ) -> Result<(), Errno> {
        let own = *member.get_or_insert_with(|| {
            self.members += 1;
            self.members
        });
        let interfaces = if at == ANY { LOOPBACK..=INTERFACE } else { at..=at };
        if interfaces.into_iter().any(|at| self.is_member(machine, (group, at), Some(own))) {
            return Err(libc::EADDRINUSE);
        }
        if self.joined.values().filter(|members| members.contains(&own)).count() >= GROUPS_MAX {
            return Err(libc::ENOBUFS);
        }
        let at = if at == ANY { INTERFACE } else { at };
        self.joined.entry((group, at, machine)).or_default().insert(own);
        Ok(())
    }

    /// # Errors
    /// `EADDRNOTAVAIL` for a group that it has not joined.
    fn leave(
        &mut self,
        machine: u32,
        (group, at): (IpAddr, u8),
        member: Option<Member>,
    ) -> Result<(), Errno> {
        let is_member = |at: &u8| self.is_member(machine, (group, *at), member);
        let at = if at == ANY { [INTERFACE, LOOPBACK].into_iter().find(is_member) } else { Some(at) };
        let key = (group, at.ok_or(libc::EADDRNOTAVAIL)?, machine);
        let members = self.joined.get_mut(&key).ok_or(libc::EADDRNOTAVAIL)?;
        if !member.is_some_and(|member| members.remove(&member)) {
            return Err(libc::EADDRNOTAVAIL);
        }
        if members.is_empty() {
            self.joined.remove(&key);
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
        self.joined.retain(|(_, _, other), _| *other != machine);
    }

    /// The machines that have joined a group at one of their interfaces.
    fn machines(&self, group: IpAddr, at: u8) -> impl Iterator<Item = u32> {
        self.joined.range((group, at, 0)..=(group, at, u32::MAX)).map(|((_, _, machine), _)| *machine)
    }

    fn has_members(&self, machine: u32, group: IpAddr, at: u8) -> bool {
        self.joined.contains_key(&(group, at, machine))
    }

    fn is_member(&self, machine: u32, (group, at): (IpAddr, u8), member: Option<Member>) -> bool {
        let members = self.joined.get(&(group, at, machine));
        members.zip(member).is_some_and(|(members, member)| members.contains(&member))
    }
}

/// In place of an interface: whichever.
const ANY: u8 = 0;

/// The way of a datagram to a group or to all.
#[derive(Debug, Clone, Copy)]
pub(super) struct WayToMany {
    interface: u8,
    pub(super) source: IpAddr,
}

impl Cluster {
    /// A socket joins a group, or leaves it.
    ///
    /// # Errors
    /// As `ip_mc_join_group()`, `ip_mc_leave_group()`, `ipv6_sock_mc_join()` and `ipv6_sock_mc_drop()` of Linux.
    pub(crate) fn change_groups(
        &mut self,
        machine: u32,
        (group, at): (IpAddr, Interface),
        joins: bool,
        member: &mut Option<Member>,
    ) -> Result<(), Errno> {
        if !group.is_multicast() && (joins || group.is_ipv6()) {
            return Err(libc::EINVAL);
        }
        // Over IPv4 that of the route.
        let at = match self.multicast_interface(machine, at) {
            Ok(ANY) if group.is_ipv4() => Ok(INTERFACE),
            other => other,
        };
        match joins {
            true => self.net.udp.groups.join(machine, (group, at.map_err(|_| libc::ENODEV)?), member),
            false => self.net.udp.groups.leave(machine, (group, at?), *member),
        }
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

    /// By which interface a socket sends to a group or to all, and from which address.
    ///
    /// # Errors
    /// As `ip_route_output_key_hash_rcu()` and `udp_sendmsg()` of Linux: `EINVAL` for another interface from a loopback address, and
    /// `EACCES` for a broadcast without permission.
    #[cold]
    pub(super) fn way_to_many(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        target: IpAddr,
    ) -> io::Result<WayToMany> {
        let socket = self.net.udp.get(id)?;
        let (machine, options) = (socket.machine, socket.options);
        let own = address::canonical(local).ip();
        let own = (!own.is_unspecified() && !address::is_of_many(own)).then_some(own);
        if target.is_ipv6() {
            let source = own.unwrap_or_else(|| self.net.addresses.source(target, machine));
            return Ok(WayToMany { interface: INTERFACE, source });
        }
        let is_own_loopback = own.is_some_and(|own| own.is_loopback());
        let of_source = if is_own_loopback { LOOPBACK } else { INTERFACE };
        let interface = match target {
            IpAddr::V4(ip) if ip.is_loopback() => LOOPBACK,
            IpAddr::V4(ip) if ip.is_multicast() => {
                options.interface.or(options.multicast_interface(false)).unwrap_or(of_source)
            }
            IpAddr::V4(ip) if ip.is_broadcast() => options.interface.unwrap_or(of_source),
            _ => INTERFACE,
        };
        if is_own_loopback && interface != LOOPBACK {
            return Err(address::os_error(libc::EINVAL));
        }
        if address::is_broadcast(target) && !options.broadcast {
            return Err(address::os_error(libc::EACCES));
        }
        let chosen = options.multicast_source().filter(|_| target.is_multicast()).map(IpAddr::V4);
        // Loopback has no address of its own for others (`inet_select_addr()`).
        let source = own.or(chosen).unwrap_or_else(|| self.net.addresses.source(target, machine));
        Ok(WayToMany { interface, source })
    }

    /// Sends a datagram to a group or to all: each machine has its own latency, and its own luck.
    #[cold]
    pub(super) fn udp_send_to_many(
        &mut self,
        sender: SocketId,
        (way, target): (WayToMany, SocketAddr),
        source_port: u16,
        from: u32,
        bytes: &[u8],
    ) {
        let WayToMany { interface, source } = way;
        let source = SocketAddr::new(source, source_port);
        let stays = interface == LOOPBACK;
        // What loopback sends it receives, whatever IP_MULTICAST_LOOP says.
        let is_heard = stays
            || !target.ip().is_multicast()
            || self.net.udp.get(sender).is_ok_and(|socket| socket.options.hears_itself(target.is_ipv6()));
        let machines: Vec<u32> = match target.ip().is_multicast() {
            true => self.net.udp.groups.machines(target.ip(), interface).collect(),
            false => (0..self.hosts.len() as u32).collect(),
        };
        let mut is_sent = false;
        for to in machines.into_iter().filter(|to| if *to == from { is_heard } else { !stays }) {
            self.udp_route(&Route { sender, source, target, from, to, interface }, bytes);
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
        interface: u8,
        payload: &[u8],
    ) {
        let ip = target.ip();
        let groups = &self.net.udp.groups;
        let is_member = !ip.is_multicast() || groups.has_members(machine, ip, interface);
        let mut sockets = self.net.udp_ports.covering(machine, ip, target.port());
        sockets.retain(|index| {
            let socket = &self.net.udp.all[*index as usize];
            let has_joined = |at| groups.is_member(machine, (ip, at), socket.member);
            let is_received = !ip.is_multicast()
                || socket.options.hears_all(ip.is_ipv6(), socket.local.is_ipv6())
                || has_joined(interface)
                || ip.is_ipv6() && has_joined(LOOPBACK);
            let is_bound_elsewhere = socket.options.interface.is_some_and(|bound| bound != interface);
            is_member && is_received && !is_bound_elsewhere && socket.peer.is_none_or(|peer| peer == source)
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
    fn change_groups(&self, group: IpAddr, at: Interface, joins: bool) -> io::Result<()> {
        cluster::with(self.run(), |run| {
            let socket = run.net.udp.get(self.id)?;
            if group.is_ipv6() && socket.local.is_ipv4() {
                return Err(address::os_error(libc::ENOPROTOOPT));
            }
            let mut member = socket.member;
            let changed = run.change_groups(self.process.machine, (group, at), joins, &mut member);
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
        self.change_groups(group.into(), Interface::Address(interface), true)
    }

    /// Joins an IPv6 group (`IPV6_ADD_MEMBERSHIP`) at the interface of a number, or at 0, any.
    ///
    /// # Errors
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4); `ENOPROTOOPT` of an IPv4 socket.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.change_groups((*group).into(), Interface::Index(interface), true)
    }

    /// Leaves an IPv4 group (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` for one that it has not joined.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.change_groups(group.into(), Interface::Address(interface), false)
    }

    /// Leaves an IPv6 group (`IPV6_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// As [`leave_multicast_v4`](UdpSocket::leave_multicast_v4).
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.change_groups((*group).into(), Interface::Index(interface), false)
    }
}
