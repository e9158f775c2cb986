//! Socket addresses, between C's form and Rust's.

use std::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use libc::{sockaddr, sockaddr_in, sockaddr_in6, sockaddr_un, socklen_t};

use crate::machine::descriptors::Errno;
use crate::machine::net::{Name, NameFamily, SocketAddress};

/// The address at `address`, of whatever family.
///
/// # Errors
/// `EINVAL` without a family.
///
/// # Safety
/// `address` is null or valid for reads of `length` bytes.
pub(super) unsafe fn decode(address: *const sockaddr, length: socklen_t) -> Result<Name, Errno> {
    let length = length as usize;
    if length > size_of::<libc::sockaddr_storage>() {
        return Err(libc::EINVAL);
    }
    if address.is_null() {
        return Err(libc::EFAULT);
    }
    if length < size_of::<libc::sa_family_t>() {
        return Err(libc::EINVAL);
    }
    /// An IPv6 address may be without its scope (RFC 2133).
    const WITHOUT_SCOPE: usize = size_of::<sockaddr_in6>() - size_of::<u32>();
    // SAFETY: it is long enough for its family, and then, as checked, for what is read of that family's struct; it need not be
    // aligned.
    let family = unsafe {
        match c_int::from(address.cast::<libc::sa_family_t>().read_unaligned()) {
            libc::AF_INET if length >= size_of::<sockaddr_in>() => {
                let inner = address.cast::<sockaddr_in>().read_unaligned();
                let ip = Ipv4Addr::from_bits(u32::from_be(inner.sin_addr.s_addr));
                NameFamily::Internet(SocketAddr::new(ip.into(), u16::from_be(inner.sin_port)))
            }
            libc::AF_INET6 if length >= WITHOUT_SCOPE => {
                let inner = address.cast::<sockaddr_in6>();
                let ip = Ipv6Addr::from_octets((&raw const (*inner).sin6_addr.s6_addr).read_unaligned());
                let port = u16::from_be((&raw const (*inner).sin6_port).read_unaligned());
                let scope = match length < size_of::<sockaddr_in6>() {
                    true => 0,
                    false => (&raw const (*inner).sin6_scope_id).read_unaligned(),
                };
                NameFamily::Internet(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            libc::AF_UNSPEC => NameFamily::Unspecified,
            libc::AF_UNIX if length <= size_of::<sockaddr_un>() => {
                let name = address.cast::<u8>().add(PATH);
                let mut name = std::slice::from_raw_parts(name, length - PATH);
                // A path ends at its first zero byte; an abstract name has all that there is.
                if name.first().is_some_and(|first| *first != 0) {
                    name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(name.len())];
                }
                NameFamily::Unix(name.into())
            }
            libc::AF_NETLINK if length >= size_of::<libc::sockaddr_nl>() => {
                let inner = address.cast::<libc::sockaddr_nl>().read_unaligned();
                NameFamily::Netlink { port: inner.nl_pid, groups: inner.nl_groups }
            }
            _ => NameFamily::Other,
        }
    };
    Ok(Name { family, length })
}

/// Where the name begins in a `sockaddr_un`.
const PATH: usize = std::mem::offset_of!(sockaddr_un, sun_path);

/// An address in C's form, and how long that is.
pub(super) fn encoded(address: SocketAddr) -> (libc::sockaddr_storage, socklen_t) {
    // SAFETY: all zeros are a sockaddr_storage, which is aligned and large enough for every address.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let length = match address {
            SocketAddr::V4(address) => {
                (&raw mut storage).cast::<sockaddr_in>().write(sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
                    sin_zero: [0; 8],
                });
                size_of::<sockaddr_in>()
            }
            SocketAddr::V6(address) => {
                (&raw mut storage).cast::<sockaddr_in6>().write(sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                });
                size_of::<sockaddr_in6>()
            }
        };
        (storage, length as socklen_t)
    }
}

/// A name of the Unix domain in C's form, and how long that is.
fn encoded_unix(name: &[u8]) -> (libc::sockaddr_storage, socklen_t) {
    // SAFETY: all zeros are a sockaddr_storage, which is aligned and large enough for every address.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        let path = (&raw mut storage).cast::<u8>().add(PATH);
        std::ptr::copy_nonoverlapping(name.as_ptr(), path, name.len().min(size_of::<sockaddr_un>() - PATH));
        // A path ends with a zero byte.
        let zero = usize::from(name.first().is_some_and(|first| *first != 0));
        (storage, (PATH + name.len() + zero) as socklen_t)
    }
}

/// An address of netlink(7) in C's form, and how long that is.
fn encoded_netlink(port: u32, groups: u32) -> (libc::sockaddr_storage, socklen_t) {
    // SAFETY: all zeros are both; a sockaddr_storage is aligned and large enough for every address.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let mut address: libc::sockaddr_nl = std::mem::zeroed();
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        (address.nl_pid, address.nl_groups) = (port, groups);
        (&raw mut storage).cast::<libc::sockaddr_nl>().write(address);
        (storage, size_of::<libc::sockaddr_nl>() as socklen_t)
    }
}

/// Writes an address where a caller wants it, cut to the room there is (accept(2)).
///
/// # Safety
/// `length` is null, or valid, with `address` valid for writes of so many bytes.
pub(super) unsafe fn give(value: &SocketAddress, address: *mut sockaddr, length: *mut socklen_t) {
    if address.is_null() || length.is_null() {
        return;
    }
    let (storage, whole) = match value {
        SocketAddress::Internet(address) => encoded(*address),
        SocketAddress::Unix(name) => encoded_unix(name),
        SocketAddress::Netlink { port, groups } => encoded_netlink(*port, *groups),
    };
    // SAFETY: as the caller says; no more than `length` says is written.
    unsafe {
        let room = length.read().min(whole) as usize;
        std::ptr::copy_nonoverlapping((&raw const storage).cast::<u8>(), address.cast(), room);
        length.write(whole);
    }
}
