//! Several threads that wait on one socket: what Linux promises of who is woken, and no more. Each program is carried out in
//! simulations with several schedules, and on Linux itself if `ASK_LINUX` is set.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]
#![expect(unsafe_code, reason = "the C library's functions are called as C does")]

use std::io::{Error, ErrorKind, Read as _, Result as IoResult, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use steelmill_sim::{Seed, check};

use crate::both;

/// So long takes whatever is on its way, on a busy machine.
const WHILE: Duration = Duration::from_millis(300);

/// Has so many threads wait, and gives what each of them gets.
fn waiting<T: Send + 'static>(
    threads: usize,
    wait: impl Fn() -> IoResult<T> + Clone + Send + 'static,
) -> Receiver<IoResult<T>> {
    let (found, all) = channel();
    for _ in 0..threads {
        let (wait, found) = (wait.clone(), found.clone());
        thread::spawn(move || found.send(wait()));
    }
    thread::sleep(WHILE);
    all
}

/// What threads have got until now.
fn got<T>(all: &Receiver<IoResult<T>>) -> IoResult<Vec<T>> {
    thread::sleep(WHILE);
    all.try_iter().collect()
}

#[test]
fn a_connection_is_for_one_of_the_threads_that_accept() {
    both(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let waiter = std::sync::Arc::new(listener);
        let all = waiting(3, move || waiter.accept());
        assert!(got(&all)?.is_empty());
        let first = TcpStream::connect(address)?;
        let accepted = got(&all)?;
        assert_eq!(accepted.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [first.local_addr()?]);
        let others = [TcpStream::connect(address)?, TcpStream::connect(address)?];
        let mut peers: Vec<_> = got(&all)?.into_iter().map(|(_, peer)| peer).collect();
        peers.sort_by_key(|peer| others[1].local_addr().is_ok_and(|second| second == *peer));
        assert_eq!(peers, [others[0].local_addr()?, others[1].local_addr()?]);
        Ok(())
    });
}

#[test]
fn a_datagram_is_for_one_of_the_threads_that_receive() {
    both(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let (address, sender) = (socket.local_addr()?, UdpSocket::bind("127.0.0.1:0")?);
        let waiter = std::sync::Arc::new(socket);
        let all = waiting(3, move || {
            let mut byte = [0];
            waiter.recv(&mut byte).map(|_| byte[0])
        });
        sender.send_to(&[1], address)?;
        assert_eq!(got(&all)?, [1]);
        sender.send_to(&[2], address)?;
        sender.send_to(&[3], address)?;
        let mut others = got(&all)?;
        others.sort_unstable();
        assert_eq!(others, [2, 3]);
        Ok(())
    });
}

#[test]
fn bytes_are_for_one_of_the_threads_that_read_and_the_end_for_all() {
    both(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        let far = std::sync::Arc::new(far);
        let all = waiting(3, move || (&*far).read(&mut [0; 8]));
        near.write_all(b"x")?; // of several, each might get some
        assert_eq!(got(&all)?, [1]);
        drop(near);
        assert_eq!(got(&all)?, [0, 0]);
        Ok(())
    });
}

fn answer(result: i32) -> IoResult<i32> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

fn epoll() -> IoResult<OwnedFd> {
    // SAFETY: it takes no pointer; what it gives is a new descriptor, which nobody else has.
    unsafe { answer(libc::epoll_create1(0)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

fn control(epoll: &OwnedFd, operation: i32, fd: i32, events: i32) -> IoResult<i32> {
    let mut event = libc::epoll_event { events: events as u32, u64: 7 };
    // SAFETY: `event` is one for as long as the call takes.
    answer(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &raw mut event) })
}

/// How many events come within a while.
fn wait(epoll: &OwnedFd) -> IoResult<i32> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: there is room for one event.
    answer(unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, 2 * WHILE.as_millis() as i32) })
}

/// Of several that have it at least one is told; any of them may be, so each has to be ready for none.
#[test]
fn of_exclusive_epolls_one_is_told_at_least() {
    both(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let (address, listener) = (listener.local_addr()?, std::sync::Arc::new(listener));
        let all = waiting(3, move || {
            let epoll = epoll()?;
            control(&epoll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), libc::EPOLLIN | libc::EPOLLEXCLUSIVE)?;
            match wait(&epoll)? {
                0 => Ok(None),
                _ => Ok(Some(listener.accept().map_err(|error| error.kind()).map(drop))),
            }
        });
        let _near = TcpStream::connect(address)?;
        thread::sleep(2 * WHILE);
        let found = got(&all)?;
        assert_eq!(found.len(), 3);
        assert_eq!(found.iter().filter(|found| **found == Some(Ok(()))).count(), 1);
        let are_others_in_vain = |found: &Option<Result<(), ErrorKind>>| {
            matches!(found, None | Some(Ok(())) | Some(Err(ErrorKind::WouldBlock)))
        };
        assert!(found.iter().all(are_others_in_vain), "{found:?}");
        Ok(())
    });
}

#[test]
fn an_exclusive_interest_is_not_changed_and_has_few_events() {
    both(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let (one, other) = (epoll()?, epoll()?);
        let exclusive = |epoll, operation, fd, events| {
            control(epoll, operation, fd, events | libc::EPOLLEXCLUSIVE).map_err(|error| error.raw_os_error())
        };
        let (add, change) = (libc::EPOLL_CTL_ADD, libc::EPOLL_CTL_MOD);
        let fd = socket.as_raw_fd();
        assert_eq!(exclusive(&one, add, fd, libc::EPOLLIN | libc::EPOLLONESHOT), Err(Some(libc::EINVAL)));
        assert_eq!(exclusive(&one, add, other.as_raw_fd(), libc::EPOLLIN), Err(Some(libc::EINVAL)));
        assert_eq!(exclusive(&one, change, fd, libc::EPOLLIN), Err(Some(libc::EINVAL)));
        assert_eq!(exclusive(&one, add, fd, libc::EPOLLIN | libc::EPOLLET), Ok(0));
        let changed = control(&one, change, fd, libc::EPOLLIN).map_err(|error| error.raw_os_error());
        assert_eq!(changed, Err(Some(libc::EINVAL)));
        Ok(())
    });
}

/// The descriptors of a set below 1024.
fn members(set: &libc::fd_set) -> Vec<i32> {
    // SAFETY: the descriptors are below FD_SETSIZE.
    (0..libc::FD_SETSIZE as i32).filter(|fd| unsafe { libc::FD_ISSET(*fd, set) }).collect()
}

/// select(2) with sets of these descriptors: how many it found, what it left in the sets, and of the timeout.
fn select(sets: [&[i32]; 3], timeout: Option<Duration>) -> IoResult<(i32, [Vec<i32>; 3], Duration)> {
    let end = sets.iter().flat_map(|set| set.iter()).max().map_or(0, |fd| fd + 1);
    // SAFETY: a set of zeros is empty; the descriptors are below FD_SETSIZE.
    let [mut reads, mut writes, mut exceptions] = sets.map(|fds| unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        fds.iter().for_each(|fd| libc::FD_SET(*fd, &raw mut set));
        set
    });
    let limit = timeout.unwrap_or_default();
    let mut time =
        libc::timeval { tv_sec: limit.as_secs() as i64, tv_usec: i64::from(limit.subsec_micros()) };
    let time_at = if timeout.is_some() { &raw mut time } else { std::ptr::null_mut() };
    // SAFETY: all are valid for reads and writes.
    let found = unsafe { libc::select(end, &raw mut reads, &raw mut writes, &raw mut exceptions, time_at) };
    if found < 0 {
        return Err(Error::last_os_error());
    }
    let left = Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64);
    Ok((found, [&reads, &writes, &exceptions].map(members), left))
}

/// C code such as libcurl waits by it for one socket.
#[test]
fn select_tells_what_is_ready_and_what_is_left_of_the_timeout() {
    both(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        let (one, other) = (client.as_raw_fd(), server.as_raw_fd());

        // It is in two sets, and ready for one of them.
        let (found, [reads, writes, exceptions], left) = select([&[one, other], &[one], &[]], Some(WHILE))?;
        assert_eq!((found, reads, writes, exceptions), (1, vec![], vec![one], vec![]));
        assert!(left > WHILE / 2, "{left:?} of {WHILE:?}");
        let (found, [reads, ..], left) = select([&[other], &[], &[other]], Some(WHILE))?;
        assert_eq!((found, reads, left), (0, vec![], Duration::ZERO), "nothing comes");

        let writer = thread::spawn(move || {
            thread::sleep(WHILE);
            client.write_all(b"a").map(|()| client)
        });
        let (found, [reads, writes, _], _) = select([&[other], &[other], &[]], None)?;
        assert_eq!((found, reads, writes), (1, vec![], vec![other]), "there is room");
        let (found, [reads, ..], _) = select([&[other], &[], &[other]], None)?;
        assert_eq!((found, reads), (1, vec![other]), "it has waited for the byte");
        let client = writer.join().expect("it does not panic")?;
        let (found, ..) = select([&[other], &[other], &[]], None)?;
        assert_eq!(found, 2, "once for each set");

        drop(client);
        let (found, [reads, _, exceptions], _) = select([&[other], &[], &[other]], None)?;
        assert_eq!((found, reads, exceptions), (1, vec![other], vec![]), "an end is no exception");
        Ok(())
    });
}

#[test]
fn select_refuses_what_is_not_open_and_sleeps_without_any() {
    both(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let closed = socket.as_raw_fd();
        drop(socket);
        let error = select([&[closed], &[], &[]], Some(WHILE)).expect_err("it is not open");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        let begun = std::time::Instant::now();
        let (found, _, left) = select([&[], &[], &[]], Some(WHILE))?;
        assert_eq!((found, left), (0, Duration::ZERO));
        assert!(begun.elapsed() >= WHILE);
        let mut negative = libc::timeval { tv_sec: -1, tv_usec: 0 };
        let none = std::ptr::null_mut();
        // SAFETY: there are no sets; the timeout is valid.
        assert_eq!(unsafe { libc::select(0, none, none, none, &raw mut negative) }, -1);
        assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::EINVAL));
        // SAFETY: as above.
        assert_eq!(unsafe { libc::select(-1, none, none, none, std::ptr::null_mut()) }, -1);
        assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::EINVAL));
        Ok(())
    });
}

/// A connection that is refused is writable, for select(2) as well.
#[test]
fn select_tells_of_a_connect_that_has_failed() {
    both(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        drop(listener);
        // SAFETY: socket(2) and connect(2) are given what they take; the descriptor is the one just made.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
            OwnedFd::from_raw_fd(fd)
        };
        let name = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        // SAFETY: as above.
        unsafe { libc::connect(socket.as_raw_fd(), (&raw const name).cast(), size_of_val(&name) as u32) };
        let fd = socket.as_raw_fd();
        let (found, [reads, writes, exceptions], _) = select([&[fd], &[fd], &[fd]], None)?;
        assert_eq!((found, reads, writes, exceptions), (2, vec![fd], vec![fd], vec![]));
        Ok(())
    });
}

/// A loop of calls that find nothing, as of those who cannot or will not wait: each takes a moment, so what it waits for comes.
#[test]
fn a_loop_of_calls_comes_to_what_it_waits_for() {
    both(|| {
        let receiver = UdpSocket::bind("127.0.0.1:0")?;
        receiver.set_nonblocking(true)?;
        let address = receiver.local_addr()?;
        let sender = thread::spawn(move || {
            thread::sleep(Duration::from_micros(200));
            UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", address)
        });
        let error = loop {
            match receiver.recv(&mut [0; 8]) {
                Ok(_) => break None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => break Some(error),
            }
        };
        assert!(error.is_none(), "{error:?}");
        sender.join().expect("it does not panic")?;

        let is_done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let finisher = is_done.clone();
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_micros(200));
            finisher.store(true, std::sync::atomic::Ordering::Release);
        });
        while !is_done.load(std::sync::atomic::Ordering::Acquire) {
            thread::yield_now();
        }
        other.join().expect("it does not panic");

        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let client = thread::spawn(move || {
            thread::sleep(Duration::from_micros(200));
            TcpStream::connect(address)
        });
        while select([&[listener.as_raw_fd()], &[], &[]], Some(Duration::ZERO))?.0 == 0 {}
        client.join().expect("it does not panic")?;
        Ok(())
    });
}

unsafe extern "C" {
    fn thrd_yield();
    fn thrd_sleep(time: *const libc::timespec, left: *mut libc::timespec) -> i32;
}

/// pthread_spin_lock(3) calls nothing that gives the turn away, nor do C11's thrd_yield(3) and thrd_sleep(3).
#[test]
fn a_spin_lock_is_had_when_the_thread_that_holds_it_gives_it_back() {
    both(|| {
        struct Lock(std::cell::UnsafeCell<libc::pthread_spinlock_t>);
        // SAFETY: it is used by pthread_spin_lock(3) and its kin alone.
        unsafe impl Sync for Lock {}

        let lock = Lock(0.into());
        let counts = Lock(0.into());
        let at = |lock: &Lock| lock.0.get();
        // SAFETY: the lock outlives the threads; the count is changed by the one that holds the lock.
        unsafe {
            libc::pthread_spin_init(at(&lock), libc::PTHREAD_PROCESS_PRIVATE);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..5 {
                            assert_eq!(libc::pthread_spin_lock(at(&lock)), 0);
                            let before = *at(&counts);
                            thrd_yield();
                            let moment = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };
                            assert_eq!(thrd_sleep(&raw const moment, std::ptr::null_mut()), 0);
                            *at(&counts) = before + 1;
                            libc::pthread_spin_unlock(at(&lock));
                        }
                    });
                }
            });
            assert_eq!(*at(&counts), 15);
            let malformed = libc::timespec { tv_sec: 0, tv_nsec: -1 };
            assert_eq!(thrd_sleep(&raw const malformed, std::ptr::null_mut()), -2);
        }
        Ok(())
    });
}

/// CLOCK_BOOTTIME goes on while a machine is suspended: who waits for such a timer is woken with it (timerfd_create(2)).
#[test]
fn a_timer_ends_while_its_machine_is_suspended() {
    fn waits() -> IoResult<()> {
        let begun = std::time::Instant::now();
        let value = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec { tv_sec: 10, tv_nsec: 0 },
        };
        // SAFETY: the setting is valid for a read, and the counter for a write of its size.
        unsafe {
            let timer = libc::timerfd_create(libc::CLOCK_BOOTTIME, 0);
            assert_eq!(libc::timerfd_settime(timer, 0, &raw const value, std::ptr::null_mut()), 0);
            let mut count = 0_u64;
            assert_eq!(libc::read(timer, (&raw mut count).cast(), 8), 8);
            assert_eq!(count, 1);
            libc::close(timer);
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "the monotonic clock stood still");
        Ok(())
    }
    check(Seed(1), |sim| async move {
        let program = sim.program("program", waits).start().await?;
        sim.clock().sleep(Duration::from_secs(1)).await;
        program.suspend();
        sim.clock().sleep(Duration::from_secs(60)).await;
        program.wake();
        let life = program.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        Ok(())
    });
}
