//! The network interfaces of a machine (netdevice(7)): its loopback, and the one to all other machines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::options::{INTERFACE, LOOPBACK};
use crate::machine::cluster::Cluster;

/// A network interface, with its addresses and how many bits of each are its network's.
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: &'static str,
    /// As SIOCGIFFLAGS gives them.
    pub(crate) flags: u32,
    /// The kind of hardware (`ARPHRD_LOOPBACK`, `ARPHRD_ETHER`) and its address.
    pub(crate) hardware: (u16, [u8; 6]),
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<(IpAddr, u8)>,
}

impl Interface {
    pub(crate) fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }

    /// The broadcast address of an IPv4 network.
    pub(crate) fn broadcast(&self, ip: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
        (!self.is_loopback()).then(|| Ipv4Addr::from_bits(ip.to_bits() | (u32::MAX >> prefix)))
    }
}

const UP: i32 = libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP;

impl Cluster {
    /// The interfaces of a machine, by index.
    pub(crate) fn interfaces(&self, machine: u32) -> [Interface; 2] {
        let (v4, v6) = (self.net.addresses.v4(machine), self.net.addresses.v6(machine));
        let [_, a, b, c] = v4.octets();
        [
            Interface {
                index: LOOPBACK.into(),
                name: "lo",
                flags: (UP | libc::IFF_LOOPBACK) as u32,
                hardware: (libc::ARPHRD_LOOPBACK, [0; 6]),
                mtu: 65_536,
                addresses: vec![(Ipv4Addr::LOCALHOST.into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)],
            },
            Interface {
                index: INTERFACE.into(),
                name: "eth0",
                flags: (UP | libc::IFF_BROADCAST | libc::IFF_MULTICAST) as u32,
                hardware: (libc::ARPHRD_ETHER, [0x02, 0, 10, a, b, c]),
                mtu: 1_500,
                addresses: vec![(v4.into(), 8), (v6, 64)],
            },
        ]
    }
}
