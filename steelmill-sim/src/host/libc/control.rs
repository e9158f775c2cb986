//! Control messages of sendmsg(2) and recvmsg(2), as cmsg(3), ip(7) and ipv6(7) have them.

use std::ffi::{c_int, c_uint};
use std::net::IpAddr;

use libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo, msghdr, ucred};

use crate::machine::cluster;
use crate::machine::descriptors::{Credentials, Errno};
use crate::machine::proc::{USER, process_number};
use crate::machine::world::Process;

/// The number of the network interface to other machines: that to itself is 1.
const INTERFACE: c_int = 2;

/// Checks what a program sends beside a datagram: marks of packets, which mean nothing here, the address to send from,
/// which has to be the machine's, and for a Unix socket credentials, which have to be the process's own. Whether there are
/// credentials.
///
/// # Safety
/// As sendmsg(2).
pub(super) unsafe fn check(process: Process, is_unix: bool, message: &msghdr) -> Result<bool, Errno> {
    let mut has_credentials = false;
    // SAFETY: sendmsg(2): the messages are within the buffer, as the macros check.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = next.as_ref() {
            let data = libc::CMSG_DATA(header);
            let length = header.cmsg_len - libc::CMSG_LEN(0) as usize;
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_TOS | libc::IP_TTL)
                | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS | libc::IPV6_HOPLIMIT) => {}
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if length >= size_of::<in_pktinfo>() => {
                    let info = data.cast::<in_pktinfo>().read_unaligned();
                    is_ours(process, IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))?;
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if length >= size_of::<in6_pktinfo>() => {
                    let info = data.cast::<in6_pktinfo>().read_unaligned();
                    is_ours(process, IpAddr::from(info.ipi6_addr.s6_addr).to_canonical())?;
                }
                // An Internet socket passes none, and ignores them.
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if !is_unix => {}
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length == size_of::<ucred>() => {
                    let named = data.cast::<ucred>().read_unaligned();
                    let own = own_credentials(process);
                    if (named.pid, named.uid, named.gid) != (own.pid, own.uid, own.gid) {
                        return Err(libc::EPERM);
                    }
                    has_credentials = true;
                }
                _ => return Err(libc::EINVAL),
            }
            next = libc::CMSG_NXTHDR(message, header);
        }
    }
    Ok(has_credentials)
}

/// A process, its user and its group.
pub(super) fn own_credentials(process: Process) -> ucred {
    ucred { pid: process_number(process), uid: USER, gid: USER }
}

/// Of a message that nobody's credentials came with: the user and the group that stand for any that a namespace does not know.
const UNKNOWN: ucred = ucred { pid: 0, uid: 65_534, gid: 65_534 };

/// Gives the credentials that came with a message, as SO_PASSCRED asks for them.
///
/// # Safety
/// As recvmsg(2).
pub(super) unsafe fn give_credentials(message: &mut msghdr, process: Process, whose: Credentials) {
    let found = match whose {
        Credentials::Sender => own_credentials(process),
        Credentials::Unknown => UNKNOWN,
        Credentials::End => ucred { pid: 0, uid: 0, gid: 0 },
    };
    // SAFETY: as the caller says.
    unsafe { put(message, libc::SOL_SOCKET, libc::SCM_CREDENTIALS, found) };
}

fn is_ours(process: Process, address: IpAddr) -> Result<(), Errno> {
    match address.is_unspecified()
        || cluster::with(process.run, |run| run.net.addresses.is_local(address, process.machine))
    {
        true => Ok(()),
        false => Err(libc::EINVAL),
    }
}

/// Gives the address that a datagram was sent to, as IP_PKTINFO and IPV6_RECVPKTINFO ask for it.
///
/// # Safety
/// As recvmsg(2).
pub(super) unsafe fn give_destination(message: &mut msghdr, to: IpAddr, is_ipv6: bool) {
    let interface = if to.to_canonical().is_loopback() { 1 } else { INTERFACE };
    // SAFETY: as the caller says.
    unsafe {
        match to {
            _ if is_ipv6 => {
                let address = match to {
                    IpAddr::V4(to) => to.to_ipv6_mapped(),
                    IpAddr::V6(to) => to,
                };
                let info = in6_pktinfo {
                    ipi6_addr: in6_addr { s6_addr: address.octets() },
                    ipi6_ifindex: interface as c_uint,
                };
                put(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            IpAddr::V4(to) => {
                let address = in_addr { s_addr: u32::from_ne_bytes(to.octets()) };
                let info = in_pktinfo { ipi_ifindex: interface, ipi_spec_dst: address, ipi_addr: address };
                put(message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V6(_) => {}
        }
    }
}

/// Writes the only control message, where there is room for it.
///
/// # Safety
/// As recvmsg(2).
unsafe fn put<T>(message: &mut msghdr, level: c_int, kind: c_int, value: T) {
    let length = size_of::<T>() as c_uint;
    // SAFETY: CMSG_LEN and CMSG_SPACE only count.
    let (length, space) = unsafe { (libc::CMSG_LEN(length) as usize, libc::CMSG_SPACE(length) as usize) };
    // SAFETY: recvmsg(2): the buffer is null or has so many bytes, and is aligned for a header.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_mut() };
    match header {
        Some(header) if message.msg_controllen >= length => {
            (header.cmsg_len, header.cmsg_level, header.cmsg_type) = (length, level, kind);
            // SAFETY: as checked, there is room.
            unsafe { libc::CMSG_DATA(header).cast::<T>().write_unaligned(value) };
            message.msg_controllen = space.min(message.msg_controllen);
        }
        _ => {
            message.msg_controllen = 0;
            message.msg_flags |= libc::MSG_CTRUNC;
        }
    }
}
