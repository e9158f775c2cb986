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
