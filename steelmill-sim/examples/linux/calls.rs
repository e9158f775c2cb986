//! System calls on sockets through the C library, each as a safe function that returns the value or errno.
//!
//! Inside a simulated program the simulation answers them, elsewhere Linux does.
#![allow(unsafe_code, reason = "these are foreign functions; the argument stands beside each")]

use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem::{MaybeUninit, offset_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use libc::{sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t};

/// A number of errno(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EEXIST, "EEXIST"),
    (libc::EINVAL, "EINVAL"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::EPIPE, "EPIPE"),
    (libc::EROFS, "EROFS"),
    (libc::EDOM, "EDOM"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTSOCK, "ENOTSOCK"),
    (libc::EDESTADDRREQ, "EDESTADDRREQ"),
    (libc::EMSGSIZE, "EMSGSIZE"),
    (libc::EPROTOTYPE, "EPROTOTYPE"),
    (libc::ENOPROTOOPT, "ENOPROTOOPT"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::EADDRINUSE, "EADDRINUSE"),
    (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (libc::ENETDOWN, "ENETDOWN"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ECONNABORTED, "ECONNABORTED"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::EISCONN, "EISCONN"),
    (libc::ENOTCONN, "ENOTCONN"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::EALREADY, "EALREADY"),
    (libc::EINPROGRESS, "EINPROGRESS"),
    (libc::ENODEV, "ENODEV"),
    (libc::EIO, "EIO"),
    (libc::ENXIO, "ENXIO"),
    (libc::EBUSY, "EBUSY"),
    (libc::EXDEV, "EXDEV"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::EISDIR, "EISDIR"),
    (libc::ETXTBSY, "ETXTBSY"),
    (libc::EFBIG, "EFBIG"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::ESPIPE, "ESPIPE"),
    (libc::EMLINK, "EMLINK"),
    (libc::ENAMETOOLONG, "ENAMETOOLONG"),
    (libc::ENOTEMPTY, "ENOTEMPTY"),
    (libc::ELOOP, "ELOOP"),
    (libc::EOVERFLOW, "EOVERFLOW"),
];

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// A socket address of any family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Internet(SocketAddr),
    /// A path, or an abstract name behind a zero byte; empty for a socket without a name (unix(7)).
    Unix(Vec<u8>),
    /// `AF_UNSPEC`: dissolves an association (connect(2)).
    Unspecified,
}

pub(crate) fn result(value: c_int) -> Result<c_int, Errno> {
    if value < 0 { Err(last()) } else { Ok(value) }
}

pub(crate) fn last() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn encoded(address: &Address) -> (sockaddr_storage, socklen_t) {
    // SAFETY: all zeros are a sockaddr_storage, which is aligned and large enough for every address.
    unsafe {
        let mut storage: sockaddr_storage = std::mem::zeroed();
        let length = match address {
            Address::Internet(SocketAddr::V4(address)) => {
                (&raw mut storage).cast::<sockaddr_in>().write(sockaddr_in {
                    sin_family: libc::AF_INET as sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
                    sin_zero: [0; 8],
                });
                size_of::<sockaddr_in>()
            }
            Address::Internet(SocketAddr::V6(address)) => {
                (&raw mut storage).cast::<sockaddr_in6>().write(sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                });
                size_of::<sockaddr_in6>()
            }
            Address::Unix(name) => {
                let unix = &mut *(&raw mut storage).cast::<sockaddr_un>();
                unix.sun_family = libc::AF_UNIX as sa_family_t;
                for (to, from) in unix.sun_path.iter_mut().zip(name) {
                    *to = *from as libc::c_char;
                }
                // A path ends with a zero byte, an abstract name with its last one.
                let zero = usize::from(name.first().is_some_and(|first| *first != 0));
                offset_of!(sockaddr_un, sun_path) + name.len() + zero
            }
            Address::Unspecified => size_of::<sockaddr_in>(),
        };
        (storage, length as socklen_t)
    }
}

fn decoded(storage: &sockaddr_storage, length: socklen_t) -> Option<Address> {
    let place = std::ptr::from_ref(storage);
    // SAFETY: a sockaddr_storage is aligned and large enough for every address, and any bytes are one.
    unsafe {
        match c_int::from(storage.ss_family) {
            _ if (length as usize) < size_of::<sa_family_t>() => None,
            libc::AF_INET => {
                let inner = place.cast::<sockaddr_in>().read();
                let ip = Ipv4Addr::from_bits(u32::from_be(inner.sin_addr.s_addr));
                Some(Address::Internet(SocketAddr::new(ip.into(), u16::from_be(inner.sin_port))))
            }
            libc::AF_INET6 => {
                let inner = place.cast::<sockaddr_in6>().read();
                let ip = Ipv6Addr::from_octets(inner.sin6_addr.s6_addr);
                let port = u16::from_be(inner.sin6_port);
                Some(Address::Internet(SocketAddrV6::new(ip, port, 0, inner.sin6_scope_id).into()))
            }
            libc::AF_UNIX => {
                let inner = place.cast::<sockaddr_un>().read();
                let length = (length as usize).saturating_sub(offset_of!(sockaddr_un, sun_path));
                let mut name: Vec<u8> = inner.sun_path.iter().take(length).map(|byte| *byte as u8).collect();
                if name.first().is_some_and(|first| *first != 0) {
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                }
                Some(Address::Unix(name))
            }
            _ => None,
        }
    }
}

/// An address that a call writes.
fn written(
    call: impl FnOnce(*mut sockaddr, *mut socklen_t) -> Result<c_int, Errno>,
) -> Result<(c_int, Option<Address>), Errno> {
    // SAFETY: all zeros are a sockaddr_storage.
    let mut storage: sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<sockaddr_storage>() as socklen_t;
    let value = call((&raw mut storage).cast(), &raw mut length)?;
    Ok((value, decoded(&storage, length)))
}

fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: the call that returned it has just opened it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// socket(2), nonblocking.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::socket(family, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, protocol) })
        .map(owned)
}

/// socketpair(2) of the Unix domain, nonblocking.
pub(crate) fn socketpair(kind: c_int) -> Result<[OwnedFd; 2], Errno> {
    let mut ends = [0; 2];
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: there is room for two descriptors.
    result(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    Ok(ends.map(owned))
}

/// bind(2).
pub(crate) fn bind(fd: &OwnedFd, address: &Address) -> Result<(), Errno> {
    let (storage, length) = encoded(address);
    // SAFETY: the address has so many bytes.
    result(unsafe { libc::bind(fd.as_raw_fd(), (&raw const storage).cast(), length) }).map(drop)
}

/// connect(2).
pub(crate) fn connect(fd: &OwnedFd, address: &Address) -> Result<(), Errno> {
    let (storage, length) = encoded(address);
    // SAFETY: the address has so many bytes.
    result(unsafe { libc::connect(fd.as_raw_fd(), (&raw const storage).cast(), length) }).map(drop)
}

/// listen(2).
pub(crate) fn listen(fd: &OwnedFd, backlog: c_int) -> Result<(), Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// accept4(2), nonblocking.
pub(crate) fn accept(fd: &OwnedFd) -> Result<(OwnedFd, Option<Address>), Errno> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let (accepted, peer) = written(|address, length| {
        // SAFETY: there is room for the address.
        result(unsafe { libc::accept4(fd.as_raw_fd(), address, length, flags) })
    })?;
    Ok((owned(accepted), peer))
}

/// getsockname(2).
pub(crate) fn local(fd: &OwnedFd) -> Result<Option<Address>, Errno> {
    // SAFETY: there is room for the address.
    written(|address, length| result(unsafe { libc::getsockname(fd.as_raw_fd(), address, length) }))
        .map(|(_, address)| address)
}

/// getpeername(2).
pub(crate) fn peer(fd: &OwnedFd) -> Result<Option<Address>, Errno> {
    // SAFETY: there is room for the address.
    written(|address, length| result(unsafe { libc::getpeername(fd.as_raw_fd(), address, length) }))
        .map(|(_, address)| address)
}

/// sendto(2), or send(2) without an address, with `MSG_NOSIGNAL`.
pub(crate) fn send(fd: &OwnedFd, bytes: &[u8], to: Option<&Address>) -> Result<usize, Errno> {
    let place: *const c_void = bytes.as_ptr().cast();
    let sent = match to.map(encoded) {
        // SAFETY: the buffer and the address have so many bytes.
        Some((storage, length)) => unsafe {
            let address = (&raw const storage).cast();
            libc::sendto(fd.as_raw_fd(), place, bytes.len(), libc::MSG_NOSIGNAL, address, length)
        },
        // SAFETY: the buffer has so many bytes.
        None => unsafe { libc::send(fd.as_raw_fd(), place, bytes.len(), libc::MSG_NOSIGNAL) },
    };
    usize::try_from(sent).map_err(|_| last())
}

/// recvfrom(2): the value it returns, and the sender.
pub(crate) fn receive(
    fd: &OwnedFd,
    buffer: &mut [u8],
    flags: c_int,
) -> Result<(usize, Option<Address>), Errno> {
    let mut received = 0;
    let (_, from) = written(|address, length| {
        let place = buffer.as_mut_ptr().cast();
        // SAFETY: the buffer has so many bytes, and there is room for the address.
        received = unsafe { libc::recvfrom(fd.as_raw_fd(), place, buffer.len(), flags, address, length) };
        if received < 0 { Err(last()) } else { Ok(0) }
    })?;
    Ok((received as usize, from))
}

/// shutdown(2).
pub(crate) fn shutdown(fd: &OwnedFd, how: c_int) -> Result<(), Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(drop)
}

/// setsockopt(2).
pub(crate) fn set<T: Copy>(fd: &OwnedFd, level: c_int, name: c_int, value: T) -> Result<(), Errno> {
    let length = size_of::<T>() as socklen_t;
    // SAFETY: the value has so many bytes.
    result(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), length) })
        .map(drop)
}

/// Joins a group at the interface with an index, or leaves it (ip(7), ipv6(7)). The socket may be of the other family.
pub(crate) fn change_group(fd: &OwnedFd, group: IpAddr, interface: u32, is_join: bool) -> Result<(), Errno> {
    match group {
        IpAddr::V4(group) => {
            let name = if is_join { libc::IP_ADD_MEMBERSHIP } else { libc::IP_DROP_MEMBERSHIP };
            let value = libc::ip_mreqn {
                imr_multiaddr: libc::in_addr { s_addr: group.to_bits().to_be() },
                imr_address: libc::in_addr { s_addr: 0 },
                imr_ifindex: interface as c_int,
            };
            set(fd, libc::IPPROTO_IP, name, value)
        }
        IpAddr::V6(group) => {
            let name = if is_join { libc::IPV6_ADD_MEMBERSHIP } else { libc::IPV6_DROP_MEMBERSHIP };
            let value = libc::ipv6_mreq {
                ipv6mr_multiaddr: libc::in6_addr { s6_addr: group.octets() },
                ipv6mr_interface: interface,
            };
            set(fd, libc::IPPROTO_IPV6, name, value)
        }
    }
}

/// getsockopt(2); `T` is a C struct of integers.
pub(crate) fn get<T: Copy>(fd: &OwnedFd, level: c_int, name: c_int) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as socklen_t;
    // SAFETY: there is room for so many bytes.
    result(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length)
    })?;
    // SAFETY: integers may have any bytes, and all of these are initialized.
    Ok(unsafe { value.assume_init() })
}

/// ioctl(2) that gives a number: `FIONREAD`, `TIOCOUTQ`.
pub(crate) fn count(fd: &OwnedFd, request: libc::c_ulong) -> Result<c_int, Errno> {
    let mut number: c_int = 0;
    // SAFETY: there is room for the number.
    result(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut number) })?;
    Ok(number)
}

/// poll(2) without waiting: what each descriptor is ready for, asked for all of it.
pub(crate) fn readiness<'a>(fds: impl Iterator<Item = &'a OwnedFd>) -> Vec<i16> {
    let events = libc::POLLIN | libc::POLLPRI | libc::POLLOUT | libc::POLLRDHUP;
    let mut all: Vec<libc::pollfd> =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }).collect();
    // SAFETY: there are so many.
    unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, 0) };
    all.iter().map(|one| one.revents).collect()
}

/// Moves this thread into a network namespace of its own (network_namespaces(7)).
pub(crate) fn unshare_network() -> Result<(), Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Moves this thread into a network namespace (setns(2)).
pub(crate) fn enter_network(namespace: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// This process, its user and its group.
pub(crate) fn credentials() -> libc::ucred {
    // SAFETY: they take no pointer.
    unsafe { libc::ucred { pid: libc::getpid(), uid: libc::getuid(), gid: libc::getgid() } }
}

/// The room for one control message with credentials, aligned for its header.
const CONTROL: usize = 8;

fn message(vector: &mut libc::iovec, control: &mut [u64; CONTROL]) -> libc::msghdr {
    // SAFETY: all zeros are a msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut *vector, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(control));
    message
}

/// sendmsg(2) with credentials.
pub(crate) fn send_credentials(fd: &OwnedFd, bytes: &[u8], own: libc::ucred) -> Result<usize, Errno> {
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0; CONTROL];
    let mut message = message(&mut vector, &mut control);
    // SAFETY: there is room for a header and credentials, and the buffer has so many bytes.
    let sent = unsafe {
        let length = size_of::<libc::ucred>() as u32;
        message.msg_controllen = libc::CMSG_SPACE(length) as usize;
        let header = &mut *libc::CMSG_FIRSTHDR(&raw const message);
        (header.cmsg_level, header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
        header.cmsg_len = libc::CMSG_LEN(length) as usize;
        libc::CMSG_DATA(header).cast::<libc::ucred>().write_unaligned(own);
        libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| last())
}

/// recvmsg(2): how many bytes, and the credentials that came with them.
pub(crate) fn receive_credentials(
    fd: &OwnedFd,
    buffer: &mut [u8],
    flags: c_int,
) -> Result<(usize, Option<libc::ucred>), Errno> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = [0; CONTROL];
    let mut message = message(&mut vector, &mut control);
    // SAFETY: the buffers have so many bytes.
    let received = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let received = usize::try_from(received).map_err(|_| last())?;
    // SAFETY: the kernel, or the simulation, has written whole control messages.
    let found = unsafe {
        libc::CMSG_FIRSTHDR(&raw const message).as_ref().filter(|header| {
            (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
        })
    };
    // SAFETY: that kind of message has credentials.
    Ok((
        received,
        found.map(|header| unsafe { libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned() }),
    ))
}
