//! Programs that make system calls by instructions of their own, past the C library, as rustix does.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use steelmill_core::Result;
use steelmill_sim::{Campaign, Seed, Sim, Verify, check};

use crate::succeeds;

const SECOND: Duration = Duration::from_secs(1);

fn seconds(seconds: i64) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: 0 }
}

/// Sends back what it receives, at once and for each connection in a thread of its own.
fn serve() -> rustix::io::Result<()> {
    let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 7))?;
    rustix::net::listen(&listener, 16)?;
    loop {
        let stream = rustix::net::accept(&listener)?;
        thread::spawn(move || {
            let mut bytes = Vec::with_capacity(16);
            while rustix::net::recv(&stream, spare_capacity(&mut bytes), RecvFlags::empty())
                .is_ok_and(|(n, _)| n > 0)
            {
                rustix::net::send(&stream, &bytes, SendFlags::empty()).expect("the client reads");
                bytes.clear();
            }
        });
    }
}

/// Waits for the echo and for a timer at the same time, by epoll.
fn ask(address: SocketAddrV4) -> rustix::io::Result<()> {
    let began = Instant::now();
    let stream =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&stream, &address)?;
    rustix::io::ioctl_fionbio(&stream, true)?;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let every = Itimerspec { it_interval: seconds(2), it_value: seconds(3) };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poller, &stream, epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
    epoll::add(&poller, &timer, epoll::EventData::new_u64(2), epoll::EventFlags::IN)?;
    let mut buffer = [0; 16];
    assert_eq!(rustix::io::read(&stream, &mut buffer), Err(Errno::AGAIN));
    let mut rest: &[u8] = b"hello";
    while !rest.is_empty() {
        rest = &rest[rustix::net::send(&stream, rest, SendFlags::empty())?..];
    }
    let (mut echoed, mut expired, mut events) = (0, 0, Vec::with_capacity(4));
    while echoed < 5 || expired < 3 {
        events.clear();
        epoll::wait(&poller, spare_capacity(&mut events), Some(&seconds(100)))?;
        assert!(!events.is_empty(), "nothing for a hundred seconds");
        for event in &events {
            match event.data.u64() {
                1 => echoed += rustix::io::read(&stream, &mut buffer)?,
                _ => {
                    let mut count = [0; 8];
                    rustix::io::read(&timer, &mut count)?;
                    expired += u64::from_ne_bytes(count);
                }
            }
        }
    }
    assert_eq!((echoed, expired, began.elapsed().as_secs()), (5, 3, 7));
    let left = rustix::time::timerfd_gettime(&timer)?.it_value;
    assert_eq!((left.tv_sec, left.tv_nsec), (2, 0));
    // It waits for two expiries more.
    thread::sleep(Duration::from_millis(4500));
    assert_eq!(rustix::io::read(&timer, &mut buffer), Ok(8));
    assert_eq!(buffer[..8], 2_u64.to_ne_bytes());
    Ok(())
}

#[test]
fn a_program_past_the_c_library_stays_in_the_simulation() {
    let scenario = |sim: Sim| async move {
        let server = sim.program("server", serve).start().await?;
        let std::net::IpAddr::V4(address) = server.address() else { anyhow::bail!("an IPv4 address") };
        sim.clock().sleep(SECOND).await;
        let clients = ["a", "b"].map(|name| sim.program(name, move || ask(SocketAddrV4::new(address, 7))));
        for client in clients {
            let life = client.start().await?.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
        }
        Result::Ok(())
    };
    Campaign::new(scenario).seeds(10).verify(Verify::Twice).check();
}

#[test]
fn files_past_the_c_library_are_on_the_machines_disk() {
    use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, ResolveFlags};
    let main = || -> rustix::io::Result<()> {
        rustix::fs::mkdir("/data", Mode::RWXU)?;
        let directory = rustix::fs::open("/data", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        let file =
            rustix::fs::openat(&directory, "file", OFlags::CREATE | OFlags::RDWR, Mode::RUSR | Mode::WUSR)?;
        rustix::io::pwrite(&file, b"hello", 3)?;
        rustix::fs::fsync(&file)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::End(-1))?, 7);
        let mut byte = [0];
        assert_eq!(rustix::io::read(&file, &mut byte)?, 1);
        assert_eq!(byte, *b"o");
        assert_eq!(rustix::fs::fstat(&file)?.st_size, 8);
        rustix::fs::renameat(&directory, "file", CWD, "/data/renamed")?;
        assert_eq!(rustix::fs::statat(&directory, "file", AtFlags::empty()).err(), Some(Errno::NOENT));
        let mut names: Vec<String> = Dir::read_from(&directory)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_, _>>()?;
        names.sort();
        assert_eq!(names, [".", "..", "renamed"]);
        rustix::fs::unlinkat(&directory, "renamed", AtFlags::empty())?;
        // A call that there is no stand-in for is not done on the real file system.
        let real = rustix::fs::openat2(CWD, "/", OFlags::RDONLY, Mode::empty(), ResolveFlags::empty());
        assert_eq!(real.err(), Some(Errno::NOSYS));
        Ok(())
    };
    let scenario = move |sim: Sim| async move {
        let program = sim.program("program", main).start().await?;
        anyhow::ensure!(program.ended().await.is_success());
        anyhow::ensure!(program.disk().files("/data")?.is_empty());
        Result::Ok(())
    };
    Campaign::new(scenario).seeds(3).verify(Verify::Twice).check();
}

/// Calls of the kernel that the C library has others for, or lays out otherwise.
#[test]
#[expect(unsafe_code, reason = "the kernel is called as an assembler does")]
fn older_calls_and_those_with_a_layout_of_their_own_are_answered_too() {
    static RAISED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    extern "C" fn handle(_: i32) {
        RAISED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            // SAFETY: all pointers are valid, or null where that may be.
            unsafe {
                assert_eq!(libc::syscall(libc::SYS_time, 0), 1_767_225_600, "when the run began");
                let mut time: libc::timeval = std::mem::zeroed();
                assert_eq!(libc::syscall(libc::SYS_gettimeofday, &raw mut time, 0), 0);
                assert_eq!(time.tv_sec, 1_767_225_600);
                let event = libc::syscall(libc::SYS_eventfd, 3) as i32;
                let mut count = 0_u64;
                assert_eq!(libc::read(event, (&raw mut count).cast(), 8), 8);
                assert_eq!(count, 3);
                let action = [handle as *const () as usize, 0, 0, 0];
                assert_eq!(libc::syscall(libc::SYS_rt_sigaction, libc::SIGUSR1, action.as_ptr(), 0, 8), 0);
                let (mask, mut former) = (1_u64 << (libc::SIGUSR1 - 1), [7_u64, 7]);
                let change = |how: i32, new: *const u64, old: *mut u64| {
                    libc::syscall(libc::SYS_rt_sigprocmask, how, new, old, 8)
                };
                assert_eq!(change(libc::SIG_BLOCK, &raw const mask, former.as_mut_ptr()), 0);
                assert_eq!(former, [0, 7], "no more than eight bytes are written");
                assert_eq!(libc::raise(libc::SIGUSR1), 0);
                assert_eq!(RAISED.load(std::sync::atomic::Ordering::SeqCst), 0);
                assert_eq!(change(libc::SIG_UNBLOCK, &raw const mask, former.as_mut_ptr()), 0);
                assert_eq!((former[0], RAISED.load(std::sync::atomic::Ordering::SeqCst)), (mask, 1));
                std::fs::write("/tmp/file", "x").expect("its own disk");
                assert_eq!(libc::syscall(libc::SYS_sync), 0);
            }
        })
        .await
    });
}
