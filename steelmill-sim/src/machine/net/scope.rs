//! IPv6 addresses of one link (RFC 4007): such an address does not say by itself to which interface it belongs. Its scope ID does, or what
//! the socket is bound to.

use std::net::{IpAddr, SocketAddr};

use super::address::{self, AddressBook};
use super::options::{INTERFACE, LOOPBACK, Options};
use crate::machine::descriptors::Errno;

/// Whether an address is of one link or interface: `__ipv6_addr_needs_scope_id()` of Linux.
pub(crate) fn needs_interface(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V6(ip) if ip.is_multicast() => matches!(ip.segments()[0] & 0xf, 1 | 2), // RFC 4291 §2.7
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    }
}

/// The interface that an address of one link names, if it does.
fn named(address: SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(address) if needs_interface(address.ip().to_owned().into()) => {
            Some(address.scope_id()).filter(|index| *index != 0)
        }
        _ => None,
    }
}

/// An address as getsockname(2) and getpeername(2) give it of a socket that is bound to an interface.
pub(crate) fn shown(mut address: SocketAddr, interface: Option<u8>) -> SocketAddr {
    if let (SocketAddr::V6(v6), Some(interface)) = (&mut address, interface)
        && needs_interface(v6.ip().to_owned().into())
    {
        v6.set_scope_id(interface.into());
    }
    address
}

/// An interface that does not exist, of which a bind or a connect leaves the socket nevertheless.
const NONE: u8 = u8::MAX;

fn kept(index: u32) -> u8 {
    u8::try_from(index).unwrap_or(NONE)
}

fn exists(index: u8) -> bool {
    [LOOPBACK, INTERFACE].contains(&index)
}

impl Options {
    /// A bind to an address binds the socket to its interface, also where it fails later.
    ///
    /// # Errors
    /// As `__inet6_bind()` of Linux: `EINVAL` if nothing says to which, `ENODEV` if there is no such interface.
    fn bind_to_interface(&mut self, address: SocketAddr) -> Result<(), Errno> {
        if !needs_interface(address.ip()) {
            return Ok(());
        }
        self.interface = named(address).map(kept).or(self.interface);
        if exists(self.interface.ok_or(libc::EINVAL)?) { Ok(()) } else { Err(libc::ENODEV) }
    }

    /// A connect to an address binds the socket to its interface, also where it fails later.
    ///
    /// # Errors
    /// As `__ip6_datagram_connect()` and `tcp_v6_connect()` of Linux: `EINVAL` if nothing says to which, or if it is bound to another.
    pub(crate) fn connect_to_interface(&mut self, peer: SocketAddr) -> Result<(), Errno> {
        if !needs_interface(peer.ip()) {
            return Ok(());
        }
        let of_groups = self.multicast_interface(true).filter(|_| peer.ip().is_multicast());
        let interface = match (named(peer).map(kept), self.interface) {
            (Some(index), Some(bound)) if index != bound => None,
            (index, bound) => index.or(bound).or(of_groups),
        };
        self.interface = Some(interface.ok_or(libc::EINVAL)?);
        Ok(())
    }

    /// Whether there is a way to a target by the interface that the target or the socket says. Loopback is none to groups of IPv6, as
    /// Linux has no route to them there (`addrconf_add_dev()`).
    ///
    /// # Errors
    /// `ENETUNREACH`; `ENODEV` over IPv4 if there is no such interface.
    pub(crate) fn check_way(&self, target: SocketAddr) -> Result<(), Errno> {
        let ip = target.ip().to_canonical();
        let of_groups = self.multicast_interface(true).filter(|_| ip.is_multicast());
        let interface = match ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => return Err(libc::ENETUNREACH), // no machine has one
            IpAddr::V4(_) => self.interface,
            IpAddr::V6(_) => named(target).map(kept).or(self.interface).or(of_groups),
        };
        let Some(interface) = interface else { return Ok(()) };
        match ip {
            IpAddr::V4(_) if !exists(interface) => Err(libc::ENODEV),
            IpAddr::V6(ip) if interface != interface_of(ip.into()) => Err(libc::ENETUNREACH),
            _ => Ok(()),
        }
    }
}

/// By which interface packets to an address of the machine come to it: those to its address among others by that one, though they do not
/// leave the machine.
pub(crate) fn interface_of(ip: IpAddr) -> u8 {
    if ip.is_loopback() || ip.is_unspecified() { LOOPBACK } else { INTERFACE }
}

impl AddressBook {
    /// Whether a socket of a machine may be bound to an address.
    ///
    /// # Errors
    /// As bind(2): `EADDRNOTAVAIL`, and those of addresses of one link.
    pub(crate) fn check_bind(
        &self,
        machine: u32,
        address: SocketAddr,
        is_stream: bool,
        options: &mut Options,
    ) -> Result<(), Errno> {
        let ip = address.ip().to_canonical();
        if ip.is_ipv6() && ip.is_multicast() && is_stream {
            return Err(libc::EINVAL);
        }
        options.bind_to_interface(address)?;
        // Of IPv4, groups and broadcast are addresses for TCP as well, though nothing arrives there.
        let is_own = address::is_of_many(ip) || self.is_local(ip, machine);
        if is_own { Ok(()) } else { Err(libc::EADDRNOTAVAIL) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_link_need_an_interface() {
        let needs = |ip: &str| needs_interface(ip.parse().expect("an address"));
        for ip in ["fe80::1", "febf::1", "ff02::fb", "ff01::1", "ff12::1"] {
            assert!(needs(ip), "{ip}");
        }
        for ip in ["::1", "fd00::1", "ff05::fb", "ff00::1", "fec0::1", "::ffff:224.0.0.251", "224.0.0.251"] {
            assert!(!needs(ip), "{ip}");
        }
    }
}
