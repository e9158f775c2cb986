//! Locks, condition variables and thread-specific data of C code. Its functions are called as a library of C would.
#![expect(unsafe_code, reason = "they are foreign functions")]
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]

use std::cell::UnsafeCell;
use std::mem::zeroed;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use steelmill_sim::{Seed, Settings, Signal, check, simulate};

use super::succeeds;

// Not in the libc crate.
unsafe extern "C" {
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        point: *const libc::timespec,
    ) -> i32;
    fn pthread_cond_clockwait(
        condition: *mut libc::pthread_cond_t,
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        point: *const libc::timespec,
    ) -> i32;
    fn pthread_rwlock_timedrdlock(lock: *mut libc::pthread_rwlock_t, point: *const libc::timespec) -> i32;
    fn pthread_rwlock_timedwrlock(lock: *mut libc::pthread_rwlock_t, point: *const libc::timespec) -> i32;
    fn pthread_rwlock_clockrdlock(
        lock: *mut libc::pthread_rwlock_t,
        clock: libc::clockid_t,
        point: *const libc::timespec,
    ) -> i32;
    fn pthread_rwlock_clockwrlock(
        lock: *mut libc::pthread_rwlock_t,
        clock: libc::clockid_t,
        point: *const libc::timespec,
    ) -> i32;
    fn pthread_once(control: *mut libc::pthread_once_t, action: extern "C" fn()) -> i32;
}

/// Something of C that threads share by its address.
struct Shared<T>(UnsafeCell<T>);

// SAFETY: what is shared so synchronizes itself.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// As C's initializers of these types: all zeros.
    fn zeroed() -> Arc<Self> {
        // SAFETY: zeros are what PTHREAD_MUTEX_INITIALIZER and its kin are.
        Arc::new(Self(UnsafeCell::new(unsafe { zeroed() })))
    }

    fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// A point in time on a clock, after a duration.
fn after(duration: Duration, from: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it is valid for a write.
    unsafe { libc::clock_gettime(from, &raw mut now) };
    now.tv_sec += duration.as_secs() as libc::time_t;
    now
}

/// Several threads, each of which has the lock while it sleeps.
fn each_in_its_turn() {
    let mutex = Shared::<libc::pthread_mutex_t>::zeroed();
    let inside = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (mutex, inside) = (mutex.clone(), inside.clone());
            thread::spawn(move || {
                for _ in 0..5 {
                    // SAFETY: it is a mutex, and released by the thread that took it.
                    unsafe { assert_eq!(libc::pthread_mutex_lock(mutex.get()), 0) };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::sleep(Duration::from_millis(1));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    // SAFETY: as above.
                    unsafe { assert_eq!(libc::pthread_mutex_unlock(mutex.get()), 0) };
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

/// A queue with one place, as C code makes it.
fn produce_and_consume() {
    #[derive(Clone)]
    struct Queue(Arc<Shared<libc::pthread_mutex_t>>, Arc<Shared<libc::pthread_cond_t>>, Arc<AtomicU32>);
    impl Queue {
        fn put_when(&self, is: impl Fn(u32) -> bool, next: u32) -> u32 {
            let Self(mutex, condition, place) = self;
            // SAFETY: both are valid, and the mutex is held while waiting.
            unsafe {
                assert_eq!(libc::pthread_mutex_lock(mutex.get()), 0);
                while !is(place.load(Ordering::SeqCst)) {
                    assert_eq!(libc::pthread_cond_wait(condition.get(), mutex.get()), 0);
                }
                let before = place.swap(next, Ordering::SeqCst);
                assert_eq!(libc::pthread_cond_broadcast(condition.get()), 0);
                assert_eq!(libc::pthread_mutex_unlock(mutex.get()), 0);
                before
            }
        }
    }
    let queue = Queue(Shared::zeroed(), Shared::zeroed(), Arc::default());
    let consumer = queue.clone();
    let consumer = thread::spawn(move || (0..10).map(|_| consumer.put_when(|place| place != 0, 0)).sum());
    (1..=10).for_each(|item| assert_eq!(queue.put_when(|place| place == 0, item), 0));
    let sum: u32 = consumer.join().expect("no panic");
    assert_eq!(sum, 55);
}

#[test]
fn a_mutex_is_held_by_one_thread_and_a_condition_variable_wakes() {
    for seed in 0..50 {
        check(Seed(seed), |sim| {
            succeeds(sim, || {
                each_in_its_turn();
                produce_and_consume();
            })
        });
    }
}

/// Outside of a run they are the C library's.
#[test]
fn real_threads_have_real_locks() {
    each_in_its_turn();
    produce_and_consume();
}

#[test]
fn waits_end_in_virtual_time() {
    check(Seed(1), |sim| {
        succeeds(sim, || {
            let begun = Instant::now();
            let mutex = Shared::<libc::pthread_mutex_t>::zeroed();
            let [mut wall, mut monotonic] = [const { unsafe { zeroed::<libc::pthread_cond_t>() } }; 2];
            let hour = Duration::from_secs(3600);
            // SAFETY: all are valid, and the mutex is held by whoever waits.
            unsafe {
                let mut attributes = zeroed();
                libc::pthread_condattr_init(&raw mut attributes);
                libc::pthread_condattr_setclock(&raw mut attributes, libc::CLOCK_MONOTONIC);
                assert_eq!(libc::pthread_cond_init(&raw mut monotonic, &raw const attributes), 0);
                libc::pthread_mutex_lock(mutex.get());
                for (condition, clock) in
                    [(&raw mut wall, libc::CLOCK_REALTIME), (&raw mut monotonic, libc::CLOCK_MONOTONIC)]
                {
                    let point = after(hour, clock);
                    let wait = || libc::pthread_cond_timedwait(condition, mutex.get(), &raw const point);
                    // It may wake for no reason.
                    assert_eq!((0..1000).map(|_| wait()).find(|code| *code != 0), Some(libc::ETIMEDOUT));
                }
                assert!(begun.elapsed() >= 2 * hour && begun.elapsed() < 2 * hour + Duration::from_secs(1));
                let other = mutex.clone();
                let refused = thread::spawn(move || {
                    let point = after(hour, libc::CLOCK_REALTIME);
                    libc::pthread_mutex_timedlock(other.get(), &raw const point)
                });
                assert_eq!(refused.join().expect("no panic"), libc::ETIMEDOUT);
                let other = mutex.clone();
                let refused = thread::spawn(move || {
                    let point = after(hour, libc::CLOCK_MONOTONIC);
                    pthread_mutex_clocklock(other.get(), libc::CLOCK_MONOTONIC, &raw const point)
                });
                assert_eq!(refused.join().expect("no panic"), libc::ETIMEDOUT);
                let point = after(hour, libc::CLOCK_MONOTONIC);
                let clock = libc::CLOCK_MONOTONIC;
                let condition = &raw mut wall;
                let wait = || pthread_cond_clockwait(condition, mutex.get(), clock, &raw const point);
                assert_eq!((0..1000).map(|_| wait()).find(|code| *code != 0), Some(libc::ETIMEDOUT));
                let semaphore = Shared::<libc::sem_t>::zeroed();
                let point = after(hour, libc::CLOCK_REALTIME);
                assert_eq!(libc::sem_timedwait(semaphore.get(), &raw const point), -1);
                assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ETIMEDOUT));
                let poster = semaphore.clone();
                thread::spawn(move || libc::sem_post(poster.get()));
                assert_eq!(libc::sem_wait(semaphore.get()), 0);
            }
            assert!(begun.elapsed() >= 6 * hour && begun.elapsed() < 6 * hour + Duration::from_secs(1));
        })
    });
}

#[test]
fn waits_for_a_lock_of_readers_and_writers_end_in_virtual_time() {
    check(Seed(1), |sim| {
        succeeds(sim, || {
            let begun = Instant::now();
            let lock = Shared::<libc::pthread_rwlock_t>::zeroed();
            let hour = Duration::from_secs(3600);
            // SAFETY: the lock is valid, and so are the points in time.
            unsafe {
                assert_eq!(libc::pthread_rwlock_wrlock(lock.get()), 0);
                let [wall, monotonic] = [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC];
                let other = lock.clone();
                let refused = thread::spawn(move || {
                    let lock = other.get();
                    [
                        pthread_rwlock_timedrdlock(lock, &after(hour, wall)),
                        pthread_rwlock_timedwrlock(lock, &after(hour, wall)),
                        pthread_rwlock_clockrdlock(lock, monotonic, &after(hour, monotonic)),
                        pthread_rwlock_clockwrlock(lock, monotonic, &after(hour, monotonic)),
                    ]
                });
                assert_eq!(refused.join().expect("no panic"), [libc::ETIMEDOUT; 4]);
                assert_eq!(libc::pthread_rwlock_unlock(lock.get()), 0);
            }
            assert!(begun.elapsed() >= 4 * hour && begun.elapsed() < 4 * hour + Duration::from_secs(1));
        })
    });
}

/// signal(7): a handler interrupts sem_wait(3), unless it was set with SA_RESTART, and never a wait for a mutex.
#[test]
fn a_signal_interrupts_a_wait_for_a_semaphore_alone() {
    extern "C" fn ignore(_: i32) {}

    fn handle(flags: i32) {
        // SAFETY: zeros are a sigaction, and the handler does nothing.
        unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = (ignore as extern "C" fn(i32)) as usize;
            action.sa_flags = flags;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
        }
    }

    fn main() {
        let semaphore = Shared::<libc::sem_t>::zeroed();
        let mutex = Shared::<libc::pthread_mutex_t>::zeroed();
        let begun = Instant::now();
        // SAFETY: both are valid.
        unsafe {
            handle(0);
            assert_eq!(libc::sem_wait(semaphore.get()), -1, "a signal comes after one second");
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR));
            assert_eq!(begun.elapsed().as_secs(), 1);
            let other = mutex.clone();
            let holder = thread::spawn(move || {
                libc::pthread_mutex_lock(other.get());
                thread::sleep(Duration::from_secs(2));
                libc::pthread_mutex_unlock(other.get())
            });
            thread::sleep(Duration::from_millis(100));
            assert_eq!(libc::pthread_mutex_lock(mutex.get()), 0, "another after two");
            assert_eq!(begun.elapsed().as_secs(), 3);
            assert_eq!(holder.join().expect("no panic"), 0);
            handle(libc::SA_RESTART);
            let poster = semaphore.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_secs(2));
                libc::sem_post(poster.get())
            });
            assert_eq!(libc::sem_wait(semaphore.get()), 0, "another after four");
            assert_eq!(begun.elapsed().as_secs(), 5);
        }
    }

    check(Seed(1), |sim| async move {
        let machine = sim.program("program", main).start().await?;
        for seconds in [1, 1, 2] {
            sim.clock().sleep(Duration::from_secs(seconds)).await;
            machine.signal(Signal::User1);
        }
        let life = machine.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        Ok(())
    });
}

#[test]
fn a_mutex_that_finds_errors_tells_its_owner() {
    check(Seed(1), |sim| {
        succeeds(sim, || {
            let [mutex, recursive] = [(); 2].map(|()| Shared::<libc::pthread_mutex_t>::zeroed());
            // SAFETY: both are initialized before their use.
            unsafe {
                let mut attributes = zeroed();
                libc::pthread_mutexattr_init(&raw mut attributes);
                libc::pthread_mutexattr_settype(&raw mut attributes, libc::PTHREAD_MUTEX_ERRORCHECK);
                libc::pthread_mutex_init(mutex.get(), &raw const attributes);
                assert_eq!(libc::pthread_mutex_lock(mutex.get()), 0);
                assert_eq!(libc::pthread_mutex_lock(mutex.get()), libc::EDEADLK);
                let other = mutex.clone();
                let code = thread::spawn(move || libc::pthread_mutex_unlock(other.get())).join();
                assert_eq!(code.expect("no panic"), libc::EPERM);
                libc::pthread_mutexattr_settype(&raw mut attributes, libc::PTHREAD_MUTEX_RECURSIVE);
                libc::pthread_mutex_init(recursive.get(), &raw const attributes);
                assert_eq!([(); 2].map(|()| libc::pthread_mutex_lock(recursive.get())), [0; 2]);
                assert_eq!([(); 2].map(|()| libc::pthread_mutex_unlock(recursive.get())), [0; 2]);
            }
        })
    });
}

#[test]
fn readers_share_and_a_barrier_lets_all_on_at_once() {
    for seed in 0..20 {
        check(Seed(seed), |sim| {
            succeeds(sim, || {
                let lock = Shared::<libc::pthread_rwlock_t>::zeroed();
                let barrier = Shared::<libc::pthread_barrier_t>::zeroed();
                let once = Arc::new(Shared::<libc::pthread_once_t>(UnsafeCell::new(0)));
                static DONE: AtomicU32 = AtomicU32::new(0);
                extern "C" fn act() {
                    thread::sleep(Duration::from_millis(1));
                    DONE.fetch_add(1, Ordering::SeqCst);
                }
                // SAFETY: the barrier is initialized before its use, and the others by zeros.
                unsafe { assert_eq!(libc::pthread_barrier_init(barrier.get(), std::ptr::null(), 3), 0) };
                let readers: Vec<_> = (0..3)
                    .map(|_| {
                        let (lock, barrier, once) = (lock.clone(), barrier.clone(), once.clone());
                        // SAFETY: as above. All three have the lock when they meet.
                        thread::spawn(move || unsafe {
                            assert_eq!(pthread_once(once.get(), act), 0);
                            assert_eq!(DONE.load(Ordering::SeqCst), 1);
                            assert_eq!(libc::pthread_rwlock_rdlock(lock.get()), 0);
                            let last = libc::pthread_barrier_wait(barrier.get());
                            assert_eq!(libc::pthread_rwlock_unlock(lock.get()), 0);
                            u32::from(last == libc::PTHREAD_BARRIER_SERIAL_THREAD)
                        })
                    })
                    .collect();
                let last: u32 = readers.into_iter().map(|reader| reader.join().expect("no panic")).sum();
                assert_eq!(last, 1);
                // SAFETY: as above.
                unsafe {
                    assert_eq!(libc::pthread_rwlock_wrlock(lock.get()), 0);
                    let reader = lock.clone();
                    let reader = thread::spawn(move || libc::pthread_rwlock_rdlock(reader.get()));
                    thread::sleep(Duration::from_millis(1));
                    assert!(!reader.is_finished());
                    assert_eq!(libc::pthread_rwlock_unlock(lock.get()), 0);
                    assert_eq!(reader.join().expect("no panic"), 0);
                }
            })
        });
    }
}

#[test]
fn two_mutexes_in_two_orders_are_a_deadlock_that_is_reported() {
    let outcome = simulate(Settings::new(Seed(1)), &|sim| {
        succeeds(sim, || {
            let mutexes = [(); 2].map(|()| Shared::<libc::pthread_mutex_t>::zeroed());
            let threads = [[0, 1], [1, 0]].map(|order| {
                let mutexes = mutexes.clone();
                thread::spawn(move || {
                    for which in order {
                        // SAFETY: it is a mutex.
                        unsafe { libc::pthread_mutex_lock(mutexes[which].get()) };
                        thread::sleep(Duration::from_millis(1));
                    }
                })
            });
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        })
    });
    let failure = format!("{:?}", outcome.failure);
    assert!(failure.contains("programs/locks.rs"), "{failure}");
}

/// Of C's thread-specific data: sleeps as long as the value says, in a thread that ends.
extern "C" fn sleep_at_the_end(milliseconds: *mut std::ffi::c_void) {
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(milliseconds.addr() as u64));
    assert_eq!(begun.elapsed().as_millis() as usize, milliseconds.addr());
}

#[test]
fn the_destructors_of_threads_specific_data_run_in_the_simulation() {
    check(Seed(1), |sim| {
        succeeds(sim, || {
            let mut keys: [libc::pthread_key_t; 2] = [0; 2];
            // SAFETY: each place may be written, and the destructor takes any value.
            for key in &mut keys {
                assert_eq!(unsafe { libc::pthread_key_create(key, Some(sleep_at_the_end)) }, 0);
            }
            // SAFETY: the key was made.
            let set =
                |key, value| unsafe { libc::pthread_setspecific(key, std::ptr::without_provenance(value)) };
            let begun = Instant::now();
            let thread = thread::spawn(move || (set(keys[0], 1500), set(keys[1], 700)));
            assert_eq!(thread.join().expect("no panic"), (0, 0));
            assert_eq!(begun.elapsed(), Duration::from_millis(1500 + 700));
            // SAFETY: the keys were made.
            keys.into_iter().for_each(|key| assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0));
        })
    });
}
