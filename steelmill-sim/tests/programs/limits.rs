//! Limits of resources, users and privileges: what a process is told, may change, and may not.
#![expect(unsafe_code, reason = "they are foreign functions")]

use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::io::Error;
use std::mem::zeroed;
use std::ptr::{null, null_mut};

use steelmill_sim::{Seed, Settings, Sim, check, simulate};

use crate::succeeds;

fn errno() -> i32 {
    Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// getrlimit(2), setrlimit(2), prlimit(2), EMFILE.
#[test]
fn a_process_may_raise_its_limit_of_open_files_and_is_held_to_it() {
    check(Seed(1), |sim| async move {
        fn limit() -> (u64, u64) {
            // SAFETY: zeros are a limit, which is valid for a write.
            unsafe {
                let mut limit: libc::rlimit = zeroed();
                assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
                (limit.rlim_cur, limit.rlim_max)
            }
        }
        fn set(soft: u64, hard: u64) -> Result<(), i32> {
            let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
            // SAFETY: the limit is valid for a read.
            match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
                0 => Ok(()),
                _ => Err(errno()),
            }
        }
        /// How many files can be opened.
        fn opened() -> usize {
            let files: Vec<File> = (0..5_000).map_while(|_| File::open("/dev/null").ok()).collect();
            assert_eq!(errno(), libc::EMFILE);
            files.len()
        }
        fn main() {
            assert_eq!(limit(), (1024, 1 << 19));
            // SAFETY: it may be asked at any time.
            assert_eq!(unsafe { (libc::sysconf(libc::_SC_OPEN_MAX), libc::getdtablesize()) }, (1024, 1024));
            assert_eq!(opened(), 1024);
            assert_eq!(set(2_000, 4_000), Ok(()));
            assert_eq!((limit(), opened()), ((2_000, 4_000), 2_000));
            assert_eq!(set(2_000, 4_001), Err(libc::EPERM), "no more than what was given up");
            assert_eq!(set(2_000, 1_000), Err(libc::EINVAL));
            assert_eq!(set(10, 4_000), Ok(()));
            assert_eq!(opened(), 10);
            // SAFETY: zeros are a limit, which is valid for a write; null is none.
            unsafe {
                let mut limit: libc::rlimit = zeroed();
                let own = libc::getpid();
                assert_eq!(libc::prlimit(own, libc::RLIMIT_CORE, null(), &raw mut limit), 0);
                assert_eq!((limit.rlim_cur, limit.rlim_max), (0, libc::RLIM_INFINITY));
                assert_eq!(
                    (libc::prlimit(1, libc::RLIMIT_CORE, null(), &raw mut limit), errno()),
                    (-1, libc::ESRCH)
                );
                assert_eq!((libc::getrlimit(99, &raw mut limit), errno()), (-1, libc::EINVAL));
            }
        }
        let program = sim.program("program", main).start().await?;
        let life = program.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        // The next process has limits of its own.
        program.restart().await?;
        anyhow::ensure!(program.ended().await.is_success());
        Ok(())
    });
}

/// close_range(2): those of the real process stay.
#[test]
fn a_range_of_descriptors_is_closed_and_no_other() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            use std::os::fd::IntoRawFd as _;
            let [first, second, third] =
                [(); 3].map(|()| File::open("/dev/null").expect("a device").into_raw_fd());
            // SAFETY: nobody owns the descriptors.
            unsafe {
                assert_eq!(libc::close_range(second as c_uint, second as c_uint, 0), 0);
                assert_eq!((libc::close(second), errno()), (-1, libc::EBADF));
                assert_eq!(libc::close_range(3, c_uint::MAX, 0), 0);
                assert_eq!((libc::close(first), libc::close(third)), (-1, -1));
                assert_eq!((libc::close_range(4, 3, 0), errno()), (-1, libc::EINVAL));
            }
            println!("standard output is open");
            File::open("/dev/null").expect("a device");
        })
        .await
    });
}

/// credentials(7): setuid(2) and its kin, getpwnam(3), setsid(2).
#[test]
fn a_process_is_one_of_a_user_without_privileges_or_entries() {
    fn main() {
        // SAFETY: all pointers are valid, or null where that may be.
        unsafe {
            let (mut one, mut effective, mut saved) = (0, 0, 0);
            assert_eq!(libc::getresuid(&raw mut one, &raw mut effective, &raw mut saved), 0);
            assert_eq!([one, effective, saved], [libc::getuid(); 3]);
            assert_eq!((libc::setuid(one), libc::setresgid(one, u32::MAX, one)), (0, 0));
            assert_eq!((libc::setuid(0), errno()), (-1, libc::EPERM));
            assert_eq!((libc::setgroups(0, null()), errno()), (-1, libc::EPERM));
            assert_eq!((libc::setsid(), errno()), (-1, libc::EPERM), "it leads a group");
            assert_eq!([libc::getpgrp(), libc::getpgid(0), libc::getsid(0)], [libc::getpid(); 3]);
            assert!(libc::getpwnam(c"root".as_ptr()).is_null() && libc::getgrgid(0).is_null());
            let mut found = null_mut();
            let mut entry: libc::passwd = zeroed();
            let mut room = [0; 64];
            assert_eq!(
                libc::getpwnam_r(c"root".as_ptr(), &raw mut entry, room.as_mut_ptr(), 64, &raw mut found),
                0
            );
            assert!(found.is_null());
            assert_eq!((libc::isatty(1), errno()), (0, libc::ENOTTY));
            let mut settings: libc::termios = zeroed();
            assert_eq!((libc::tcgetattr(0, &raw mut settings), errno()), (-1, libc::ENOTTY));
            let mut size: libc::winsize = zeroed();
            assert_eq!((libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size), errno()), (-1, libc::ENOTTY));
            assert_eq!((libc::sched_getcpu(), libc::mlockall(libc::MCL_CURRENT)), (0, 0));
        }
    }
    check(Seed(1), |sim| async move { succeeds(sim, main).await });
}

/// None of these may reach the real system: a process of which a machine's number is, is another's there.
#[test]
fn what_takes_a_privilege_and_other_processes_are_refused() {
    fn main() {
        let refused = |result: c_int, code: i32| assert_eq!((result, errno()), (-1, code));
        // SAFETY: all pointers are valid, or null where that may be; nothing is done.
        unsafe {
            refused(libc::sethostname(c"other".as_ptr(), 5), libc::EPERM);
            refused(libc::mount(null(), c"/".as_ptr(), null(), 0, null()), libc::EPERM);
            refused(libc::execl(c"/bin/true".as_ptr(), c"true".as_ptr(), null::<u8>()), libc::ENOSYS);
            refused(libc::daemon(0, 0), libc::ENOSYS);
            refused(libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as c_int, libc::ENOSYS);
            refused(libc::syscall(libc::SYS_chroot, c"/tmp".as_ptr()) as c_int, libc::EPERM);
            refused(libc::waitpid(-1, null_mut(), 0), libc::ECHILD);
            refused(libc::nice(1), libc::EPERM);
            refused(libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0) as c_int, libc::ENOSYS);
            refused(libc::posix_openpt(libc::O_RDWR), libc::ENOSYS);
            refused(libc::kill(1, libc::SIGTERM), libc::ESRCH);
            refused(libc::killpg(1, libc::SIGTERM), libc::ESRCH);
            refused(libc::syscall(libc::SYS_tgkill, 1, 1, libc::SIGTERM) as c_int, libc::ESRCH);
            refused(libc::syscall(libc::SYS_seccomp, 0, 0, 0) as c_int, libc::ENOSYS);
            refused(libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) as c_int, libc::ENOSYS);
            refused(libc::syscall(libc::SYS_unshare, 0) as c_int, libc::EPERM);
            assert_eq!(libc::pthread_cancel(libc::pthread_self()), libc::ENOSYS);
        }
    }
    let outcome = simulate(Settings::new(Seed(1)), &|sim: Sim| succeeds(sim, main));
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    let counted: Vec<_> = outcome.counts.iter().map(|(what, n)| (*what, *n)).collect();
    let expected = [
        ("refused calls that take a privilege", 6),
        ("refused changes of priorities", 1),
        ("refused processes", 5),
        ("refused sources of events", 1),
        ("refused terminals", 1),
    ];
    assert_eq!(counted, expected);
}
