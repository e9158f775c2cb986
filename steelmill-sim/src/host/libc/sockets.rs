//! Sockets: socket(2), bind(2), listen(2), accept(2), connect(2), send(2), recv(2), shutdown(2), and their options.

use std::ffi::{c_int, c_uint, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libc::{mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timeval};

use super::files::{buffers, open_both, parts, receive, send as send_parts};
use super::time::timeval_of;
use super::{address, answer, caller, control, files, netlink, process_of, when_ready};
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::{Direction, Errno, FileId, Object, Sender};
use crate::machine::net::options::{INTERFACE, LOOPBACK, Protocol};
use crate::machine::net::{Interface, Name, Socket};
use crate::machine::real::real;
use crate::machine::world::Process;

/// The socket of a descriptor, to be changed.
fn with_socket<R>(
    process: Process,
    fd: c_int,
    look: impl FnOnce(&mut Cluster, &mut Socket) -> Result<R, Errno>,
) -> Result<R, Errno> {
    cluster::with(process.run, |run| {
        let (id, _) = run.descriptors.file(process, fd)?;
        change(run, id, look).unwrap_or(Err(libc::ENOTSOCK))
    })
}

/// Changes the socket that a file is; `None` if it is none.
fn change<R>(
    run: &mut Cluster,
    id: FileId,
    look: impl FnOnce(&mut Cluster, &mut Socket) -> Result<R, Errno>,
) -> Option<Result<R, Errno>> {
    let Object::Socket(socket) = &run.descriptors.get(id).object else { return None };
    let before = *socket;
    let mut socket = before;
    let result = look(run, &mut socket);
    run.descriptors.get(id).object = Object::Socket(socket);
    if !socket.is_as(&before) {
        run.watch_anew(id);
    }
    Some(result)
}

/// A socket that sends datagrams gets a port if it has none.
pub(super) fn bind_before_sending(run: &mut Cluster, id: FileId) -> Result<(), Errno> {
    change(run, id, Cluster::bind_before_sending).unwrap_or(Ok(()))
}

/// # Safety
/// As socket(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe { real!("socket", fn(c_int, c_int, c_int) -> c_int)(family, kind, protocol) };
    };
    let is_nonblocking = kind & libc::SOCK_NONBLOCK != 0;
    let kind = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let is_ipv6 = match family {
        libc::AF_INET => false,
        libc::AF_INET6 => true,
        libc::AF_UNIX => {
            let is_stream = match kind {
                libc::SOCK_STREAM => true,
                libc::SOCK_DGRAM => false,
                _ => return answer(Err(libc::ESOCKTNOSUPPORT)),
            };
            if !matches!(protocol, 0 | libc::PF_UNIX) {
                return answer(Err(libc::EPROTONOSUPPORT));
            }
            return answer(cluster::with(process.run, |run| {
                let socket = run.unix_socket(process, is_stream);
                run.open_file(process, Object::Socket(socket), is_nonblocking)
            }));
        }
        libc::AF_NETLINK => return answer(netlink::open(process, kind, protocol, is_nonblocking)),
        _ => return answer(Err(libc::EAFNOSUPPORT)),
    };
    let protocol = match kind {
        libc::SOCK_STREAM if matches!(protocol, 0 | libc::IPPROTO_TCP) => Protocol::Tcp,
        libc::SOCK_DGRAM if matches!(protocol, 0 | libc::IPPROTO_UDP) => Protocol::Udp,
        libc::SOCK_STREAM | libc::SOCK_DGRAM => return answer(Err(libc::EPROTONOSUPPORT)),
        _ => return answer(Err(libc::ESOCKTNOSUPPORT)),
    };
    answer(cluster::with(process.run, |run| {
        run.open_file(process, Object::Socket(Socket::new(process, is_ipv6, protocol)), is_nonblocking)
    }))
}

/// # Safety
/// As socketpair(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn socketpair(family: c_int, kind: c_int, protocol: c_int, ends: *mut c_int) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe {
            real!("socketpair", fn(c_int, c_int, c_int, *mut c_int) -> c_int)(family, kind, protocol, ends)
        };
    };
    let is_stream = match (family, kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)) {
        (libc::AF_UNIX, libc::SOCK_STREAM) => true,
        (libc::AF_UNIX, libc::SOCK_DGRAM) => false,
        (libc::AF_UNIX, _) => return answer(Err(libc::ESOCKTNOSUPPORT)),
        _ => return answer(Err(libc::EOPNOTSUPP)),
    };
    if !matches!(protocol, 0 | libc::PF_UNIX) {
        return answer(Err(libc::EPROTONOSUPPORT));
    }
    let open = |run: &mut Cluster| run.unix_sockets(process, is_stream).map(Object::Socket);
    // SAFETY: as ours.
    answer(unsafe { open_both(process, ends, kind & libc::SOCK_NONBLOCK != 0, open) })
}

/// # Safety
/// As bind(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe { real!("bind", fn(c_int, *const sockaddr, socklen_t) -> c_int)(fd, address, length) };
    };
    // SAFETY: as ours.
    let address = unsafe { address::decode(address, length) };
    answer(address.and_then(|address| match netlink::bind(process, fd, &address) {
        Some(bound) => bound,
        None => with_socket(process, fd, |run, socket| run.bind_socket(socket, &address).map(|()| 0)),
    }))
}

/// # Safety
/// As listen(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    match process_of(fd) {
        Some(process) => {
            answer(with_socket(process, fd, |run, socket| run.listen_socket(socket, backlog).map(|()| 0)))
        }
        // SAFETY: as ours.
        None => unsafe { real!("listen", fn(c_int, c_int) -> c_int)(fd, backlog) },
    }
}

/// # Safety
/// As accept4(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("accept4", fn(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int)(
                fd, address, length, flags,
            )
        };
    };
    let accepted = when_ready(process, fd, Direction::Read, false, |run, id| {
        let Object::Socket(socket) = &run.descriptors.get(id).object else { return Err(libc::ENOTSOCK) };
        let socket = *socket;
        let Some((accepted, peer)) = run.accept_socket(socket)? else { return Ok(None) };
        let is_nonblocking = flags & libc::SOCK_NONBLOCK != 0;
        let fd = run.open_file(process, Object::Socket(accepted), is_nonblocking)?;
        Ok(Some((fd, peer)))
    });
    answer(accepted.map(|(accepted, peer)| {
        // SAFETY: as ours.
        unsafe { address::give(&peer, address, length) };
        accepted
    }))
}

/// # Safety
/// As accept(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    match process_of(fd) {
        // SAFETY: as ours.
        Some(_) => unsafe { accept4(fd, address, length, 0) },
        // SAFETY: as ours.
        None => unsafe {
            real!("accept", fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int)(fd, address, length)
        },
    }
}

/// # Safety
/// As connect(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("connect", fn(c_int, *const sockaddr, socklen_t) -> c_int)(fd, address, length)
        };
    };
    // SAFETY: as ours.
    let address = unsafe { address::decode(address, length) };
    answer(address.and_then(|address| connect_to(process, fd, &address)).map(|()| 0))
}

/// Connects, and waits for the end of it if the socket blocks.
fn connect_to(process: Process, fd: c_int, address: &Name) -> Result<(), Errno> {
    if with_socket(process, fd, |run, socket| run.connect_socket(socket, address))? {
        return Ok(());
    }
    let (is_nonblocking, is_unix) = cluster::with(process.run, |run| {
        let (_, file) = run.descriptors.file(process, fd)?;
        let is_unix = matches!(&file.object, Object::Socket(socket) if socket.protocol == Protocol::Unix);
        Ok::<_, Errno>((file.is_nonblocking, is_unix))
    })?;
    let in_progress = if is_unix { libc::EAGAIN } else { libc::EINPROGRESS };
    if is_nonblocking {
        return Err(in_progress);
    }
    let connected = when_ready(process, fd, Direction::Write, false, |run, id| {
        let Object::Socket(socket) = &run.descriptors.get(id).object else {
            return Err(libc::ENOTSOCK);
        };
        let mut socket = *socket;
        let connected = match is_unix {
            true => run.connect_socket(&mut socket, address).map(|is_done| is_done.then_some(())),
            false => run.socket_connected(&mut socket),
        };
        run.descriptors.get(id).object = Object::Socket(socket);
        connected
    });
    // connect(2): with SO_SNDTIMEO it goes on in the background.
    connected.map_err(|code| if code == libc::EAGAIN { in_progress } else { code })
}

/// # Safety
/// As shutdown(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe { real!("shutdown", fn(c_int, c_int) -> c_int)(fd, how) };
    };
    if !(libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how) {
        return answer(Err(libc::EINVAL));
    }
    let (reads, writes) = (how != libc::SHUT_WR, how != libc::SHUT_RD);
    answer(with_socket(process, fd, |run, socket| run.shutdown_socket(socket, reads, writes).map(|()| 0)))
}

/// # Safety
/// As getsockname(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("getsockname", fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int)(fd, address, length)
        };
    };
    let local = match netlink::local(process, fd) {
        Some(local) => Ok(local),
        None => with_socket(process, fd, |run, socket| run.socket_local(*socket)),
    };
    answer(local.map(|local| {
        // SAFETY: as ours.
        unsafe { address::give(&local, address, length) };
        0
    }))
}

/// # Safety
/// As getpeername(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("getpeername", fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int)(fd, address, length)
        };
    };
    answer(with_socket(process, fd, |run, socket| run.socket_peer(*socket)).map(|peer| {
        // SAFETY: as ours.
        unsafe { address::give(&peer, address, length) };
        0
    }))
}

/// # Safety
/// As recv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: as ours.
    unsafe { recvfrom(fd, buffer, length, flags, std::ptr::null_mut(), std::ptr::null_mut()) }
}

/// # Safety
/// As recvfrom(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_length: *mut socklen_t,
) -> ssize_t {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("recvfrom", fn(c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t)(
                fd,
                buffer,
                length,
                flags,
                from,
                from_length,
            )
        };
    };
    // SAFETY: as ours.
    let read = receive(process, fd, unsafe { files::buffer(buffer, length) }, Some(flags));
    answer(read.map(|read| {
        match read.from {
            // SAFETY: as ours.
            Some(sender) => unsafe { address::give(&sender.into(), from, from_length) },
            // SAFETY: recvfrom(2): null, or valid for a write.
            None if !from_length.is_null() => unsafe { from_length.write(0) },
            None => {}
        }
        (if flags & libc::MSG_TRUNC != 0 { read.whole } else { read.bytes }) as ssize_t
    }))
}

/// # Safety
/// As recvmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe { real!("recvmsg", fn(c_int, *mut msghdr, c_int) -> ssize_t)(fd, message, flags) };
    };
    // SAFETY: as ours.
    let message = unsafe { &mut *message };
    // SAFETY: recvmsg(2): it has so many vectors.
    let buffers = unsafe { buffers(message.msg_iov, message.msg_iovlen) };
    answer(receive(process, fd, buffers, Some(flags)).map(|read| {
        let destination = cluster::with(process.run, |run| destination(run, process, fd, read.from.as_ref()));
        message.msg_flags = if read.whole > read.bytes { libc::MSG_TRUNC } else { 0 };
        match read.from {
            // SAFETY: recvmsg(2): the name is null or has so many bytes.
            Some(sender) => unsafe {
                address::give(&sender.into(), message.msg_name.cast(), &raw mut message.msg_namelen);
            },
            None => message.msg_namelen = 0,
        }
        match (destination, read.credentials) {
            // SAFETY: as ours.
            (Some((to, is_ipv6)), _) => unsafe { control::give_destination(message, to, is_ipv6) },
            // SAFETY: as ours.
            (None, Some(whose)) => unsafe { control::give_credentials(message, process, whose) },
            (None, None) => message.msg_controllen = 0,
        }
        read.bytes as ssize_t
    }))
}

/// The address that a datagram was sent to, if the program wants to know, and whether its socket is of IPv6.
fn destination(
    run: &mut Cluster,
    process: Process,
    fd: c_int,
    from: Option<&Sender>,
) -> Option<(IpAddr, bool)> {
    let (_, file) = run.descriptors.file(process, fd).ok()?;
    let Object::Socket(socket) = &file.object else { return None };
    let Some(Sender::Internet(from)) = from.filter(|_| socket.gives_destination) else { return None };
    Some((run.net.addresses.source(from.ip().to_canonical(), process.machine), socket.is_ipv6))
}

/// # Safety
/// As recvmmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut libc::timespec,
) -> c_int {
    if process_of(fd).is_none() {
        // SAFETY: as ours.
        return unsafe {
            real!("recvmmsg", fn(c_int, *mut mmsghdr, c_uint, c_int, *mut libc::timespec) -> c_int)(
                fd, messages, count, flags, timeout,
            )
        };
    }
    let mut received = 0;
    for place in 0..count as usize {
        // After the first one nothing is waited for.
        let flags = if place == 0 { flags } else { flags | libc::MSG_DONTWAIT };
        // SAFETY: recvmmsg(2): there are so many.
        let message = unsafe { &mut *messages.add(place) };
        // SAFETY: as ours.
        let n = unsafe { recvmsg(fd, &raw mut message.msg_hdr, flags) };
        if n < 0 {
            break;
        }
        message.msg_len = n as c_uint;
        received += 1;
    }
    if received == 0 { -1 } else { received }
}

/// # Safety
/// As send(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: as ours.
    unsafe { sendto(fd, buffer, length, flags, std::ptr::null(), 0) }
}

/// Sends to an address, or where the socket is connected to.
fn send_to(
    process: Process,
    fd: c_int,
    parts: &mut [std::io::IoSlice<'_>],
    flags: c_int,
    to: Option<Name>,
    has_credentials: bool,
) -> Result<usize, Errno> {
    if to.is_none() && !has_credentials {
        return send_parts(process, fd, parts, Some(flags));
    }
    // There is only the kernel to send to by netlink(7).
    if netlink::is_netlink(process, fd) {
        return send_parts(process, fd, parts, Some(flags));
    }
    let to = with_socket(process, fd, |run, socket| {
        run.bind_before_sending(socket)?;
        to.map(|name| run.target_of(socket, &name)).transpose()
    })?;
    let to = to.flatten();
    if to.is_none() && !has_credentials {
        return send_parts(process, fd, parts, Some(flags));
    }
    when_ready(process, fd, Direction::Write, flags & libc::MSG_DONTWAIT != 0, |run, id| {
        let Object::Socket(socket) = &run.descriptors.get(id).object else { return Err(libc::ENOTSOCK) };
        let socket = *socket;
        match has_credentials {
            true => run.write_with_credentials(socket, parts, to.as_ref()),
            false => run.write_socket(socket, parts, to.as_ref()),
        }
    })
}

/// # Safety
/// As sendto(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendto(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_length: socklen_t,
) -> ssize_t {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("sendto", fn(c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t)(
                fd, buffer, length, flags, to, to_length,
            )
        };
    };
    // SAFETY: as ours.
    let to = (!to.is_null()).then(|| unsafe { address::decode(to, to_length) }).transpose();
    // SAFETY: as ours.
    let mut parts = unsafe { files::part(buffer, length) };
    answer(to.and_then(|to| send_to(process, fd, &mut parts, flags, to, false)).map(|n| n as ssize_t))
}

/// # Safety
/// As sendmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe { real!("sendmsg", fn(c_int, *const msghdr, c_int) -> ssize_t)(fd, message, flags) };
    };
    // SAFETY: as ours.
    let message = unsafe { &*message };
    let is_named = !message.msg_name.is_null() && message.msg_namelen > 0;
    // SAFETY: sendmsg(2): the name has so many bytes.
    let to = is_named
        .then(|| unsafe { address::decode(message.msg_name.cast(), message.msg_namelen) })
        .transpose();
    // SAFETY: sendmsg(2): it has so many vectors.
    let mut parts = unsafe { parts(message.msg_iov, message.msg_iovlen) };
    let is_unix = match netlink::is_netlink(process, fd) {
        true => Ok(false),
        false => with_socket(process, fd, |_, socket| Ok(socket.protocol == Protocol::Unix)),
    };
    // SAFETY: as ours.
    let checked = is_unix.and_then(|is_unix| unsafe { control::check(process, is_unix, message) });
    let sent =
        checked.and_then(|has_credentials| send_to(process, fd, &mut parts, flags, to?, has_credentials));
    answer(sent.map(|n| n as ssize_t))
}

/// # Safety
/// As sendmmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
    if process_of(fd).is_none() {
        // SAFETY: as ours.
        return unsafe {
            real!("sendmmsg", fn(c_int, *mut mmsghdr, c_uint, c_int) -> c_int)(fd, messages, count, flags)
        };
    }
    let mut sent = 0;
    for place in 0..count as usize {
        // SAFETY: sendmmsg(2): there are so many.
        let message = unsafe { &mut *messages.add(place) };
        // SAFETY: as ours.
        let n = unsafe { sendmsg(fd, &raw const message.msg_hdr, flags) };
        if n < 0 {
            break;
        }
        message.msg_len = n as c_uint;
        sent += 1;
    }
    if sent == 0 { -1 } else { sent }
}

/// What getsockopt(2) gives.
enum Value {
    Int(c_int),
    Linger(libc::linger),
    Time(Option<Duration>),
    Credentials(libc::ucred),
    /// A name, with zeros behind it, and how many bytes are given.
    Name([u8; NAME_ROOM], usize),
}

/// The names of interfaces and of congestion controls have so many bytes, with the zero at their ends.
const NAME_ROOM: usize = 16;

fn name_of(name: &str, given: usize) -> Value {
    let mut bytes = [0; NAME_ROOM];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Value::Name(bytes, given)
}

/// Sets an option that is given as a name; `None` for others.
fn set_name(
    process: Process,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: &[u8],
) -> Option<Result<c_int, Errno>> {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    match (level, name) {
        // Without a privilege only as long as it is not bound (socket(7)).
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => Some(set(process, fd, |_, options| {
            let interface = match value {
                b"" => None,
                b"lo" => Some(LOOPBACK),
                b"eth0" => Some(INTERFACE),
                _ => return Err(libc::ENODEV),
            };
            if options.interface.is_some() {
                return Err(libc::EPERM);
            }
            options.interface = interface;
            Ok(())
        })),
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => Some(set(process, fd, |socket, options| {
            options.is_reno = match value {
                _ if socket.protocol != Protocol::Tcp => return Err(libc::ENOPROTOOPT),
                b"cubic" => false,
                b"reno" => true,
                _ => return Err(libc::ENOENT),
            };
            Ok(())
        })),
        _ => None,
    }
}

fn option(process: Process, fd: c_int, level: c_int, name: c_int) -> Result<Value, Errno> {
    let timeout = |direction| {
        cluster::with(process.run, |run| {
            run.descriptors.file(process, fd).map(|(_, file)| Value::Time(file.timeouts[direction as usize]))
        })
    };
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => return timeout(Direction::Read),
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => return timeout(Direction::Write),
        _ if netlink::is_netlink(process, fd) => return netlink::option(level, name).map(Value::Int),
        _ => {}
    }
    with_socket(process, fd, |run, socket| {
        let options = run.socket_options(socket);
        Ok(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => Value::Int(run.socket_error(socket)),
            (libc::SOL_SOCKET, libc::SO_TYPE) => Value::Int(match run.is_stream_socket(*socket) {
                true => libc::SOCK_STREAM,
                false => libc::SOCK_DGRAM,
            }),
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => Value::Int(match socket.protocol {
                Protocol::Unix => libc::AF_UNIX,
                _ if socket.is_ipv6 => libc::AF_INET6,
                _ => libc::AF_INET,
            }),
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => Value::Int(match socket.protocol {
                Protocol::Tcp => libc::IPPROTO_TCP,
                Protocol::Udp => libc::IPPROTO_UDP,
                Protocol::Unix => 0,
            }),
            (libc::SOL_SOCKET, libc::SO_PASSCRED) => Value::Int(run.passes_credentials(*socket)?.into()),
            (libc::SOL_SOCKET, libc::SO_PEERCRED) => {
                Value::Credentials(match run.knows_peer_process(*socket) {
                    true => control::own_credentials(process),
                    false => libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX },
                })
            }
            (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => match options.interface {
                None => name_of("", 0),
                Some(LOOPBACK) => name_of("lo", 3),
                Some(_) => name_of("eth0", 5),
            },
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) if socket.protocol == Protocol::Tcp => {
                name_of(if options.is_reno { "reno" } else { "cubic" }, NAME_ROOM)
            }
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => Value::Int(run.socket_listens(*socket).into()),
            (libc::SOL_SOCKET, libc::SO_LINGER) => Value::Linger(libc::linger {
                l_onoff: options.lingers.into(),
                l_linger: options.linger_seconds,
            }),
            _ => Value::Int(options.get((socket.protocol, socket.is_ipv6), level, name)?),
        })
    })
}

/// # Safety
/// As getsockopt(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("getsockopt", fn(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int)(
                fd, level, name, value, length,
            )
        };
    };
    let found = option(process, fd, level, name);
    // SAFETY: getsockopt(2): `value` has room for as many bytes as `length` says.
    answer(found.map(|found| unsafe {
        match found {
            Value::Int(number) => put(number, value, length),
            Value::Linger(linger) => put(linger, value, length),
            Value::Credentials(credentials) => put(credentials, value, length),
            Value::Name(name, given) => {
                length.write(length.read().min(given as socklen_t));
                put(name, value, length);
            }
            Value::Time(time) => put(timeval_of(time.unwrap_or_default()), value, length),
        }
        0
    }))
}

/// Writes an option's value, cut to the room there is.
///
/// # Safety
/// As getsockopt(2).
unsafe fn put<T>(found: T, value: *mut c_void, length: *mut socklen_t) {
    // SAFETY: as the caller says; no more than `length` says is written.
    unsafe {
        let room = (length.read() as usize).min(size_of::<T>());
        std::ptr::copy_nonoverlapping((&raw const found).cast::<u8>(), value.cast(), room);
        length.write(room as socklen_t);
    }
}

/// # Safety
/// As setsockopt(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("setsockopt", fn(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int)(
                fd, level, name, value, length,
            )
        };
    };
    if !value.is_null() {
        // SAFETY: setsockopt(2): there are so many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length as usize) };
        if let Some(result) = set_name(process, fd, level, name, bytes) {
            return answer(result);
        }
    }
    let has = |size: usize| length as usize >= size && !value.is_null();
    if !has(size_of::<c_int>()) {
        return answer(Err(libc::EINVAL));
    }
    // SAFETY: as checked, there are so many bytes.
    let number = unsafe { value.cast::<c_int>().read_unaligned() };
    answer(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) if has(size_of::<timeval>()) => {
            // SAFETY: as checked.
            let time = unsafe { value.cast::<timeval>().read_unaligned() };
            let time = Duration::new(time.tv_sec.max(0) as u64, time.tv_usec.clamp(0, 999_999) as u32 * 1000);
            let direction = if name == libc::SO_RCVTIMEO { Direction::Read } else { Direction::Write };
            cluster::with(process.run, |run| {
                let (_, file) = run.descriptors.file(process, fd)?;
                file.timeouts[direction as usize] = (!time.is_zero()).then_some(time);
                Ok(0)
            })
        }
        _ if netlink::is_netlink(process, fd) => netlink::set(process, fd, level, name, number),
        (libc::SOL_SOCKET, libc::SO_LINGER) if has(size_of::<libc::linger>()) => {
            // SAFETY: as checked.
            let linger = unsafe { value.cast::<libc::linger>().read_unaligned() };
            set(process, fd, |_, options| {
                options.lingers = linger.l_onoff != 0;
                if options.lingers {
                    options.linger_seconds = linger.l_linger;
                }
                Ok(())
            })
        }
        (libc::IPPROTO_IP, libc::IP_PKTINFO) | (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => {
            with_socket(process, fd, |_, socket| {
                socket.gives_destination = number != 0;
                Ok(0)
            })
        }
        (libc::SOL_SOCKET, libc::SO_PASSCRED) => with_socket(process, fd, |run, socket| {
            run.set_passes_credentials(*socket, number != 0).map(|()| 0)
        }),
        (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP) => {
            // SAFETY: there are so many bytes.
            let group = unsafe { ipv4_group(value, length as usize) };
            change_group(process, fd, group, name == libc::IP_ADD_MEMBERSHIP)
        }
        (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) => {
            // SAFETY: there are so many bytes.
            let group = unsafe { ipv6_group(value, length as usize) };
            change_group(process, fd, group, name == libc::IPV6_ADD_MEMBERSHIP)
        }
        (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => {
            // SAFETY: there are so many bytes.
            let at = unsafe { ipv4_interface(value, length as usize) };
            with_socket(process, fd, |run, socket| run.set_multicast_interface(socket, at).map(|()| 0))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) if is_bound(process, fd) => Err(libc::EINVAL),
        _ => set(process, fd, |socket, options| {
            options.set((socket.protocol, socket.is_ipv6), level, name, number)
        }),
    })
}

/// The group in an `ip_mreq` or an `ip_mreqn` (ip(7)), which begins alike and has the interface's index behind that.
///
/// # Safety
/// `request` is valid for a read of `length` bytes.
unsafe fn ipv4_group(request: *const c_void, length: usize) -> Option<(IpAddr, Interface)> {
    let address = |address: libc::in_addr| Ipv4Addr::from_bits(u32::from_be(address.s_addr));
    if length < size_of::<libc::ip_mreq>() {
        return None;
    }
    // SAFETY: as checked; the same for the next.
    let short = unsafe { request.cast::<libc::ip_mreq>().read_unaligned() };
    let long = (length >= size_of::<libc::ip_mreqn>())
        .then(|| unsafe { request.cast::<libc::ip_mreqn>().read_unaligned() });
    let at = match long.map_or(0, |long| long.imr_ifindex) {
        0 => Interface::Address(address(short.imr_interface)),
        index => Interface::Index(index as u32),
    };
    Some((address(short.imr_multiaddr).into(), at))
}

/// The interface in an `in_addr`, an `ip_mreq` or an `ip_mreqn` (ip(7)), and its address in the order of the network.
///
/// # Safety
/// `request` is valid for a read of `length` bytes.
unsafe fn ipv4_interface(request: *const c_void, length: usize) -> Option<(Interface, u32)> {
    let named = |address: libc::in_addr| {
        (Interface::Address(Ipv4Addr::from_bits(u32::from_be(address.s_addr))), address.s_addr)
    };
    // SAFETY: as checked before each.
    unsafe {
        if length >= size_of::<libc::ip_mreqn>() {
            let request = request.cast::<libc::ip_mreqn>().read_unaligned();
            let (at, source) = named(request.imr_address);
            return Some(match request.imr_ifindex {
                0 => (at, source),
                index => (Interface::Index(index as u32), source),
            });
        }
        if length >= size_of::<libc::ip_mreq>() {
            return Some(named(request.cast::<libc::ip_mreq>().read_unaligned().imr_interface));
        }
        (length >= size_of::<libc::in_addr>())
            .then(|| named(request.cast::<libc::in_addr>().read_unaligned()))
    }
}

/// The group in an `ipv6_mreq` (ipv6(7)).
///
/// # Safety
/// `request` is valid for a read of `length` bytes.
unsafe fn ipv6_group(request: *const c_void, length: usize) -> Option<(IpAddr, Interface)> {
    if length < size_of::<libc::ipv6_mreq>() {
        return None;
    }
    // SAFETY: as checked.
    let request = unsafe { request.cast::<libc::ipv6_mreq>().read_unaligned() };
    let group = Ipv6Addr::from(request.ipv6mr_multiaddr.s6_addr);
    Some((group.into(), Interface::Index(request.ipv6mr_interface)))
}

/// Joins a multicast group, or leaves it; `None` if the request was too short.
fn change_group(
    process: Process,
    fd: c_int,
    group: Option<(IpAddr, Interface)>,
    joins: bool,
) -> Result<c_int, Errno> {
    let group = group.ok_or(libc::EINVAL)?;
    with_socket(process, fd, |run, socket| run.change_group(socket, group, joins).map(|()| 0))
}

/// Whether an IPv6 socket has a port: then its families are decided.
fn is_bound(process: Process, fd: c_int) -> bool {
    with_socket(process, fd, |run, socket| Ok(socket.is_ipv6 && run.is_socket_bound(socket))).unwrap_or(false)
}

fn set(
    process: Process,
    fd: c_int,
    change: impl FnOnce(&Socket, &mut crate::machine::net::options::Options) -> Result<(), Errno>,
) -> Result<c_int, Errno> {
    with_socket(process, fd, |run, socket| {
        let mut options = run.socket_options(socket);
        change(socket, &mut options)?;
        run.set_socket_options(socket, options);
        Ok(0)
    })
}
