//! Connections whose machine has changed its address: nothing gets through, neither data nor resets, until it has the address again.

use std::net::IpAddr;

use super::{ConnectionId, Side};
use crate::machine::cluster::Cluster;
use crate::machine::net::address;
use crate::machine::net::link::{Delivery, STRANDED};
use crate::schema::event::DeliveryProblem;
use crate::schema::segment::Segment;

impl Cluster {
    /// A machine has other addresses.
    pub(crate) fn tcp_address_changed(&mut self, machine: u32) {
        for (id, side) in self.net.tcp.ends_of(machine) {
            let Some(connection) = self.net.tcp.get(id) else { continue };
            let local: IpAddr = address::canonical(connection.addresses(side).local).ip();
            let is_stranded = !self.net.addresses.is_local(local, machine);
            let was_stranded = connection.set_stranded(side, is_stranded);
            if is_stranded && !was_stranded {
                self.lose_what_comes(id, side);
            }
        }
        self.tcp_link_blocked(machine, None);
        self.tcp_healed(machine, None, |_, _| true);
    }

    /// What is on its way to `side` finds nobody. What `side` has sent arrives.
    fn lose_what_comes(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let sender = connection.other(side);
        self.lose_handshake_segment(id, sender);
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.out(sender).has_flights() {
            connection.out(sender).lose_flights();
            self.trace_flights_lost(id, sender, DeliveryProblem::NoReceiver);
            self.stall(id, sender);
        }
    }

    /// The delivery of a segment of a connection without bytes.
    pub(super) fn send_segment(&mut self, id: ConnectionId, way: (u32, u32), segment: Segment) -> Delivery {
        let is_stranded = self.net.tcp.get(id).is_some_and(|connection| connection.is_stranded != [false; 2]);
        self.segment_delivery(way.0 | if is_stranded { STRANDED } else { 0 }, way.1, segment)
    }
}
