//! UDP: sockets, datagrams, receive buffers, duplication, reordering, corruption and ICMP port unreachable.

mod groups; // multicast and broadcast
mod options; // tokio's options
mod peeking; // tokio's peek family and readiness

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

pub(crate) use groups::{Groups, Interface, Member};
use steelmill_core::{Address, ToAddress};
use tokio::io::ReadBuf;

use super::link::{Delivery, InFlightAtCut};
use super::options::Options as SocketOptions;
use super::ports::Sharing;
use super::{Event, Network, address, poll_of, scope, until};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::timers::Nanos;
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::{self, Cluster, RunId};
use crate::machine::world::Process;
use crate::schema::decision::Stream;
use crate::schema::event::{DeliveryProblem, EventKind, MessageKind};

/// The maximum payload: 65,535 bytes less the UDP header, and over IPv4 less the IP header (udp(7)).
fn payload_max(target: SocketAddr) -> usize {
    if target.is_ipv4() { 65_507 } else { 65_527 }
}

/// The receive buffer in bytes, above which arriving datagrams are dropped: Linux's `rmem_default` (socket(7)).
const RECEIVE_BUFFER: usize = 212_992;

const REORDER_DELAY_MAX: Nanos = 20_000_000;

/// The size of a datagram in the receive buffer. Linux counts allocated memory: headers, `sk_buff` and slab rounding.
pub(super) fn truesize(payload: &[u8]) -> usize {
    let size = payload.len() + 384;
    256 + match size {
        0..=576 => 576,
        577..=16_384 => size.next_power_of_two(),
        _ => size.next_multiple_of(4096),
    }
}

/// Whether a socket that is connected to `peer` has to do with an address: a peer at port 0 is a whole host.
fn is_peer(peer: SocketAddr, other: SocketAddr) -> bool {
    peer == other || peer.port() == 0 && peer.ip() == other.ip()
}

/// A socket's index. The generation detects a reused slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId {
    index: u32,
    generation: u32,
}

#[derive(Default)]
pub(crate) struct Sockets {
    all: Vec<Socket>,
    free: Vec<u32>,
    /// Datagrams in flight, and the free slots among them.
    in_flight: Vec<Datagram>,
    free_datagrams: Vec<u32>,
    spare_buffers: Vec<Vec<u8>>,
    /// Sockets that have given their port back, and not what they had received.
    portless: Vec<SocketId>,
    pub(super) groups: Groups,
}

impl Sockets {
    pub(super) fn waiters(&mut self) -> impl Iterator<Item = &mut Waiters> {
        self.all.iter_mut().map(|socket| &mut socket.waiters)
    }
}

pub(super) struct Socket {
    generation: u32,
    machine: u32,
    /// The key in `Ports`; at port 0 it is not there.
    bound: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) peer: Option<SocketAddr>,
    pub(super) options: SocketOptions,
    /// The address that it sends from since it was connected, if it is bound to an address of many (`inet_saddr` of Linux).
    source: Option<std::net::IpAddr>,
    /// From its first multicast group on.
    pub(super) member: Option<Member>,
    /// Whether bind(2) named an address, and a port: these stay when the socket is no longer connected.
    has_own_address: bool,
    has_own_port: bool,
    /// Whether shutdown(2) has ended sending.
    pub(super) is_write_shut: bool,
    pub(super) queue: VecDeque<(SocketAddr, Vec<u8>)>,
    queued_bytes: usize,
    pub(super) error: Option<i32>,
    pub(super) waiters: Waiters,
}

struct Route {
    sender: SocketId,
    source: SocketAddr,
    target: SocketAddr,
    from: u32,
    to: u32,
    /// At which interface of its machine it arrives, if it is for many.
    interface: u8,
}

struct Datagram {
    from: SocketId,
    source: SocketAddr,
    target: SocketAddr,
    machine: u32,
    interface: u8,
    payload: Vec<u8>,
    state: DatagramState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DatagramState {
    Arrived,
    InFlight {
        sender: u32,
    },
    Held {
        sender: u32,
    },
    /// A cut began while it was in flight.
    Lost,
}

impl Sockets {
    pub(super) fn get(&mut self, id: SocketId) -> io::Result<&mut Socket> {
        self.all
            .get_mut(id.index as usize)
            .filter(|socket| socket.generation == id.generation)
            .ok_or_else(|| address::os_error(libc::EBADF))
    }

    /// The machine of a socket.
    pub(super) fn machine_of(&mut self, id: SocketId) -> Option<u32> {
        self.get(id).ok().map(|socket| socket.machine)
    }

    /// The machine of a datagram in flight that is sent within it.
    pub(super) fn is_within_machine(&self, index: u32) -> Option<u32> {
        let datagram = &self.in_flight[index as usize];
        let is_own = datagram.state == DatagramState::InFlight { sender: datagram.machine };
        is_own.then_some(datagram.machine)
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len() - self.free.len()
    }
}

impl Socket {
    /// The length of the datagram that is received next; 0 if there is none.
    pub(super) fn next_length(&self) -> usize {
        self.queue.front().map_or(0, |(_, payload)| payload.len())
    }

    /// The local address for what goes to `target`. A connection over IPv6 has chosen one for IPv6 alone.
    fn local_for(&self, target: SocketAddr) -> SocketAddr {
        let mut local = self.local;
        if self.is_at_many() {
            local.set_ip(self.source.unwrap_or(address::any(local.is_ipv6())));
        }
        if !self.has_own_address
            && address::canonical(local).is_ipv6()
            && address::canonical(target).is_ipv4()
        {
            local.set_ip(std::net::Ipv6Addr::UNSPECIFIED.into());
        }
        local
    }

    /// Whether it is bound to a group or to broadcast, of its own family: it sends from its machine's own address.
    fn is_at_many(&self) -> bool {
        match self.local.ip() {
            std::net::IpAddr::V4(ip) => address::is_of_many(ip.into()),
            std::net::IpAddr::V6(ip) => ip.is_multicast(),
        }
    }

    /// Whether there is a way to a target by the interface that it is bound to.
    fn check_way(&self, mut target: SocketAddr) -> io::Result<()> {
        // The unspecified address is that of loopback, and of IPv4 if its own is.
        let own = address::canonical(self.local).ip();
        if own.is_ipv4() && target.ip().is_unspecified() {
            target.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        // That its address is no source is found first.
        if address::canonical(target).is_ipv4() && !self.is_at_many() && address::no_source(own).is_some() {
            return Ok(());
        }
        self.options.check_way(target).map_err(address::os_error)
    }

    /// Whether what comes to one of its addresses comes by the interface that it is bound to.
    fn takes_at(&self, target: std::net::IpAddr) -> bool {
        self.options.interface.is_none_or(|bound| bound == scope::interface_of(target))
    }

    /// Whether what comes from an address can reach it: over IPv4 nothing reaches a socket that a connection over IPv6 has given an
    /// address.
    fn takes_from(&self, source: SocketAddr) -> bool {
        source.is_ipv6() || address::canonical(self.local).is_ipv4() || self.local.ip().is_unspecified()
    }

    fn take_error(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), |code| Err(address::os_error(code)))
    }

    /// An address as the socket shows it.
    pub(super) fn in_family(&self, address: SocketAddr) -> SocketAddr {
        if self.local.is_ipv6() { address::ipv6_mapped(address) } else { address }
    }

    /// Its address as getsockname(2) gives it.
    pub(super) fn shown_local(&self) -> SocketAddr {
        scope::shown(self.local, self.options.interface)
    }

    /// Its peer's as getpeername(2) gives it.
    pub(super) fn shown_peer(&self) -> Option<SocketAddr> {
        self.peer.map(|peer| scope::shown(self.in_family(peer), self.options.interface))
    }
}

impl Cluster {
    pub(super) fn udp_open(
        &mut self,
        process: Process,
        local: SocketAddr,
        options: SocketOptions,
    ) -> io::Result<SocketId> {
        if !self.is_alive(process.machine, process.incarnation) {
            return Err(address::os_error(libc::ENETDOWN));
        }
        let sockets = &mut self.net.udp;
        let index = sockets.free.last().copied().unwrap_or(sockets.all.len() as u32);
        let (bound, options) = self.udp_take_port((process.machine, index), local, options)?;
        let is_ipv6 = local.is_ipv6();
        let sockets = &mut self.net.udp;
        let mut socket = Socket {
            generation: 0,
            machine: process.machine,
            bound,
            local: if is_ipv6 { address::ipv6_mapped(bound) } else { bound },
            peer: None,
            options,
            member: None,
            source: None,
            has_own_address: !bound.ip().is_unspecified(),
            has_own_port: local.port() != 0,
            is_write_shut: false,
            queue: VecDeque::new(),
            queued_bytes: 0,
            error: None,
            waiters: Waiters::default(),
        };
        if sockets.free.pop().is_some() {
            socket.generation = sockets.all[index as usize].generation;
            sockets.all[index as usize] = socket;
        } else {
            sockets.all.push(socket);
        }
        Ok(SocketId { index, generation: sockets.all[index as usize].generation })
    }

    /// Binds a port for a socket of a machine. It has no way to IPv4 if it is bound to an IPv6 address.
    fn udp_take_port(
        &mut self,
        (machine, index): (u32, u32),
        local: SocketAddr,
        mut options: SocketOptions,
    ) -> io::Result<(SocketAddr, SocketOptions)> {
        let canonical = address::canonical(local);
        options.only_v6 |= canonical.is_ipv6() && !canonical.ip().is_unspecified();
        let checked = self.net.addresses.check_bind(machine, local, false, &mut options);
        checked.map_err(address::os_error)?;
        let place = (machine, self.kernel.now);
        let bound = self.net.udp_ports.bind(place, canonical, index, Sharing::of(&options))?;
        Ok((bound, options))
    }

    /// Binds a socket that has given its port back.
    pub(super) fn udp_bind_again(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        options: SocketOptions,
    ) -> io::Result<()> {
        let machine = self.net.udp.get(id)?.machine;
        let (bound, options) = self.udp_take_port((machine, id.index), local, options)?;
        self.net.udp.portless.retain(|other| *other != id);
        let socket = self.net.udp.get(id)?;
        socket.local = if local.is_ipv6() { address::ipv6_mapped(bound) } else { bound };
        (socket.bound, socket.options, socket.source) = (bound, options, None);
        socket.has_own_address = !bound.ip().is_unspecified();
        socket.has_own_port = local.port() != 0;
        Ok(())
    }

    pub(super) fn udp_close(&mut self, id: SocketId) {
        let Ok(socket) = self.net.udp.get(id) else { return };
        let (machine, bound, member) = (socket.machine, socket.bound, socket.member);
        socket.generation = socket.generation.wrapping_add(1);
        let queue = std::mem::take(&mut socket.queue);
        let waiters = std::mem::take(&mut socket.waiters);
        self.kernel.discard_all(waiters);
        self.net.udp.spare_buffers.extend(queue.into_iter().map(|(_, payload)| payload));
        self.net.udp.free.push(id.index);
        match bound.port() {
            0 => self.net.udp.portless.retain(|other| *other != id),
            _ => self.net.udp_ports.release(machine, bound, id.index),
        }
        self.net.udp.groups.leave_all(member);
    }

    pub(crate) fn udp_process_ended(&mut self, machine: u32) {
        for index in self.net.udp_ports.owners_on(machine) {
            self.udp_close(SocketId { index, generation: self.net.udp.all[index as usize].generation });
        }
        for id in self.net.udp.portless.clone() {
            if self.net.udp.machine_of(id) == Some(machine) {
                self.udp_close(id);
            }
        }
        self.net.udp.groups.end(machine);
    }

    pub(super) fn udp_connect(&mut self, id: SocketId, peer: SocketAddr) -> io::Result<()> {
        let socket = self.net.udp.get(id)?;
        if socket.options.only_v6 && address::canonical(peer).is_ipv4() {
            let code = if peer.is_ipv4() { libc::EAFNOSUPPORT } else { libc::ENETUNREACH };
            return Err(address::os_error(code));
        }
        let mut options = socket.options;
        let connected = options.connect_to_interface(peer);
        self.udp_set_options(id, options);
        connected.map_err(address::os_error)?;
        let socket = self.net.udp.get(id)?;
        socket.check_way(peer)?;
        let (machine, local) = (socket.machine, socket.local_for(peer));
        let (peer, _) = self.net.addresses.route(local, peer, machine)?;
        let of_many =
            address::is_of_many(peer.ip()).then(|| self.way_to_many(id, local, peer.ip())).transpose()?;
        let source = of_many.map_or_else(|| self.net.addresses.source(peer.ip(), machine), |way| way.source);
        let socket = self.net.udp.get(id)?;
        socket.peer = Some(peer);
        // A connected socket has the one address its packets come from, and leaves the wildcard.
        if address::canonical(socket.local).ip().is_unspecified() {
            self.udp_relocate(id, source);
        } else if socket.is_at_many() && socket.source.is_none() {
            socket.source = Some(source);
        }
        Ok(())
    }

    /// Gives a socket another local address, at its port.
    fn udp_relocate(&mut self, id: SocketId, ip: std::net::IpAddr) {
        let Ok(socket) = self.net.udp.get(id) else { return };
        let (machine, from) = (socket.machine, socket.bound);
        socket.bound.set_ip(ip);
        let local = SocketAddr::new(ip, socket.local.port());
        socket.local = socket.in_family(local);
        self.net.udp_ports.relocate(machine, from, id.index, ip);
    }

    /// Dissolves a connection (connect(2) with `AF_UNSPEC`). An address and a port that were not asked for are given back; what has
    /// arrived stays.
    pub(super) fn udp_disconnect(&mut self, id: SocketId) -> io::Result<()> {
        let socket = self.net.udp.get(id)?;
        socket.peer = None;
        let mut options = socket.options;
        options.interface = None;
        self.udp_set_options(id, options);
        let socket = self.net.udp.get(id)?;
        let (has_own_address, has_own_port) = (socket.has_own_address, socket.has_own_port);
        if !has_own_address {
            let any = address::any(socket.local.is_ipv6());
            self.udp_relocate(id, any);
        }
        let socket = self.net.udp.get(id)?;
        if !has_own_port && socket.bound.port() != 0 {
            let (machine, bound) = (socket.machine, socket.bound);
            socket.bound.set_port(0);
            socket.local.set_port(0);
            self.net.udp_ports.release(machine, bound, id.index);
            self.net.udp.portless.push(id);
        }
        Ok(())
    }

    /// Whether a socket has no port: it had one, and has given it back.
    pub(super) fn udp_is_portless(&mut self, id: SocketId) -> bool {
        self.net.udp.get(id).is_ok_and(|socket| socket.bound.port() == 0)
    }

    pub(super) fn udp_set_options(&mut self, id: SocketId, options: SocketOptions) {
        let Ok(socket) = self.net.udp.get(id) else { return };
        socket.options = options;
        let (machine, bound) = (socket.machine, socket.bound);
        self.net.udp_ports.share(machine, bound, id.index, Sharing::of(&options));
    }

    pub(super) fn udp_send(
        &mut self,
        id: SocketId,
        bytes: &[u8],
        target: Option<SocketAddr>,
    ) -> io::Result<usize> {
        let socket = self.net.udp.get(id)?;
        let is_explicit = target.is_some();
        let target = target.or(socket.peer).ok_or_else(|| address::os_error(libc::EDESTADDRREQ))?;
        let is_ipv4_of_ipv6 = socket.local.is_ipv6() && address::canonical(target).is_ipv4();
        if socket.options.only_v6 && is_ipv4_of_ipv6 {
            return Err(address::os_error(libc::ENETUNREACH));
        }
        // A socket may be connected to port 0, at which nobody receives.
        if target.port() == 0 && (is_explicit || is_ipv4_of_ipv6) {
            return Err(address::os_error(libc::EINVAL));
        }
        let (from, local) = (socket.machine, socket.local_for(target));
        socket.check_way(target)?;
        let (target, machine) = self.net.addresses.route(local, target, from)?;
        let of_many =
            address::is_of_many(target.ip()).then(|| self.way_to_many(id, local, target.ip())).transpose()?;
        if bytes.len() > payload_max(target) {
            return Err(address::os_error(libc::EMSGSIZE));
        }
        // The packet's memory is asked for last, and that is refused to a socket with an error.
        let socket = self.net.udp.get(id)?;
        socket.take_error()?;
        if socket.is_write_shut {
            return Err(address::os_error(libc::EPIPE));
        }
        self.kernel.digest.bytes(bytes);
        self.kernel.sent(&[io::IoSlice::new(bytes)], bytes.len());
        if let Some(way) = of_many {
            self.udp_send_to_many(id, (way, target), local.port(), from, bytes);
            return Ok(bytes.len());
        }
        if machine as usize >= self.hosts.len() {
            self.trace_message(MessageKind::Datagram, None, from, machine, bytes);
            self.trace_loss(DeliveryProblem::NoReceiver, false);
            return Ok(bytes.len()); // lost without an error
        }
        let source = match address::canonical(local).ip().is_unspecified() {
            true => SocketAddr::new(self.net.addresses.source(target.ip(), from), local.port()),
            false => address::canonical(local),
        };
        self.udp_route(&Route { sender: id, source, target, from, to: machine, interface: 0 }, bytes);
        Ok(bytes.len())
    }

    /// Sends a datagram to a machine, perhaps twice.
    #[inline]
    fn udp_route(&mut self, route: &Route, bytes: &[u8]) {
        if self.net.links.effect(route.from, route.to).is_some_and(|effect| effect.duplication_ppm > 0) {
            self.udp_duplicate(route, bytes);
        }
        self.udp_transmit(route, bytes);
    }

    /// Sends one copy of a datagram; a lost one takes no memory.
    #[inline]
    fn udp_transmit(&mut self, route: &Route, bytes: &[u8]) {
        let &Route { from, to, .. } = route;
        self.trace_message(MessageKind::Datagram, None, from, to, bytes);
        match self.message_delivery(from, to, bytes.len() as u64) {
            Delivery::Arrives(at) => {
                let at = self.udp_reorder(from, to, at);
                let datagram = self.udp_store(route, bytes, DatagramState::InFlight { sender: from });
                self.udp_corrupt(route, datagram);
                self.schedule(at, Event::Datagram(datagram));
            }
            Delivery::Held => {
                let datagram = self.udp_store(route, bytes, DatagramState::Held { sender: from });
                self.hold_event(from, to, Event::Datagram(datagram));
            }
            Delivery::Lost => {}
        }
    }

    #[cold]
    fn udp_duplicate(&mut self, route: &Route, bytes: &[u8]) {
        let rate = self.net.links.effect(route.from, route.to).map_or(0, |effect| effect.duplication_ppm);
        if self.chance(Stream::Duplication, rate) {
            self.udp_transmit(route, bytes);
        }
    }

    /// The arrival time, delayed if the datagram is reordered.
    #[inline]
    fn udp_reorder(&mut self, from: u32, to: u32, at: Nanos) -> Nanos {
        let Some(effect) = self.net.links.effect(from, to) else { return at };
        let rate = effect.reordering_ppm;
        if !self.chance(Stream::Reordering, rate) {
            return at;
        }
        let delay = self.kernel.draw(Stream::Reordering, REORDER_DELAY_MAX);
        self.trace_delay(delay, DeliveryProblem::Overtaken, false);
        at + delay
    }

    /// Perhaps changes a byte of a datagram that is sent.
    #[inline]
    fn udp_corrupt(&mut self, route: &Route, index: u32) {
        let &Route { from, to, .. } = route;
        let Some(effect) = self.net.links.effect(from, to) else { return };
        let (rate, length) = (effect.corruption_ppm, self.net.udp.in_flight[index as usize].payload.len());
        if let Some((offset, change)) = self.corruption((from, to), rate, length as u64) {
            self.net.udp.in_flight[index as usize].payload[offset as usize] ^= change;
        }
    }

    #[inline]
    fn udp_store(&mut self, route: &Route, bytes: &[u8], state: DatagramState) -> u32 {
        let &Route { sender, source, target, to, interface, .. } = route;
        let sockets = &mut self.net.udp;
        let mut payload = sockets.spare_buffers.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(bytes);
        let datagram = Datagram { from: sender, source, target, machine: to, interface, payload, state };
        match sockets.free_datagrams.pop() {
            Some(index) => {
                sockets.in_flight[index as usize] = datagram;
                index
            }
            None => {
                sockets.in_flight.push(datagram);
                (sockets.in_flight.len() - 1) as u32
            }
        }
    }

    /// A cut begins: datagrams in flight in a direction that `is_cut` holds of are lost.
    pub(super) fn udp_lose_in_flight(&mut self, is_cut: impl Fn(u32, u32) -> bool) {
        if self.net.links.in_flight_at_cut == InFlightAtCut::Arrives {
            return;
        }
        for datagram in &mut self.net.udp.in_flight {
            if let DatagramState::InFlight { sender } = datagram.state
                && sender != datagram.machine
                && is_cut(sender, datagram.machine)
                && !self.net.links.is_open(sender, datagram.machine)
            {
                datagram.state = DatagramState::Lost;
            }
        }
    }

    /// What was held is in flight again.
    pub(super) fn udp_released(&mut self, event: Event) {
        if let Event::Datagram(index) = event
            && let state = &mut self.net.udp.in_flight[index as usize].state
            && let DatagramState::Held { sender } = *state
        {
            *state = DatagramState::InFlight { sender };
        }
    }

    pub(crate) fn datagram_arrives(&mut self, index: u32) {
        let datagram = &mut self.net.udp.in_flight[index as usize];
        let Datagram { from, source, target, machine, interface, .. } = *datagram;
        let payload = std::mem::take(&mut datagram.payload);
        let state = std::mem::replace(&mut datagram.state, DatagramState::Arrived);
        self.net.udp.free_datagrams.push(index);
        if state == DatagramState::Lost {
            self.trace_datagram(Some(DeliveryProblem::Cut));
            return self.net.udp.spare_buffers.push(payload);
        }
        let bytes = payload.len() as u64;
        self.kernel.happened_often(|| EventKind::Datagram { to: machine, bytes });
        if let Some(why) = self.hosts.silence(machine) {
            self.trace_datagram(Some(why));
            return self.net.udp.spare_buffers.push(payload);
        }
        if address::is_of_many(target.ip()) {
            self.udp_deliver_to_many(machine, (source, target), interface, &payload);
            return self.net.udp.spare_buffers.push(payload);
        }
        if !self.net.addresses.is_local(target.ip(), machine) {
            // The machine has another address since it was sent.
            self.trace_datagram(Some(DeliveryProblem::NoReceiver));
            return self.net.udp.spare_buffers.push(payload);
        }
        let all = &self.net.udp.all;
        let accepts = |index: u32| match all[index as usize].peer {
            _ if !all[index as usize].takes_at(target.ip()) => None,
            Some(peer) => is_peer(peer, source).then_some(if peer.port() == 0 { 1 } else { 2 }),
            None => Some(0),
        };
        let Some(found) = self.net.udp_ports.find(machine, target.ip(), target.port(), accepts) else {
            self.net.udp.spare_buffers.push(payload);
            self.trace_datagram(Some(DeliveryProblem::NoReceiver));
            return self.send_port_unreachable(from, machine, target);
        };
        self.udp_enqueue(found, source, payload);
    }

    /// A datagram is put into a socket's receive buffer, if that has room.
    fn udp_enqueue(&mut self, found: u32, source: SocketAddr, payload: Vec<u8>) {
        let socket = &mut self.net.udp.all[found as usize];
        if socket.queued_bytes + truesize(&payload) > RECEIVE_BUFFER {
            self.trace_datagram(Some(DeliveryProblem::Full));
            return self.net.udp.spare_buffers.push(payload);
        }
        socket.queued_bytes += truesize(&payload);
        socket.queue.push_back((source, payload));
        self.trace_datagram(None);
        self.wake_socket(found);
    }

    /// Answers with ICMP port unreachable; only a connected socket gets the error (udp(7)).
    fn send_port_unreachable(&mut self, sender: SocketId, machine: u32, target: SocketAddr) {
        let Ok(socket) = self.net.udp.get(sender) else {
            return;
        };
        let from = socket.machine;
        // What comes back is for a socket that is bound where the datagram came from.
        let is_peer = socket.peer.is_some_and(|peer| is_peer(peer, target));
        if !is_peer || socket.is_at_many() || !socket.takes_from(target) {
            return;
        }
        self.trace_message(MessageKind::Unreachable, None, machine, from, &[]);
        match self.message_delivery(machine, from, 0) {
            Delivery::Arrives(at) => self.schedule(at, Event::Unreachable(sender)),
            Delivery::Held => self.hold_event(machine, from, Event::Unreachable(sender)),
            Delivery::Lost => {}
        }
    }

    pub(crate) fn port_unreachable_arrives(&mut self, id: SocketId) {
        if let Ok(socket) = self.net.udp.get(id) {
            socket.error = Some(libc::ECONNREFUSED);
            self.wake_socket(id.index);
        }
    }

    fn wake_socket(&mut self, index: u32) {
        let waiters = self.net.udp.all[index as usize].waiters.take();
        self.kernel.wake_all(waiters);
    }

    /// The next datagram; what does not fit the buffer is lost, unless it is only looked at.
    pub(super) fn udp_receive(
        &mut self,
        id: SocketId,
        buffer: &mut [u8],
        peek: bool,
    ) -> io::Result<Option<(usize, SocketAddr)>> {
        let socket = self.net.udp.get(id)?;
        socket.take_error()?;
        let Some((source, payload)) = socket.queue.front() else {
            return Ok(None);
        };
        let (source, n) = (socket.in_family(*source), payload.len().min(buffer.len()));
        buffer[..n].copy_from_slice(&payload[..n]);
        if !peek && let Some((_, payload)) = socket.queue.pop_front() {
            socket.queued_bytes -= truesize(&payload);
            self.net.udp.spare_buffers.push(payload);
        }
        Ok(Some((n, source)))
    }

    fn udp_register_waiter<T>(&mut self, id: SocketId, waiter: Waiter, received: &io::Result<Option<T>>) {
        let redundant = match (received, self.net.udp.get(id)) {
            (Ok(None), Ok(socket)) => {
                let redundant = socket.waiters.add(waiter);
                self.kernel.waits_for(WaitsFor::Datagram);
                redundant
            }
            _ => Some(waiter),
        };
        self.kernel.discard(redundant);
    }
}

/// A UDP socket on a simulated machine, with the methods of tokio's.
#[derive(Debug)]
pub struct UdpSocket {
    process: Process,
    id: SocketId,
}

impl UdpSocket {
    pub(super) fn open(process: Process, address: SocketAddr) -> io::Result<Self> {
        let id = cluster::with(process.run, |run| run.udp_open(process, address, SocketOptions::default()))?;
        Ok(Self { process, id })
    }

    fn run(&self) -> RunId {
        self.process.run
    }

    /// The local address. Unspecified until the socket is connected, if it was bound so.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        cluster::with(self.run(), |run| Ok(run.net.udp.get(self.id)?.shown_local()))
    }

    /// The connected peer's address.
    ///
    /// # Errors
    /// `NotConnected` before [`connect`](UdpSocket::connect).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        cluster::with(self.run(), |run| {
            let socket = run.net.udp.get(self.id)?;
            socket.shown_peer().ok_or_else(|| address::os_error(libc::ENOTCONN))
        })
    }

    /// Connects to a peer: from now on datagrams from other addresses are dropped.
    pub async fn connect(&self, address: impl ToAddress) -> io::Result<()> {
        let addresses = Network(self.process).resolve(address.to_address()).await?;
        Address::first_of(addresses, async |address| self.connect_to(address)).await
    }

    fn connect_to(&self, peer: SocketAddr) -> io::Result<()> {
        cluster::with(self.run(), |run| run.udp_connect(self.id, peer))
    }

    /// Sends one datagram, to the first address of a name. Never waits: a datagram without bandwidth or receive buffer
    /// is dropped.
    ///
    /// # Errors
    /// `EMSGSIZE` above 65,507 bytes, or 65,527 over IPv6.
    pub async fn send_to(&self, buffer: &[u8], target: impl ToAddress) -> io::Result<usize> {
        let target = Network(self.process).resolve(target.to_address()).await?.next();
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to");
        self.try_send_to(buffer, target.ok_or_else(none)?)
    }

    /// Sends one datagram, without waiting.
    pub fn try_send_to(&self, buffer: &[u8], target: SocketAddr) -> io::Result<usize> {
        cluster::with(self.run(), |run| run.udp_send(self.id, buffer, Some(target)))
    }

    /// Sends one datagram to the connected peer.
    pub async fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.try_send(buffer)
    }

    /// Sends one datagram to the connected peer, without waiting.
    pub fn try_send(&self, buffer: &[u8]) -> io::Result<usize> {
        cluster::with(self.run(), |run| run.udp_send(self.id, buffer, None))
    }

    fn receive(
        &self,
        waiter: Waiter,
        buffer: &mut [u8],
        peek: bool,
    ) -> io::Result<Option<(usize, SocketAddr)>> {
        cluster::with(self.run(), |run| {
            let received = run.udp_receive(self.id, buffer, peek);
            run.udp_register_waiter(self.id, waiter, &received);
            received
        })
    }

    /// Receives one datagram. Bytes beyond the buffer are discarded.
    ///
    /// # Cancellation
    /// Dropping the future loses no datagram.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        until(|waiter| self.receive(waiter, buffer, false)).await
    }

    /// Receives one datagram from the connected peer.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buffer).await.map(|(n, _)| n)
    }

    /// Waits for a datagram and copies it; it stays in the receive buffer.
    pub async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        until(|waiter| self.receive(waiter, buffer, true)).await
    }

    /// Receives a datagram, or registers the waker.
    pub fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        self.poll_receive(context, buffer, false)
    }

    fn try_receive(&self, buffer: &mut [u8], peek: bool) -> io::Result<(usize, SocketAddr)> {
        let received = cluster::with(self.run(), |run| {
            // As in tokio, only data makes the socket ready; without data a pending error stays for a waiting receive.
            let is_ready = !run.net.udp.get(self.id)?.queue.is_empty();
            if is_ready { run.udp_receive(self.id, buffer, peek) } else { Ok(None) }
        })?;
        received.ok_or_else(|| io::ErrorKind::WouldBlock.into()) // tokio's has no number either
    }

    /// Receives a datagram, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_receive(buffer, false)
    }

    /// Copies a datagram, without waiting; it stays in the receive buffer.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_receive(buffer, true)
    }

    /// Receives a datagram from the connected peer, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_recv_from(buffer).map(|(n, _)| n)
    }

    fn is_readable(&self, waiter: Waiter) -> io::Result<Option<()>> {
        cluster::with(self.run(), |run| {
            let ready = Ok((!run.net.udp.get(self.id)?.queue.is_empty()).then_some(()));
            run.udp_register_waiter(self.id, waiter, &ready);
            ready
        })
    }

    /// Waits until a datagram can be received. A pending error alone does not wake it, only a waiting receive.
    pub async fn readable(&self) -> io::Result<()> {
        until(|waiter| self.is_readable(waiter)).await
    }

    /// Whether a datagram can be received; if not, registers the waker.
    pub fn poll_recv_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_of(self.is_readable(Waiter::of(context.waker())))
    }

    /// Returns at once: a datagram can always be sent.
    pub async fn writable(&self) -> io::Result<()> {
        Ok(())
    }

    /// Always ready.
    pub fn poll_send_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends one datagram.
    pub fn poll_send_to(
        &self,
        _: &mut Context<'_>,
        buffer: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.try_send_to(buffer, target))
    }

    /// Sends one datagram to the connected peer.
    pub fn poll_send(&self, _: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.try_send(buffer))
    }

    /// The time to live (`IP_TTL`). It is stored only: the network has no hops.
    pub fn ttl(&self) -> io::Result<u32> {
        cluster::with(self.run(), |run| Ok(run.net.udp.get(self.id)?.options.ttl))
    }

    /// Sets the time to live (`IP_TTL`).
    ///
    /// # Errors
    /// `InvalidInput` outside of 1 to 255 (ip(7)).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = address::check_ttl(ttl)?;
        cluster::with(self.run(), |run| {
            run.net.udp.get(self.id)?.options.ttl = ttl;
            Ok(())
        })
    }

    /// Takes the pending error (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        cluster::with(self.run(), |run| Ok(run.net.udp.get(self.id)?.take_error().err()))
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        cluster::try_with(self.run(), |run| run.udp_close(self.id));
    }
}

impl steelmill_core::UdpSocket for UdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    async fn connect(&self, address: impl ToAddress) -> io::Result<()> {
        self.connect(address).await
    }

    async fn send_to(&self, buffer: &[u8], target: impl ToAddress) -> io::Result<usize> {
        let addresses = Network(self.process).resolve(target.to_address()).await?;
        Address::first_of(addresses, async |target| self.try_send_to(buffer, target)).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_from(buffer).await
    }

    async fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.send(buffer).await
    }

    async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer).await
    }

    async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.peek_from(buffer).await
    }

    async fn readable(&self) -> io::Result<()> {
        self.readable().await
    }

    async fn writable(&self) -> io::Result<()> {
        self.writable().await
    }

    fn try_send_to(&self, buffer: &[u8], target: SocketAddr) -> io::Result<usize> {
        self.try_send_to(buffer, target)
    }

    fn try_send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.try_send(buffer)
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_recv_from(buffer)
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_recv(buffer)
    }

    fn ttl(&self) -> io::Result<u32> {
        self.ttl()
    }

    fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.set_ttl(ttl)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }
}
