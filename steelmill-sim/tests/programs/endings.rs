//! How a thread and a process end: pthread_exit(3), exit(3), _exit(2), and what is called then.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]
#![expect(unsafe_code, reason = "the C library's functions are called as C does")]

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::net::{TcpListener, TcpStream};
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use steelmill_sim::{Campaign, LifeEnd, Seed, Sim, check};

use crate::{both, succeeds};

// Not in the libc crate.
unsafe extern "C" {
    fn thrd_create(thread: *mut libc::pthread_t, routine: Routine, argument: *mut c_void) -> c_int;
    fn thrd_join(thread: libc::pthread_t, result: *mut c_int) -> c_int;
    fn mtx_init(lock: *mut libc::pthread_mutex_t, kind: c_int) -> c_int;
    fn mtx_lock(lock: *mut libc::pthread_mutex_t) -> c_int;
    fn mtx_unlock(lock: *mut libc::pthread_mutex_t) -> c_int;
    fn cnd_init(condition: *mut libc::pthread_cond_t) -> c_int;
    fn cnd_signal(condition: *mut libc::pthread_cond_t) -> c_int;
    fn cnd_wait(condition: *mut libc::pthread_cond_t, lock: *mut libc::pthread_mutex_t) -> c_int;
    fn cnd_timedwait(
        condition: *mut libc::pthread_cond_t,
        lock: *mut libc::pthread_mutex_t,
        point: *const libc::timespec,
    ) -> c_int;
    fn pthread_tryjoin_np(thread: libc::pthread_t, result: *mut *mut c_void) -> c_int;
    fn pthread_timedjoin_np(
        thread: libc::pthread_t,
        result: *mut *mut c_void,
        point: *const libc::timespec,
    ) -> c_int;
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    fn quick_exit(code: c_int) -> !;
}

// The C library unwinds the stack of a thread that exits, which the libc crate's declarations do not allow.
unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        routine: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_exit(result: *mut c_void) -> !;
    fn thrd_exit(result: c_int) -> !;
}

type Routine = extern "C-unwind" fn(*mut c_void) -> c_int;

/// Is dropped when its thread ends, and counts that where its address says.
struct Counts(&'static AtomicU32);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// At the end of this thread a static is counted up.
fn count_at_end(counter: &'static AtomicU32) {
    thread_local!(static HELD: RefCell<Option<Counts>> = const { RefCell::new(None) });
    HELD.set(Some(Counts(counter)));
}

fn created(routine: extern "C-unwind" fn(*mut c_void) -> *mut c_void) -> libc::pthread_t {
    let mut thread = 0;
    // SAFETY: the place is valid, and the routine takes any argument.
    assert_eq!(unsafe { pthread_create(&raw mut thread, null(), routine, null_mut()) }, 0);
    thread
}

/// pthread_exit(3): several times, so that a thread begins where one has exited.
#[test]
fn a_thread_exits_from_a_function_that_its_routine_calls() {
    static ENDED: AtomicU32 = AtomicU32::new(0);
    #[inline(never)]
    fn exits(value: usize) -> ! {
        // SAFETY: nothing on the stack has to be dropped.
        unsafe { pthread_exit(without_provenance_mut(value)) }
    }
    extern "C-unwind" fn routine(_: *mut c_void) -> *mut c_void {
        count_at_end(&ENDED);
        thread::sleep(Duration::from_millis(2));
        exits(7)
    }
    both(|| {
        for round in 1..=3 {
            let threads = [created(routine), created(routine)];
            for thread in threads {
                let mut result = null_mut();
                // SAFETY: it was created, and is joined once.
                assert_eq!(unsafe { libc::pthread_join(thread, &raw mut result) }, 0);
                assert_eq!(result.addr(), 7);
            }
            assert_eq!(ENDED.load(Ordering::SeqCst), 2 * round);
            assert_eq!(thread::spawn(|| 5).join().expect("no panic"), 5);
        }
        Ok(())
    });
}

/// threads.h of C11.
#[test]
fn threads_of_c11_take_locks_wait_and_give_results() {
    struct Shared {
        lock: libc::pthread_mutex_t,
        changed: libc::pthread_cond_t,
        count: c_int,
    }
    const TIMEDOUT: c_int = 4;
    #[inline(never)]
    fn exits(result: c_int) -> ! {
        // SAFETY: nothing on the stack has to be dropped.
        unsafe { thrd_exit(result) }
    }
    extern "C-unwind" fn adds(shared: *mut c_void) -> c_int {
        let shared = shared.cast::<Shared>();
        thread::sleep(Duration::from_millis(1));
        // SAFETY: the other thread keeps it until this has been joined; the number is changed with the lock.
        unsafe {
            assert_eq!(mtx_lock(&raw mut (*shared).lock), 0);
            (*shared).count += 1;
            assert_eq!(cnd_signal(&raw mut (*shared).changed), 0);
            assert_eq!(mtx_unlock(&raw mut (*shared).lock), 0);
        }
        exits(-3)
    }
    both(|| {
        // SAFETY: zeros are values of these, and all pointers are valid while they are used.
        unsafe {
            let mut shared: Shared = zeroed();
            let all = &raw mut shared;
            let (lock, changed) = (&raw mut (*all).lock, &raw mut (*all).changed);
            assert_eq!((mtx_init(lock, 0), cnd_init(changed)), (0, 0));
            let mut threads = [0; 3];
            for thread in &mut threads {
                assert_eq!(thrd_create(thread, adds, all.cast()), 0);
            }
            assert_eq!(mtx_lock(lock), 0);
            // Each reads it anew, as the others change it.
            while (&raw const (*all).count).read() < 3 {
                assert_eq!(cnd_wait(changed, lock), 0);
            }
            let mut point: libc::timespec = zeroed();
            libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut point);
            point.tv_sec += 1;
            while cnd_timedwait(changed, lock, &raw const point) != TIMEDOUT {}
            assert_eq!(mtx_unlock(lock), 0);
            for thread in threads {
                let mut result = 0;
                assert_eq!((thrd_join(thread, &raw mut result), result), (0, -3));
            }
        }
        Ok(())
    });
}

/// pthread_tryjoin_np(3), pthread_timedjoin_np(3).
#[test]
fn a_join_waits_until_a_point_in_time_or_not_at_all() {
    extern "C-unwind" fn sleeps(_: *mut c_void) -> *mut c_void {
        thread::sleep(Duration::from_millis(200));
        without_provenance_mut(9)
    }
    both(|| {
        let (thread, mut result) = (created(sleeps), null_mut());
        // SAFETY: the thread is joined once, and the pointers are valid.
        unsafe {
            let mut point: libc::timespec = zeroed();
            libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut point);
            assert_eq!(pthread_tryjoin_np(thread, &raw mut result), libc::EBUSY);
            point.tv_nsec += 50_000_000;
            (point.tv_sec, point.tv_nsec) =
                (point.tv_sec + point.tv_nsec / 1_000_000_000, point.tv_nsec % 1_000_000_000);
            assert_eq!(pthread_timedjoin_np(thread, &raw mut result, &raw const point), libc::ETIMEDOUT);
            point.tv_sec += 1;
            assert_eq!(pthread_timedjoin_np(thread, &raw mut result, &raw const point), 0);
        }
        assert_eq!(result.addr(), 9);
        Ok(())
    });
}

/// A loop that tries to take a lock, with nothing between, comes to where it is released.
#[test]
fn a_loop_of_tries_takes_a_lock() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            struct Lock(std::cell::UnsafeCell<libc::pthread_mutex_t>);
            // SAFETY: the functions that are given it are for several threads.
            unsafe impl Sync for Lock {}
            static LOCK: Lock = Lock(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
            let holder = thread::spawn(|| {
                // SAFETY: the lock is initialized; this thread releases what it took.
                unsafe { libc::pthread_mutex_lock(LOCK.0.get()) };
                thread::sleep(Duration::from_micros(50));
                // SAFETY: as above.
                unsafe { libc::pthread_mutex_unlock(LOCK.0.get()) };
            });
            thread::sleep(Duration::from_micros(10));
            // SAFETY: as above.
            while unsafe { libc::pthread_mutex_trylock(LOCK.0.get()) } == libc::EBUSY {}
            holder.join().expect("no panic");
        })
        .await
    });
}

/// Tells by UDP, as it happens when nothing can be returned any more.
fn tell(what: &str) {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.send_to(what.as_bytes(), "witness:9").expect("it is sent");
    thread::sleep(Duration::from_millis(10)); // none overtakes another
}

/// What a program of a machine tells until it has ended, and its exit code.
async fn told(sim: Sim, main: fn() -> i32) -> anyhow::Result<(Vec<String>, i32)> {
    use std::sync::{Arc, Mutex};
    let witness = sim.client("witness");
    let socket = witness.network().bind_udp("0.0.0.0:9").await?;
    let all = Arc::new(Mutex::new(Vec::new()));
    let heard = all.clone();
    let _witness = witness.spawn("witness", async move {
        let mut buffer = [0; 64];
        while let Ok((length, _)) = socket.recv_from(&mut buffer).await {
            heard.lock().expect("no panic").push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    });
    let life = sim.program("program", main).start().await?.ended().await;
    sim.clock().sleep(Duration::from_secs(1)).await;
    let all = all.lock().expect("no panic").clone();
    let LifeEnd::ExitCode(code) = life.end else { anyhow::bail!("{life}") };
    Ok((all, code))
}

extern "C" fn first() {
    tell("first");
}

extern "C" fn second() {
    tell("second");
}

extern "C" fn with_code(code: c_int, argument: *mut c_void) {
    tell(&format!("code {code}, argument {}", argument.addr()));
}

struct Tells;

impl Drop for Tells {
    fn drop(&mut self) {
        tell("thread-local");
    }
}

fn prepare() {
    thread_local!(static TELLS: Tells = const { Tells });
    TELLS.with(|_| ());
    // SAFETY: the functions may be called at exit.
    unsafe {
        assert_eq!(libc::atexit(first), 0);
        assert_eq!(on_exit(with_code, without_provenance_mut(4)), 0);
        assert_eq!(libc::atexit(second), 0);
    }
}

/// exit(3): thread-locals of the thread that exits, then what was registered, the last first.
#[test]
fn a_process_that_exits_does_what_it_has_registered_for_that() {
    fn returns() -> i32 {
        prepare();
        3
    }
    fn exits() -> i32 {
        prepare();
        // SAFETY: it may be called at any time.
        unsafe { libc::exit(3) }
    }
    for main in [returns, exits] {
        Campaign::new(move |sim| async move {
            let (told, code) = told(sim, main).await?;
            anyhow::ensure!(told == ["thread-local", "second", "code 3, argument 4", "first"], "{told:?}");
            anyhow::ensure!(code == 3, "{code}");
            Ok(())
        })
        .seeds(5)
        .check();
    }
}

/// _exit(2), quick_exit(3).
#[test]
fn a_process_that_ends_at_once_does_nothing_more() {
    fn underscore() -> i32 {
        prepare();
        // SAFETY: it may be called at any time.
        unsafe { libc::_exit(4) }
    }
    fn quick() -> i32 {
        prepare();
        // SAFETY: it may be called at any time.
        unsafe { quick_exit(4) }
    }
    fn by_number() -> i32 {
        prepare();
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_exit_group, 4) };
        5
    }
    for main in [underscore, quick, by_number] {
        check(Seed(1), move |sim| async move {
            let (told, code) = told(sim, main).await?;
            anyhow::ensure!(told.is_empty() && code == 4, "{told:?} {code}");
            Ok(())
        });
    }
}

/// A machine that crashes calls nothing, and its next process begins without what the former had registered.
#[test]
fn what_a_process_has_registered_is_gone_with_it() {
    check(Seed(1), |sim| async move {
        fn main() -> std::io::Result<()> {
            prepare();
            TcpListener::bind("0.0.0.0:80")?.accept()?;
            // SAFETY: it may be called at any time.
            unsafe { libc::_exit(0) }
        }
        let server = sim.program("server", main);
        let server = server.start().await?;
        sim.clock().sleep(Duration::from_secs(1)).await;
        server.exit();
        let second = server.start().await?;
        sim.clock().sleep(Duration::from_secs(1)).await;
        let client = sim.program("client", || TcpStream::connect("server:80").map(drop));
        let _client = client.start().await?;
        anyhow::ensure!(second.ended().await.is_success());
        Ok(())
    });
}
