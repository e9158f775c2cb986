//! What a program is told of itself: names of threads, what it has used, the processor's counter.
#![expect(clippy::disallowed_methods, reason = "threads as people write them")]
#![expect(unsafe_code, reason = "they are asked for and set by foreign functions")]

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use steelmill_sim::{Campaign, Seed, Sim, Verify, check};

use crate::succeeds;

/// pthread_setname_np(3), prctl(2).
#[test]
fn a_thread_has_the_name_that_it_was_given_or_that_of_its_machine() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            let name_of_this = || {
                let mut name = [1_u8; 16];
                // SAFETY: there is room for 16 bytes.
                assert_eq!(unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) }, 0);
                let mut other = [2_u8; 16];
                // SAFETY: as above.
                let code =
                    unsafe { libc::pthread_getname_np(libc::pthread_self(), other.as_mut_ptr().cast(), 16) };
                assert_eq!((code, name), (0, other));
                String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned()
            };
            assert_eq!(name_of_this(), "program");
            thread::spawn(move || assert_eq!(name_of_this(), "program")).join().expect("no panic");
            let named = thread::Builder::new().name("a worker with a long name".into()).spawn(name_of_this);
            let named = named.expect("a thread");
            assert_eq!(named.join().expect("no panic"), "a worker with a");
            // SAFETY: the name ends with a zero; the second operation takes no pointer.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_SET_NAME, c"renamed".as_ptr()), 0);
                assert_eq!(name_of_this(), "renamed");
                let this = libc::pthread_self();
                assert_eq!(libc::pthread_setname_np(this, c"of sixteen bytes".as_ptr()), libc::ERANGE);
            }
        })
        .await
    });
}

/// getrusage(2), times(2), sysinfo(2), getloadavg(3), CLOCK_PROCESS_CPUTIME_ID.
#[test]
fn code_takes_no_time_and_memory_is_the_machines() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            let mut sum = 0_u64;
            (0..1_000_000).for_each(|n| sum = std::hint::black_box(sum + n));
            // SAFETY: all zeros are values of these types, each of which is valid for a write.
            unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                usage.ru_utime.tv_usec = 1;
                assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
                assert_eq!((usage.ru_utime.tv_sec, usage.ru_utime.tv_usec), (0, 0));
                let mut cpu: libc::timespec = std::mem::zeroed();
                assert_eq!(libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut cpu), 0);
                assert_eq!((cpu.tv_sec, cpu.tv_nsec), (0, 0));
                let mut used: libc::tms = std::mem::zeroed();
                let before = libc::times(&raw mut used);
                thread::sleep(Duration::from_secs(1));
                assert_eq!((libc::times(&raw mut used) - before, used.tms_utime), (100, 0));
                let mut machine: libc::sysinfo = std::mem::zeroed();
                assert_eq!(libc::sysinfo(&raw mut machine), 0);
                assert_eq!((machine.uptime, machine.totalram), (24 * 3600 + 1, 8 << 30));
                assert_eq!(libc::sysconf(libc::_SC_PHYS_PAGES) * 4096, 8 << 30);
                let mut loads = [1.0; 3];
                assert_eq!((libc::getloadavg(loads.as_mut_ptr(), 3), loads), (3, [0.0; 3]));
            }
        })
        .await
    });
}

/// The crate quanta and those built on it read the counter.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_processors_counter_counts_the_nanoseconds_of_the_machines_clock() {
    use std::arch::x86_64::{__rdtscp, _rdtsc};

    let scenario = |sim| {
        succeeds(sim, || {
            // SAFETY: every processor of 64 bits has the instructions; `processor` is valid for a write.
            unsafe {
                let before = _rdtsc();
                thread::sleep(Duration::from_secs(1));
                let mut processor = 7;
                let after = __rdtscp(&raw mut processor);
                assert_eq!((after - before, processor), (1_000_000_000, 0));
                // Each read takes some time, and not always the same, as on a real one.
                let reads = [(); 100].map(|()| _rdtsc());
                let taken = reads.windows(2).map(|pair| pair[1] - pair[0]).collect::<BTreeSet<_>>();
                assert!(taken.len() > 5 && taken.iter().all(|taken| (1..=9).contains(taken)), "{taken:?}");
            }
        })
    };
    Campaign::new(scenario).seeds(3).verify(Verify::Twice).check();
}

/// The control registers of floating-point arithmetic belong to a thread (System V ABI for AMD64, 3.2.1).
#[cfg(target_arch = "x86_64")]
#[test]
fn each_thread_has_its_own_modes_of_arithmetic() {
    use std::arch::asm;

    fn modes() -> (u32, u16) {
        let (mut sse, mut x87) = (0_u32, 0_u16);
        // SAFETY: each instruction writes to the place it is given, and to nothing else.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut sse, options(nostack));
            asm!("fnstcw [{}]", in(reg) &raw mut x87, options(nostack));
        }
        (sse & !0x3f, x87) // without the flags of what was computed
    }

    fn set_modes((sse, x87): (u32, u16)) {
        // SAFETY: both are modes, which are set back before anything is computed.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const sse, options(nostack));
            asm!("fldcw [{}]", in(reg) &raw const x87, options(nostack));
        }
    }

    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            let usual = modes();
            let rounds_down = (usual.0 | 0x2000, usual.1 | 0x0400);
            let other = thread::spawn(move || {
                assert_eq!(modes(), usual);
                set_modes(rounds_down);
                for _ in 0..10 {
                    thread::sleep(Duration::from_millis(1));
                    assert_eq!(modes(), rounds_down);
                }
                set_modes(usual);
            });
            for _ in 0..10 {
                thread::sleep(Duration::from_millis(1));
                assert_eq!(modes(), usual);
            }
            other.join().expect("no panic");
        })
        .await
    });
}

unsafe extern "C" {
    fn arc4random_uniform(below: u32) -> u32;
    fn arc4random_buf(buffer: *mut std::ffi::c_void, length: usize);
    fn timespec_get(time: *mut libc::timespec, base: i32) -> i32;
    fn vfork() -> libc::pid_t;
}

/// arc4random(3) and timespec_get(3) ask the kernel past the functions that they are made of.
#[test]
fn the_c_librarys_own_randomness_and_calendar_are_the_machines() {
    let scenario = async |sim: Sim| {
        let machine = sim.program("program", || {
            // SAFETY: all are valid for writes of their size.
            unsafe {
                let mut time: libc::timespec = std::mem::zeroed();
                assert_eq!(timespec_get(&raw mut time, 1), 1);
                assert_eq!((time.tv_sec, time.tv_nsec), (1_767_225_600, 0), "2026-01-01");
                assert_eq!(timespec_get(&raw mut time, 77), 0, "no such base");
                assert!((0..1000).all(|_| arc4random_uniform(7) < 7));
                assert_eq!((arc4random_uniform(0), arc4random_uniform(1)), (0, 0));
                let mut bytes = [0_u8; 300];
                arc4random_buf(bytes.as_mut_ptr().cast(), 300);
                assert_ne!(bytes[292..], [0; 8]);
                let by_chance = Duration::from_millis(arc4random_uniform(1 << 20).into());
                thread::sleep(by_chance); // so the digest tells of it
            }
        });
        let life = machine.start().await?.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        Ok(())
    };
    let digest = |first| {
        let campaign = Campaign::new(scenario).first_seed(Seed(first)).seeds(1).verify(Verify::Twice);
        let summary = campaign.run();
        assert!(summary.passed(), "{summary}");
        summary.digest
    };
    assert_ne!(digest(1), digest(2));
}

/// shm_overview(7), mq_overview(7), sem_overview(7), svipc(7); timers, whose signals would be real.
#[test]
fn what_processes_share_and_alarms_are_refused() {
    let scenario = async |sim: Sim| {
        succeeds(sim, || {
            let refused = |result: i32| {
                let error = std::io::Error::last_os_error().raw_os_error();
                assert_eq!((result, error), (-1, Some(libc::ENOSYS)));
            };
            // SAFETY: each is given what it takes.
            unsafe {
                refused(vfork());
                refused(libc::shm_open(c"/steelmill".as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600));
                refused(libc::mq_open(c"/steelmill".as_ptr(), libc::O_RDONLY));
                assert!(libc::sem_open(c"/steelmill".as_ptr(), libc::O_CREAT, 0o600, 1).is_null());
                refused(libc::shmget(libc::IPC_PRIVATE, 4096, 0o600));
                refused(libc::semget(libc::IPC_PRIVATE, 1, 0o600));
                let second: libc::itimerval = std::mem::zeroed();
                refused(libc::setitimer(libc::ITIMER_REAL, &raw const second, std::ptr::null_mut()));
                assert_eq!(libc::alarm(1), 0);
                let mut signals: libc::sigset_t = std::mem::zeroed();
                libc::sigaddset(&raw mut signals, libc::SIGUSR1);
                refused(libc::sigwaitinfo(&raw const signals, std::ptr::null_mut()));
                let mut signal = 0;
                assert_eq!(libc::sigwait(&raw const signals, &raw mut signal), libc::ENOSYS);
            }
        })
        .await
    };
    let summary = Campaign::new(scenario).seeds(1).run();
    assert!(summary.passed(), "{summary}");
    assert_eq!(summary.counts["refused objects shared by processes"].total, 5);
    assert_eq!(summary.counts["refused processes"].total, 1);
    assert_eq!(summary.counts["refused alarms"].total, 2);
    assert_eq!(summary.counts["refused sources of events"].total, 2);
}

/// proc(5), sysfs(5): what libraries read of a machine, and of the own process by either name.
#[test]
fn a_machine_tells_of_memory_cpus_and_the_process_by_files() {
    check(Seed(1), |sim| async move {
        let main = || {
            let read =
                |path: &str| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let own = std::process::id();
            assert_eq!(read("/proc/self/stat"), read(&format!("/proc/{own}/stat")));
            let stat = read("/proc/self/stat");
            let fields: Vec<&str> = stat.split_whitespace().collect();
            assert_eq!(
                (fields[0], fields[1], fields[3], fields.len()),
                (&*own.to_string(), "(program)", "1", 52)
            );
            assert_eq!(fields[19], "2", "threads");
            assert_eq!(read("/proc/self/cmdline"), "program\0--port\080\0");
            assert_eq!(read("/proc/self/comm"), "program\n");
            assert!(read("/proc/self/status").contains("\nThreads:\t2\n"));
            assert!(
                read("/proc/self/limits").contains("Max open files            1024                 524288")
            );
            assert!(read("/proc/meminfo").starts_with("MemTotal:         8388608 kB\n"));
            assert_eq!(read("/proc/cpuinfo").matches("processor\t: ").count(), 4);
            assert_eq!(read("/sys/devices/system/cpu/online"), "0-3\n");
            assert_eq!(read("/proc/uptime"), "2.50 10.00\n");
            assert!(read("/proc/stat").contains("cpu3 0 0 0 250 0"));
            assert!(read("/proc/stat").contains("btime 1767225600\n"), "when the run began");
            assert_eq!(read("/etc/machine-id").len(), 33);
            assert!(std::fs::metadata("/proc/1/stat").is_err(), "there is no other process");
            assert!(std::fs::write("/proc/self/comm", "other").is_err());
        };
        let main = move || {
            thread::sleep(Duration::from_millis(2_500));
            thread::spawn(main).join().expect("no panic");
        };
        let program = sim.program("program", main).args(["--port", "80"]);
        let life = program.start().await?.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        Ok(())
    });
}

/// prctl(2), gettid(2), sched_getaffinity(2) past the C library.
#[test]
fn a_process_keeps_what_it_sets_for_itself_and_its_main_thread_has_its_number() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            // SAFETY: all pointers are valid.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_GET_DUMPABLE), 1);
                assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 0), 0);
                assert_eq!(libc::prctl(libc::PR_GET_DUMPABLE), 0);
                assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 2), -1);
                assert_eq!(libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
                let mut signal = 7;
                assert_eq!(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM), 0);
                assert_eq!(libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal), 0);
                assert_eq!(signal, libc::SIGTERM);
                assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 1), -1);
                assert_eq!(libc::gettid(), libc::getpid());
                thread::spawn(|| assert_ne!(libc::gettid(), libc::getpid())).join().expect("no panic");
                let mut cpus = [0_u64; 16];
                let given = libc::syscall(libc::SYS_sched_getaffinity, 0, 128, cpus.as_mut_ptr());
                assert_eq!((given, cpus[0]), (8, 0b1111));
            }
        })
        .await
    });
}
