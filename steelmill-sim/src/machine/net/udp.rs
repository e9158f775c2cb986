//! UDP sockets: datagrams that arrive whole, or not at all.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use steelmill_core::{Address, ToAddress};
use tokio::io::ReadBuf;

use super::link::Fate;
use super::{Event, Network, address, poll_of, until};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::timers::Nanos;
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::{self, Cluster, RunId};
use crate::machine::hosts::Power;
use crate::machine::world::Process;
use crate::schema::decision::Stream;
use crate::schema::event::{DeliveryProblem, EventKind, MessageKind};

/// The longest payload of a datagram: 64 KiB less one, less UDP's header, and over IPv4 less that of IPv4 (udp(7)).
fn longest(target: SocketAddr) -> usize {
    if target.is_ipv4() { 65_507 } else { 65_527 }
}

/// How many bytes wait to be received before more are dropped: Linux's `rmem_default` (socket(7)).
const QUEUE: usize = 212_992;

/// For how long a datagram that is to be overtaken is kept back, at most.
const KEPT_BACK: Nanos = 20_000_000;

/// What a datagram costs in the queue: Linux counts the memory it takes, headers and bookkeeping included, in the sizes
/// in which the kernel hands it out.
fn cost(payload: &[u8]) -> usize {
    let size = payload.len() + 384;
    256 + match size {
        0..=576 => 576,
        577..=16_384 => size.next_power_of_two(),
        _ => size.next_multiple_of(4096),
    }
}

/// Names a socket. The generation tells a reused place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId {
    index: u32,
    generation: u32,
}

#[derive(Default)]
pub(crate) struct Sockets {
    all: Vec<State>,
    free: Vec<u32>,
    /// Datagrams on their way, and the places of those that have arrived.
    flying: Vec<Datagram>,
    landed: Vec<u32>,
    /// Payload buffers to be used again.
    buffers: Vec<Vec<u8>>,
}

impl Sockets {
    pub(super) fn waiters(&mut self) -> impl Iterator<Item = &mut Waiters> {
        self.all.iter_mut().map(|socket| &mut socket.waiters)
    }
}

struct State {
    generation: u32,
    machine: u32,
    /// What it was bound to, and what it shows: a connected socket has one address, and an IPv6 socket shows all of
    /// them as its own.
    bound: SocketAddr,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    ttl: u32,
    queue: VecDeque<(SocketAddr, Vec<u8>)>,
    queued: usize,
    error: Option<i32>,
    waiters: Waiters,
}

/// Where a datagram comes from and goes to.
struct Way {
    sender: SocketId,
    source: SocketAddr,
    target: SocketAddr,
    from: u32,
    to: u32,
}

struct Datagram {
    from: SocketId,
    source: SocketAddr,
    target: SocketAddr,
    machine: u32,
    payload: Vec<u8>,
}

impl Sockets {
    fn get(&mut self, id: SocketId) -> io::Result<&mut State> {
        self.all
            .get_mut(id.index as usize)
            .filter(|socket| socket.generation == id.generation)
            .ok_or_else(|| address::os_error(libc::EBADF))
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len() - self.free.len()
    }
}

impl State {
    fn take_error(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), |code| Err(address::os_error(code)))
    }

    /// An address as the socket shows it.
    fn shown(&self, address: SocketAddr) -> SocketAddr {
        if self.local.is_ipv6() { address::as_ipv6(address) } else { address }
    }
}

impl Cluster {
    fn udp_open(&mut self, place: Process, local: SocketAddr) -> io::Result<SocketId> {
        if !self.is_alive(place.machine, place.incarnation) {
            return Err(address::os_error(libc::ENETDOWN));
        }
        let sockets = &mut self.net.udp;
        let index = sockets.free.last().copied().unwrap_or(sockets.all.len() as u32);
        let is_ipv6 = local.is_ipv6();
        let bound = self.net.udp_ports.bind(place.machine, address::plain(local), index)?;
        let mut socket = State {
            generation: 0,
            machine: place.machine,
            bound,
            local: if is_ipv6 { address::as_ipv6(bound) } else { bound },
            peer: None,
            ttl: 64,
            queue: VecDeque::new(),
            queued: 0,
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

    fn udp_close(&mut self, id: SocketId) {
        let Ok(socket) = self.net.udp.get(id) else { return };
        let (machine, bound) = (socket.machine, socket.bound);
        socket.generation = socket.generation.wrapping_add(1);
        let queue = std::mem::take(&mut socket.queue);
        let waiters = std::mem::take(&mut socket.waiters);
        self.kernel.discard_all(waiters);
        self.net.udp.buffers.extend(queue.into_iter().map(|(_, payload)| payload));
        self.net.udp.free.push(id.index);
        self.net.udp_ports.release(machine, bound, id.index);
    }

    pub(crate) fn udp_machine_gone(&mut self, machine: u32) {
        for index in self.net.udp_ports.of(machine) {
            self.udp_close(SocketId { index, generation: self.net.udp.all[index as usize].generation });
        }
    }

    fn udp_send(&mut self, id: SocketId, bytes: &[u8], target: Option<SocketAddr>) -> io::Result<usize> {
        let socket = self.net.udp.get(id)?;
        socket.take_error()?;
        let target = target.or(socket.peer).ok_or_else(|| address::os_error(libc::EDESTADDRREQ))?;
        if target.port() == 0 {
            return Err(address::os_error(libc::EINVAL));
        }
        let (from, local) = (socket.machine, socket.local);
        let (target, machine) = address::way(local, target, from)?;
        if bytes.len() > longest(target) {
            return Err(address::os_error(libc::EMSGSIZE));
        }
        self.kernel.digest.bytes(bytes);
        self.kernel.sent(&[io::IoSlice::new(bytes)], bytes.len());
        if machine as usize >= self.hosts.len() {
            self.leaves(MessageKind::Datagram, None, from, machine, bytes);
            self.leaves_in_vain(DeliveryProblem::NoReceiver, false);
            return Ok(bytes.len()); // lost, and nobody is told
        }
        let source = match local.ip().is_unspecified() {
            true => SocketAddr::new(address::source(target.ip(), from), local.port()),
            false => address::plain(local),
        };
        let way = Way { sender: id, source, target, from, to: machine };
        if self.net.links.effect(from, machine).is_some_and(|effect| effect.duplication_ppm > 0) {
            self.udp_double(&way, bytes);
        }
        self.udp_transmit(&way, bytes);
        Ok(bytes.len())
    }

    /// Puts a datagram on its way; a lost one costs nothing.
    #[inline]
    fn udp_transmit(&mut self, way: &Way, bytes: &[u8]) {
        let &Way { from, to, .. } = way;
        self.leaves(MessageKind::Datagram, None, from, to, bytes);
        match self.message_fate(from, to, bytes.len() as u64) {
            Fate::Arrives(at) => {
                let at = self.udp_kept_back(from, to, at);
                let datagram = self.udp_fly(way, bytes);
                self.schedule(at, Event::Datagram(datagram));
            }
            Fate::Held => {
                let datagram = self.udp_fly(way, bytes);
                self.keep(from, to, Event::Datagram(datagram));
            }
            Fate::Lost => {}
        }
    }

    #[cold]
    fn udp_double(&mut self, way: &Way, bytes: &[u8]) {
        let rate = self.net.links.effect(way.from, way.to).map_or(0, |effect| effect.duplication_ppm);
        if self.chance(Stream::Duplication, rate) {
            self.udp_transmit(way, bytes);
        }
    }

    /// When a datagram arrives that others may be let past.
    #[inline]
    fn udp_kept_back(&mut self, from: u32, to: u32, at: Nanos) -> Nanos {
        let Some(effect) = self.net.links.effect(from, to) else { return at };
        let rate = effect.reordering_ppm;
        if !self.chance(Stream::Reordering, rate) {
            return at;
        }
        let kept_back = self.kernel.draw(Stream::Reordering, KEPT_BACK);
        self.leaves_late(kept_back, DeliveryProblem::Overtaken, false);
        at + kept_back
    }

    /// A place for a datagram while it is on its way.
    #[inline]
    fn udp_fly(&mut self, way: &Way, bytes: &[u8]) -> u32 {
        let &Way { sender, source, target, to, .. } = way;
        let sockets = &mut self.net.udp;
        let mut payload = sockets.buffers.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(bytes);
        let datagram = Datagram { from: sender, source, target, machine: to, payload };
        match sockets.landed.pop() {
            Some(index) => {
                sockets.flying[index as usize] = datagram;
                index
            }
            None => {
                sockets.flying.push(datagram);
                (sockets.flying.len() - 1) as u32
            }
        }
    }

    pub(crate) fn datagram_arrives(&mut self, index: u32) {
        let datagram = &mut self.net.udp.flying[index as usize];
        let Datagram { from, source, target, machine, .. } = *datagram;
        let payload = std::mem::take(&mut datagram.payload);
        self.net.udp.landed.push(index);
        let bytes = payload.len() as u64;
        self.kernel.happened_often(|| EventKind::Datagram { to: machine, bytes });
        if self.hosts[machine].power == Power::Off {
            self.datagram_landed(Some(DeliveryProblem::PowerOff));
            return self.net.udp.buffers.push(payload);
        }
        let all = &self.net.udp.all;
        let takes = |index: u32| all[index as usize].peer.is_none_or(|peer| peer == source);
        let Some(found) = self.net.udp_ports.find(machine, target.ip(), target.port(), takes) else {
            self.net.udp.buffers.push(payload);
            self.datagram_landed(Some(DeliveryProblem::NoReceiver));
            return self.nobody_listens(from, machine, target);
        };
        let socket = &mut self.net.udp.all[found as usize];
        if socket.queued + cost(&payload) > QUEUE {
            self.datagram_landed(Some(DeliveryProblem::Full));
            return self.net.udp.buffers.push(payload); // the newest is dropped
        }
        socket.queued += cost(&payload);
        socket.queue.push_back((source, payload));
        self.datagram_landed(None);
        self.wake_socket(found);
    }

    /// The host answers that nobody listens there (ICMP port unreachable); only a connected socket hears of it (udp(7)).
    fn nobody_listens(&mut self, sender: SocketId, machine: u32, target: SocketAddr) {
        let Ok(socket) = self.net.udp.get(sender) else {
            return;
        };
        let from = socket.machine;
        if socket.peer != Some(target) {
            return;
        }
        self.leaves(MessageKind::Unreachable, None, machine, from, &[]);
        match self.message_fate(machine, from, 0) {
            Fate::Arrives(at) => self.schedule(at, Event::Unreachable(sender)),
            Fate::Held => self.keep(machine, from, Event::Unreachable(sender)),
            Fate::Lost => {}
        }
    }

    pub(crate) fn unreachable(&mut self, id: SocketId) {
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
    fn udp_receive(
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
        let (source, n) = (socket.shown(*source), payload.len().min(buffer.len()));
        buffer[..n].copy_from_slice(&payload[..n]);
        if !peek && let Some((_, payload)) = socket.queue.pop_front() {
            socket.queued -= cost(&payload);
            self.net.udp.buffers.push(payload);
        }
        Ok(Some((n, source)))
    }

    fn udp_wait_if_none<T>(&mut self, id: SocketId, waiter: Waiter, received: &io::Result<Option<T>>) {
        let unneeded = match (received, self.net.udp.get(id)) {
            (Ok(None), Ok(socket)) => {
                let unneeded = socket.waiters.add(waiter);
                self.kernel.waits_for(WaitsFor::Datagram);
                unneeded
            }
            _ => Some(waiter),
        };
        self.kernel.discard(unneeded);
    }
}

/// A simulated UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    place: Process,
    id: SocketId,
}

impl UdpSocket {
    pub(super) fn open(place: Process, address: SocketAddr) -> io::Result<Self> {
        let id = cluster::with(place.run, |run| run.udp_open(place, address))?;
        Ok(Self { place, id })
    }

    fn run(&self) -> RunId {
        self.place.run
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        cluster::with(self.run(), |run| Ok(run.net.udp.get(self.id)?.local))
    }

    /// The address it was connected to.
    ///
    /// # Errors
    /// `NotConnected` before [`connect`](UdpSocket::connect).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        cluster::with(self.run(), |run| {
            let socket = run.net.udp.get(self.id)?;
            socket.peer.map(|peer| socket.shown(peer)).ok_or_else(|| address::os_error(libc::ENOTCONN))
        })
    }

    /// Fixes the peer: datagrams of others are dropped from now on.
    pub async fn connect(&self, address: impl ToAddress) -> io::Result<()> {
        let addresses = Network(self.place).resolve(address.to_address())?;
        Address::first_of(addresses, async |address| self.connect_to(address)).await
    }

    fn connect_to(&self, peer: SocketAddr) -> io::Result<()> {
        cluster::with(self.run(), |run| {
            let socket = run.net.udp.get(self.id)?;
            let has_ipv6_address =
                address::plain(socket.local).is_ipv6() && !socket.local.ip().is_unspecified();
            if has_ipv6_address && peer.is_ipv4() {
                return Err(address::os_error(libc::EAFNOSUPPORT));
            }
            let (peer, _) = address::way(socket.local, peer, socket.machine)?;
            socket.peer = Some(peer);
            // A connected socket has the one address its packets come from.
            if socket.local.ip().is_unspecified() {
                let source = SocketAddr::new(address::source(peer.ip(), socket.machine), socket.local.port());
                socket.local = socket.shown(source);
            }
            Ok(())
        })
    }

    /// Sends one datagram; to the first address, where a name has several. Never waits: what has no room on its way is
    /// lost.
    ///
    /// # Errors
    /// `EMSGSIZE` above 65,507 bytes, or 65,527 over IPv6.
    pub async fn send_to(&self, buffer: &[u8], target: impl ToAddress) -> io::Result<usize> {
        let target = Network(self.place).resolve(target.to_address())?.next();
        self.try_send_to(buffer, target.expect("whatever can be resolved has an address"))
    }

    /// Sends one datagram at once.
    pub fn try_send_to(&self, buffer: &[u8], target: SocketAddr) -> io::Result<usize> {
        cluster::with(self.run(), |run| run.udp_send(self.id, buffer, Some(target)))
    }

    /// Sends one datagram to the connected peer.
    pub async fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.try_send(buffer)
    }

    /// Sends one datagram to the connected peer at once.
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
            run.udp_wait_if_none(self.id, waiter, &received);
            received
        })
    }

    /// Receives one datagram; what does not fit the buffer is lost.
    ///
    /// # Cancellation
    /// Loses nothing.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        until(|waiter| self.receive(waiter, buffer, false)).await
    }

    /// Receives one datagram of the connected peer.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buffer).await.map(|(n, _)| n)
    }

    /// Waits for a datagram and copies it without taking it.
    pub async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        until(|waiter| self.receive(waiter, buffer, true)).await
    }

    /// Receives a datagram, or is woken when there is one.
    pub fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        let waiter = Waiter::of(context.waker());
        let received = self.receive(waiter, buffer.initialize_unfilled(), false);
        poll_of(received.map(|received| {
            received.map(|(n, source)| {
                buffer.advance(n);
                source
            })
        }))
    }

    fn try_receive(&self, buffer: &mut [u8], peek: bool) -> io::Result<(usize, SocketAddr)> {
        let received = cluster::with(self.run(), |run| {
            // As in tokio, readiness is of data: where there is none, an error stays for whoever waits.
            let is_ready = !run.net.udp.get(self.id)?.queue.is_empty();
            if is_ready { run.udp_receive(self.id, buffer, peek) } else { Ok(None) }
        })?;
        received.ok_or_else(|| address::os_error(libc::EAGAIN))
    }

    /// Receives a datagram that is already there.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_receive(buffer, false)
    }

    /// Copies a datagram that is already there without taking it.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_receive(buffer, true)
    }

    /// Receives a datagram of the connected peer that is already there.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_recv_from(buffer).map(|(n, _)| n)
    }

    fn is_readable(&self, waiter: Waiter) -> io::Result<Option<()>> {
        cluster::with(self.run(), |run| {
            let ready = Ok((!run.net.udp.get(self.id)?.queue.is_empty()).then_some(()));
            run.udp_wait_if_none(self.id, waiter, &ready);
            ready
        })
    }

    /// Waits until a datagram is there. An error alone wakes nobody here, only who receives.
    pub async fn readable(&self) -> io::Result<()> {
        until(|waiter| self.is_readable(waiter)).await
    }

    /// Whether a datagram is there; the task is woken when there is one.
    pub fn poll_recv_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_of(self.is_readable(Waiter::of(context.waker())))
    }

    /// Waits until a datagram can be sent: at once.
    pub async fn writable(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether a datagram can be sent: always.
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

    /// How many hops a packet may take; kept and told, but there are no hops here.
    pub fn ttl(&self) -> io::Result<u32> {
        cluster::with(self.run(), |run| Ok(run.net.udp.get(self.id)?.ttl))
    }

    /// Sets how many hops a packet may take.
    ///
    /// # Errors
    /// `InvalidInput` outside of 1 to 255 (ip(7)).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = address::hops(ttl)?;
        cluster::with(self.run(), |run| {
            run.net.udp.get(self.id)?.ttl = ttl;
            Ok(())
        })
    }

    /// Takes the error that the next call would fail with (`SO_ERROR`).
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
        let addresses = Network(self.place).resolve(target.to_address())?;
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
