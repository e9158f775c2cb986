//! Which calls are of sockets alone, and what each makes of one. Each program is carried out in simulations, and on Linux itself
//! if `ASK_LINUX` is set.
#![expect(unsafe_code, reason = "the C library's functions are called as C does")]

use std::io::Error;
use std::os::fd::AsRawFd as _;

use crate::both;

/// The result of a call, or its errno.
fn answer(result: isize) -> Result<isize, i32> {
    if result < 0 { Err(Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(result) }
}

#[test]
fn send_and_recv_are_of_sockets_alone() {
    both(|| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut byte = [7u8];
        let at = byte.as_mut_ptr();
        // SAFETY: `at` is valid for one byte.
        unsafe {
            assert_eq!(answer(libc::send(writer.as_raw_fd(), at.cast(), 1, 0)), Err(libc::ENOTSOCK));
            assert_eq!(answer(libc::write(writer.as_raw_fd(), at.cast(), 1)), Ok(1));
            assert_eq!(answer(libc::recv(reader.as_raw_fd(), at.cast(), 1, 0)), Err(libc::ENOTSOCK));
            assert_eq!(answer(libc::read(reader.as_raw_fd(), at.cast(), 1)), Ok(1));
            let mut vector = libc::iovec { iov_base: at.cast(), iov_len: 1 };
            let mut message: libc::msghdr = std::mem::zeroed();
            (message.msg_iov, message.msg_iovlen) = (&raw mut vector, 1);
            assert_eq!(answer(libc::sendmsg(writer.as_raw_fd(), &raw const message, 0)), Err(libc::ENOTSOCK));
            assert_eq!(answer(libc::recvmsg(reader.as_raw_fd(), &raw mut message, 0)), Err(libc::ENOTSOCK));
        }
        Ok(())
    });
}

/// Linux's `inet_send_prepare()` comes before the question where to.
#[test]
fn a_write_without_a_peer_gives_a_datagram_socket_a_port() {
    both(|| {
        // SAFETY: the socket is closed once; each pointer is valid for what is read or written there.
        unsafe {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
            let mut name: libc::sockaddr_in = std::mem::zeroed();
            let mut port = || {
                let mut length = size_of_val(&name) as libc::socklen_t;
                assert_eq!(libc::getsockname(socket, (&raw mut name).cast(), &raw mut length), 0);
                name.sin_port
            };
            assert_eq!(port(), 0);
            assert_eq!(answer(libc::write(socket, [7u8].as_ptr().cast(), 1)), Err(libc::EDESTADDRREQ));
            assert_ne!(port(), 0);
            libc::close(socket);
        }
        Ok(())
    });
}

/// Options that have no effect here are kept: IP_BIND_ADDRESS_NO_PORT, TCP_CORK, SO_BINDTODEVICE, TCP_CONGESTION and others.
#[test]
fn options_without_an_effect_are_kept_and_told() {
    both(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let fd = listener.as_raw_fd();
        let set = |level, name, value: i32| {
            // SAFETY: the value is valid for a read of its size.
            let code = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), 4) };
            if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
        };
        let get = |level, name| {
            let (mut value, mut length) = ([7_u8; 16], 16);
            // SAFETY: there is room for so many bytes.
            let code =
                unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut length) };
            assert_eq!(code, 0, "option {name}");
            value[..length as usize].to_vec()
        };
        for (level, name) in [
            (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT),
            (libc::IPPROTO_IP, libc::IP_FREEBIND),
            (libc::IPPROTO_TCP, libc::TCP_CORK),
            (libc::IPPROTO_TCP, libc::TCP_THIN_LINEAR_TIMEOUTS),
        ] {
            for value in [1, 0] {
                assert_eq!(set(level, name, value), Ok(()));
                assert_eq!(get(level, name), value.to_ne_bytes());
            }
        }
        assert_eq!(set(libc::SOL_SOCKET, libc::SO_PRIORITY, 6), Ok(()));
        assert_eq!(get(libc::SOL_SOCKET, libc::SO_PRIORITY), 6_i32.to_ne_bytes());
        assert_eq!(get(libc::SOL_SOCKET, libc::SO_MARK), 0_i32.to_ne_bytes());
        assert_eq!(get(libc::SOL_SOCKET, libc::SO_BINDTODEVICE), Vec::<u8>::new());
        let device = b"lo\0";
        // SAFETY: the name is valid for a read of its length.
        let code = unsafe {
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_ptr().cast(), 3)
        };
        assert_eq!((code, get(libc::SOL_SOCKET, libc::SO_BINDTODEVICE)), (0, device.to_vec()));
        assert_eq!(get(libc::IPPROTO_TCP, libc::TCP_CONGESTION).len(), 16, "whichever the kernel prefers");
        // SAFETY: as above.
        let code = unsafe {
            libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, c"none".as_ptr().cast(), 4)
        };
        assert_eq!((code, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOENT)));
        Ok(())
    });
}
