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

fn existing(index: u32) -> Option<u8> {
    u8::try_from(index).ok().filter(|index| [LOOPBACK, INTERFACE].contains(index))
}

impl Options {
    /// To which interface a bind to an address binds the socket.
    ///
    /// # Errors
    /// As `__inet6_bind()` of Linux: `EINVAL` if nothing says to which, `ENODEV` if there is no such interface.
    pub(crate) fn interface_to_bind(&self, address: SocketAddr) -> Result<Option<u8>, Errno> {
        match named(address) {
            Some(index) => existing(index).ok_or(libc::ENODEV).map(Some),
            None if self.interface.is_none() && needs_interface(address.ip()) => Err(libc::EINVAL),
            None => Ok(self.interface),
        }
    }

    /// To which interface a connect to an address binds the socket.
    ///
    /// # Errors
    /// As `__ip6_datagram_connect()` and `tcp_v6_connect()` of Linux: `EINVAL` if nothing says to which, or if it is bound to another, and
    /// `ENETUNREACH` if there is no such interface.
    pub(crate) fn interface_to_connect(&self, peer: SocketAddr) -> Result<Option<u8>, Errno> {
        if !needs_interface(peer.ip()) {
            return Ok(self.interface);
        }
        let of_groups = self.multicast_interface(true).filter(|_| peer.ip().is_multicast());
        match (named(peer), self.interface) {
            (Some(index), Some(bound)) if index != u32::from(bound) => Err(libc::EINVAL),
            (Some(index), _) => existing(index).ok_or(libc::ENETUNREACH).map(Some),
            (None, bound) => bound.or(of_groups).ok_or(libc::EINVAL).map(Some),
        }
    }

    /// Whether there is a way to a target, if that is a group of IPv6: loopback is none, as Linux has no route to groups there
    /// (`addrconf_add_dev()`).
    ///
    /// # Errors
    /// `ENETUNREACH`.
    pub(crate) fn check_way(&self, target: SocketAddr) -> Result<(), Errno> {
        let interface = || {
            let own = self.interface.or(self.multicast_interface(true)).map(u32::from);
            named(target).or(own).unwrap_or(INTERFACE.into())
        };
        let is_group = target.is_ipv6() && target.ip().is_multicast();
        if is_group && interface() != u32::from(INTERFACE) { Err(libc::ENETUNREACH) } else { Ok(()) }
    }
}

impl AddressBook {
    /// Whether a socket of a machine may be bound to an address, and to which interface that binds it.
    ///
    /// # Errors
    /// As bind(2): `EADDRNOTAVAIL`, and those of [`interface_to_bind`](Options::interface_to_bind).
    pub(crate) fn check_bind(
        &self,
        machine: u32,
        address: SocketAddr,
        is_stream: bool,
        options: &Options,
    ) -> Result<Option<u8>, Errno> {
        let ip = address.ip().to_canonical();
        let is_group = ip.is_ipv6() && ip.is_multicast();
        if is_group && is_stream {
            return Err(libc::EINVAL);
        }
        let interface = options.interface_to_bind(address)?;
        // Of IPv4, groups and broadcast are addresses for TCP as well, though nothing arrives there.
        let is_own = address::is_of_many(ip) || self.is_local(ip, machine);
        if is_own { Ok(interface) } else { Err(libc::EADDRNOTAVAIL) }
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
