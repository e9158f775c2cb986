//! Netlink sockets (netlink(7)), where a call on sockets is another for these.

use std::ffi::c_int;

use crate::machine::cluster;
use crate::machine::descriptors::{Errno, Netlink, Object};
use crate::machine::net::{Name, NameFamily, SocketAddress};
use crate::machine::world::Process;

/// Opens a socket to the kernel's routing.
///
/// # Errors
/// `EPROTONOSUPPORT` for another protocol, `ESOCKTNOSUPPORT` for a stream.
pub(super) fn open(
    process: Process,
    kind: c_int,
    protocol: c_int,
    is_nonblocking: bool,
) -> Result<c_int, Errno> {
    match (kind, protocol) {
        (libc::SOCK_RAW | libc::SOCK_DGRAM, libc::NETLINK_ROUTE) => cluster::with(process.run, |run| {
            run.open_file(process, Object::Netlink(Netlink::new(process.machine)), is_nonblocking)
        }),
        (libc::SOCK_RAW | libc::SOCK_DGRAM, _) => Err(libc::EPROTONOSUPPORT),
        _ => Err(libc::ESOCKTNOSUPPORT),
    }
}

pub(super) fn is_netlink(process: Process, fd: c_int) -> bool {
    with_socket(process, fd, |_| ()).is_some()
}

fn with_socket<R>(process: Process, fd: c_int, look: impl FnOnce(&mut Netlink) -> R) -> Option<R> {
    cluster::with(process.run, |run| {
        let (id, _) = run.descriptors.file(process, fd).ok()?;
        run.netlink(id).map(look)
    })
}

/// bind(2) of a netlink socket; `None` for another file.
pub(super) fn bind(process: Process, fd: c_int, name: &Name) -> Option<Result<c_int, Errno>> {
    cluster::with(process.run, |run| {
        let (id, _) = run.descriptors.file(process, fd).ok()?;
        run.netlink(id)?;
        let NameFamily::Netlink { port, groups } = &name.family else { return Some(Err(libc::EINVAL)) };
        run.bind_netlink(id, *port, *groups);
        Some(Ok(0))
    })
}

/// getsockname(2) of a netlink socket; `None` for another file.
pub(super) fn local(process: Process, fd: c_int) -> Option<SocketAddress> {
    cluster::with(process.run, |run| {
        let (id, _) = run.descriptors.file(process, fd).ok()?;
        let (port, groups) = run.netlink_name(id)?;
        Some(SocketAddress::Netlink { port, groups })
    })
}

/// setsockopt(2) of a netlink socket. Sizes of buffers and what only adds to messages have no effect.
pub(super) fn set(
    process: Process,
    fd: c_int,
    level: c_int,
    name: c_int,
    number: c_int,
) -> Result<c_int, Errno> {
    let change = |netlink: &mut Netlink| match (level, name) {
        (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP) => netlink.join(number as u32),
        (libc::SOL_NETLINK, libc::NETLINK_DROP_MEMBERSHIP) => netlink.leave(number as u32),
        (libc::SOL_NETLINK, libc::NETLINK_EXT_ACK | libc::NETLINK_GET_STRICT_CHK | libc::NETLINK_CAP_ACK)
        | (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_SNDBUF | libc::SO_REUSEADDR) => Ok(()),
        _ => Err(libc::ENOPROTOOPT),
    };
    with_socket(process, fd, change).unwrap_or(Err(libc::ENOTSOCK)).map(|()| 0)
}

/// getsockopt(2) of a netlink socket.
pub(super) fn option(level: c_int, name: c_int) -> Result<c_int, Errno> {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR | libc::SO_ACCEPTCONN | libc::SO_PROTOCOL) => Ok(0),
        (libc::SOL_SOCKET, libc::SO_TYPE) => Ok(libc::SOCK_RAW),
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => Ok(libc::AF_NETLINK),
        (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_SNDBUF) => Ok(212_992),
        _ => Err(libc::ENOPROTOOPT),
    }
}
