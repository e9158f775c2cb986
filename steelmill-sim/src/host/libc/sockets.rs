//! Sockets: socket(2), bind(2), listen(2), accept(2), connect(2), send(2), recv(2), shutdown(2), and their options.

use std::ffi::{c_int, c_uint, c_void};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libc::{mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timeval};

use super::files::{buffers, open_pair, parts, receive, send as send_parts};
use super::{address, answer, caller, control, process_of, when_ready};
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::{Direction, Errno, Object, PairEnd};
use crate::machine::net::{Socket, source};
use crate::machine::real::real;
use crate::machine::world::Process;

/// The least that SO_SNDBUF and SO_RCVBUF show; the simulated buffers have one size.
const BUFFER: c_int = 256 * 1024;

/// The socket of a descriptor, to be changed.
fn with_socket<R>(
    process: Process,
    fd: c_int,
    look: impl FnOnce(&mut Cluster, &mut Socket) -> Result<R, Errno>,
) -> Result<R, Errno> {
    cluster::with(process.run, |run| {
        let (id, file) = run.descriptors.file(process, fd)?;
        let Object::Socket(socket) = &file.object else { return Err(libc::ENOTSOCK) };
        let mut socket = *socket;
        let result = look(run, &mut socket);
        run.descriptors.get(id).object = Object::Socket(socket);
        result
    })
}

/// The end of a socket pair that a descriptor names, if it names one.
fn pair_of(process: Process, fd: c_int) -> Result<Option<PairEnd>, Errno> {
    cluster::with(process.run, |run| {
        let (_, file) = run.descriptors.file(process, fd)?;
        Ok(match &file.object {
            Object::Pair(end) => Some(*end),
            _ => None,
        })
    })
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
    let is_udp = match kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
        libc::SOCK_STREAM if matches!(protocol, 0 | libc::IPPROTO_TCP) => false,
        libc::SOCK_DGRAM if matches!(protocol, 0 | libc::IPPROTO_UDP) => true,
        _ => return answer(Err(libc::EPROTONOSUPPORT)),
    };
    let is_ipv6 = match family {
        libc::AF_INET => false,
        libc::AF_INET6 => true,
        _ => return answer(Err(libc::EAFNOSUPPORT)),
    };
    answer(cluster::with(process.run, |run| {
        run.open_file(process, Object::Socket(Socket::new(process, is_ipv6, is_udp)), is_nonblocking)
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
    if family != libc::AF_UNIX || kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != libc::SOCK_STREAM {
        return answer(Err(libc::EPROTONOSUPPORT));
    }
    // SAFETY: as ours.
    answer(unsafe { open_pair(process, ends, false, kind & libc::SOCK_NONBLOCK != 0) })
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
    answer(address.and_then(|address| {
        with_socket(process, fd, |run, socket| run.bind_socket(socket, address).map(|()| 0))
    }))
}

/// # Safety
/// As listen(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    match process_of(fd) {
        Some(process) => {
            answer(with_socket(process, fd, |run, socket| run.listen_socket(socket).map(|()| 0)))
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
        unsafe { address::give(peer, address, length) };
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
    let connected = address
        .and_then(|address| with_socket(process, fd, |run, socket| run.connect_socket(socket, address)));
    let connected = connected.and_then(|is_done| {
        let is_blocking = cluster::with(process.run, |run| {
            run.descriptors.file(process, fd).map(|(_, file)| !file.is_nonblocking)
        })?;
        match (is_done, is_blocking) {
            (true, _) => Ok(()),
            (false, false) => Err(libc::EINPROGRESS),
            (false, true) => when_ready(process, fd, Direction::Write, false, |run, id| {
                let Object::Socket(socket) = &run.descriptors.get(id).object else {
                    return Err(libc::ENOTSOCK);
                };
                let socket = *socket;
                run.socket_connected(socket)
            }),
        }
    });
    answer(connected.map(|()| 0))
}

/// # Safety
/// As shutdown(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe { real!("shutdown", fn(c_int, c_int) -> c_int)(fd, how) };
    };
    let (reads, writes) = (how != libc::SHUT_WR, how != libc::SHUT_RD);
    answer(match pair_of(process, fd) {
        Ok(Some(end)) => {
            cluster::with(process.run, |run| run.shutdown_pair(end, reads, writes));
            Ok(0)
        }
        Ok(None) => {
            with_socket(process, fd, |run, socket| run.shutdown_socket(*socket, reads, writes).map(|()| 0))
        }
        Err(code) => Err(code),
    })
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
    answer(with_socket(process, fd, |run, socket| run.socket_local(*socket)).map(|local| {
        // SAFETY: as ours.
        unsafe { address::give(local, address, length) };
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
        unsafe { address::give(peer, address, length) };
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
    let vector = libc::iovec { iov_base: buffer, iov_len: length };
    // SAFETY: as ours.
    let read = receive(process, fd, unsafe { buffers(&raw const vector, 1) }, flags);
    answer(read.map(|read| {
        match read.from {
            // SAFETY: as ours.
            Some(address) => unsafe { address::give(address, from, from_length) },
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
    answer(receive(process, fd, buffers, flags).map(|read| {
        let destination = cluster::with(process.run, |run| destination(run, process, fd, read.from));
        message.msg_flags = if read.whole > read.bytes { libc::MSG_TRUNC } else { 0 };
        match read.from {
            // SAFETY: recvmsg(2): the name is null or has so many bytes.
            Some(address) => unsafe {
                address::give(address, message.msg_name.cast(), &raw mut message.msg_namelen);
            },
            None => message.msg_namelen = 0,
        }
        match destination {
            // SAFETY: as ours.
            Some((to, is_ipv6)) => unsafe { control::give_destination(message, to, is_ipv6) },
            None => message.msg_controllen = 0,
        }
        read.bytes as ssize_t
    }))
}

/// The address that a datagram was sent to, if the program wants to know, and whether its socket is of IPv6.
fn destination(
    run: &mut Cluster,
    process: Process,
    fd: c_int,
    from: Option<SocketAddr>,
) -> Option<(IpAddr, bool)> {
    let (_, file) = run.descriptors.file(process, fd).ok()?;
    let Object::Socket(socket) = &file.object else { return None };
    let from = from.filter(|_| socket.gives_destination)?;
    Some((source(from.ip().to_canonical(), process.machine), socket.is_ipv6))
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
    to: Option<SocketAddr>,
) -> Result<usize, Errno> {
    let Some(to) = to else { return send_parts(process, fd, parts, flags) };
    with_socket(process, fd, |run, socket| {
        if !socket.is_udp {
            return Err(libc::EISCONN);
        }
        run.bind_before_sending(socket)?;
        Ok(run.write_socket(*socket, parts, Some(to))?.unwrap_or(0))
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
    let vector = libc::iovec { iov_base: buffer.cast_mut(), iov_len: length };
    // SAFETY: as ours.
    let to = (!to.is_null()).then(|| unsafe { address::decode(to, to_length) }).transpose();
    // SAFETY: as ours.
    let mut parts = unsafe { parts(&raw const vector, 1) };
    answer(to.and_then(|to| send_to(process, fd, &mut parts, flags, to)).map(|n| n as ssize_t))
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
    // SAFETY: as ours.
    let checked = unsafe { control::check(process, message) };
    let sent = checked.and(to).and_then(|to| send_to(process, fd, &mut parts, flags, to));
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
}

fn option(process: Process, fd: c_int, level: c_int, name: c_int) -> Result<Value, Errno> {
    let timeout = |direction| {
        cluster::with(process.run, |run| {
            run.descriptors.file(process, fd).map(|(_, file)| Value::Time(file.timeouts[direction as usize]))
        })
    };
    with_socket(process, fd, |run, socket| {
        let one = |flag: bool| Value::Int(flag.into());
        Ok(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => Value::Int(run.socket_error(*socket)),
            (libc::SOL_SOCKET, libc::SO_TYPE) => {
                Value::Int(if socket.is_udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM })
            }
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => {
                Value::Int(if socket.is_ipv6 { libc::AF_INET6 } else { libc::AF_INET })
            }
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => {
                Value::Int(if socket.is_udp { libc::IPPROTO_UDP } else { libc::IPPROTO_TCP })
            }
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => one(run.socket_listens(*socket)),
            (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_RCVBUF) => Value::Int(BUFFER),
            (
                libc::SOL_SOCKET,
                libc::SO_REUSEADDR | libc::SO_REUSEPORT | libc::SO_KEEPALIVE | libc::SO_BROADCAST,
            ) => one(false),
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let is_zero = run.socket_options(*socket).is_some_and(|options| options.zero_linger);
                Value::Linger(libc::linger { l_onoff: is_zero.into(), l_linger: 0 })
            }
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => {
                one(run.socket_options(*socket).is_some_and(|options| options.nodelay))
            }
            (libc::IPPROTO_IP, libc::IP_TTL) => {
                Value::Int(run.socket_options(*socket).map_or(64, |options| options.ttl as c_int))
            }
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => one(false),
            _ => return Err(libc::ENOPROTOOPT),
        })
    })
    .or_else(|code| match (level, name) {
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => timeout(Direction::Read),
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => timeout(Direction::Write),
        _ => Err(code),
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
    let found = match pair_of(process, fd) {
        Ok(Some(_)) if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR) => Ok(Value::Int(0)),
        Ok(Some(_)) => Err(libc::ENOPROTOOPT),
        Ok(None) => option(process, fd, level, name),
        Err(code) => Err(code),
    };
    // SAFETY: getsockopt(2): `value` has room for as many bytes as `length` says.
    answer(found.map(|found| unsafe {
        match found {
            Value::Int(number) => put(number, value, length),
            Value::Linger(linger) => put(linger, value, length),
            Value::Time(time) => {
                let time = time.unwrap_or_default();
                let time = timeval {
                    tv_sec: time.as_secs() as libc::time_t,
                    tv_usec: time.subsec_micros() as libc::suseconds_t,
                };
                put(time, value, length);
            }
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
        (libc::SOL_SOCKET, libc::SO_LINGER) if has(size_of::<libc::linger>()) => {
            // SAFETY: as checked.
            let linger = unsafe { value.cast::<libc::linger>().read_unaligned() };
            set(process, fd, |options| options.zero_linger = linger.l_onoff != 0 && linger.l_linger == 0)
        }
        (libc::IPPROTO_IP, libc::IP_PKTINFO) | (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => {
            with_socket(process, fd, |_, socket| {
                socket.gives_destination = number != 0;
                Ok(0)
            })
        }
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => set(process, fd, |options| options.nodelay = number != 0),
        (libc::IPPROTO_IP, libc::IP_TTL) if !(1..=255).contains(&number) => Err(libc::EINVAL),
        (libc::IPPROTO_IP, libc::IP_TTL) => set(process, fd, |options| options.ttl = number as u32),
        // Taken, and without an effect that a program could see here: ports are free as soon as their sockets are closed,
        // buffers have one size, connections end by what happens to them.
        (
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR
            | libc::SO_REUSEPORT
            | libc::SO_KEEPALIVE
            | libc::SO_SNDBUF
            | libc::SO_RCVBUF
            | libc::SO_BROADCAST,
        )
        | (
            libc::IPPROTO_TCP,
            libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL | libc::TCP_KEEPCNT | libc::TCP_USER_TIMEOUT,
        )
        | (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)
        | (libc::IPPROTO_IP, libc::IP_TOS)
        | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => with_socket(process, fd, |_, _| Ok(0)),
        _ => Err(libc::ENOPROTOOPT),
    })
}

fn set(
    process: Process,
    fd: c_int,
    change: impl FnOnce(&mut crate::machine::net::Options),
) -> Result<c_int, Errno> {
    with_socket(process, fd, |run, socket| {
        if let Some(options) = run.socket_options(*socket) {
            change(options);
        }
        Ok(0)
    })
}
