//! Socket addresses, between C's form and Rust's.

use std::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use libc::{sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

use crate::machine::descriptors::Errno;

/// The address at `address`.
///
/// # Safety
/// `address` is null or valid for reads of `length` bytes.
pub(super) unsafe fn decode(address: *const sockaddr, length: socklen_t) -> Result<SocketAddr, Errno> {
    let length = length as usize;
    if address.is_null() {
        return Err(libc::EFAULT);
    }
    if length < size_of::<libc::sa_family_t>() {
        return Err(libc::EINVAL);
    }
    // SAFETY: it is long enough for its family, and then, as checked, for that family's struct; it need not be aligned.
    unsafe {
        match c_int::from(address.cast::<libc::sa_family_t>().read_unaligned()) {
            libc::AF_INET if length >= size_of::<sockaddr_in>() => {
                let inner = address.cast::<sockaddr_in>().read_unaligned();
                let ip = Ipv4Addr::from_bits(u32::from_be(inner.sin_addr.s_addr));
                Ok(SocketAddr::new(ip.into(), u16::from_be(inner.sin_port)))
            }
            libc::AF_INET6 if length >= size_of::<sockaddr_in6>() => {
                let inner = address.cast::<sockaddr_in6>().read_unaligned();
                let ip = Ipv6Addr::from_octets(inner.sin6_addr.s6_addr);
                Ok(SocketAddr::new(ip.into(), u16::from_be(inner.sin6_port)))
            }
            libc::AF_INET | libc::AF_INET6 => Err(libc::EINVAL),
            _ => Err(libc::EAFNOSUPPORT),
        }
    }
}

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

/// Writes an address where a caller wants it, cut to the room there is (accept(2)).
///
/// # Safety
/// `length` is null, or valid, with `address` valid for writes of so many bytes.
pub(super) unsafe fn give(value: SocketAddr, address: *mut sockaddr, length: *mut socklen_t) {
    if address.is_null() || length.is_null() {
        return;
    }
    let (storage, whole) = encoded(value);
    // SAFETY: as the caller says; no more than `length` says is written.
    unsafe {
        let room = length.read().min(whole) as usize;
        std::ptr::copy_nonoverlapping((&raw const storage).cast::<u8>(), address.cast(), room);
        length.write(whole);
    }
}
