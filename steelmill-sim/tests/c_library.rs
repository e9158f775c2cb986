//! Functions of the C library, called as a C program calls them: inside a run the run answers, outside Linux does.
#![expect(unsafe_code, reason = "they are foreign functions")]
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::time::Duration;

use steelmill_sim::{Seed, check};

/// The wall clock in seconds and eight bytes of entropy, from three functions of the C library each.
fn times_and_entropy() -> ([i64; 3], [[u8; 8]; 3]) {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut value = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut bytes = [[0u8; 8]; 3];
    // SAFETY: each function is given a valid place to write to, and its size.
    let time = unsafe {
        libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut spec);
        libc::gettimeofday(&raw mut value, std::ptr::null_mut());
        let [a, b, c] = &mut bytes;
        assert_eq!(libc::getrandom(a.as_mut_ptr().cast(), 8, 0), 8);
        assert_eq!(libc::getentropy(b.as_mut_ptr().cast(), 8), 0);
        assert_eq!(libc::syscall(libc::SYS_getrandom, c.as_mut_ptr(), 8, 0), 8);
        libc::time(std::ptr::null_mut())
    };
    ([spec.tv_sec, value.tv_sec, time], bytes)
}

#[test]
fn inside_a_run_the_c_library_knows_the_virtual_time_and_the_seed_alone() {
    let drawn = || {
        let kept = std::sync::Mutex::new([[0; 8]; 3]);
        check(Seed(7), |sim| {
            let (times, bytes) = times_and_entropy();
            *kept.lock().expect("not poisoned") = bytes;
            async move {
                assert_eq!(times, [1_767_225_600; 3], "2026 has just begun");
                sim.clock().sleep(Duration::from_secs(100)).await;
                assert_eq!(times_and_entropy().0, [1_767_225_700; 3]);
                Ok(())
            }
        });
        kept.into_inner().expect("not poisoned")
    };
    assert_eq!(drawn(), drawn());
}

#[test]
fn outside_of_a_run_the_c_library_answers() {
    let (times, bytes) = times_and_entropy();
    assert!(times.iter().all(|time| *time != 1_767_225_600 && (time - times[0]).abs() <= 1), "{times:?}");
    assert_ne!(bytes, times_and_entropy().1);
}

/// mmap(2) takes six arguments: without one of them, the kernel would return an error, or map something else.
#[test]
fn a_system_call_keeps_all_its_arguments_and_its_errors() {
    let protection = libc::c_long::from(libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: it maps a fresh page, writes to it, and unmaps it; then it closes an invalid descriptor.
    unsafe {
        let page = libc::syscall(libc::SYS_mmap, 0_i64, 4096_i64, protection, flags, -1_i64, 0_i64);
        assert!(page > 0, "{}", std::io::Error::last_os_error());
        (page as *mut u8).write(7);
        // Mapping at an offset that is no multiple of a page fails: the sixth argument arrives.
        let wrong = libc::syscall(libc::SYS_mmap, 0_i64, 4096_i64, protection, flags, -1_i64, 5_i64);
        assert_eq!((wrong, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EINVAL)));
        assert_eq!(libc::syscall(libc::SYS_munmap, page, 4096_i64), 0);
        assert_eq!(libc::syscall(libc::SYS_getpid), libc::c_long::from(libc::getpid()));
        assert_eq!(libc::syscall(libc::SYS_close, -1_i64), -1);
    }
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
}

/// What std and the C library say of the machine.
fn identity() -> (usize, String, u32) {
    let mut name = [0u8; 65];
    // SAFETY: it has so many bytes.
    assert_eq!(unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) }, 0);
    let name = std::ffi::CStr::from_bytes_until_nul(&name).expect("a zero").to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism().expect("a number").get();
    (cpus, name, std::process::id())
}

#[test]
fn a_machine_has_a_name_cpus_and_processes_of_its_own() {
    let outside = identity();
    check(Seed(1), |sim| async move {
        assert_eq!(identity(), (4, "scenario".to_owned(), 1000));
        let server = sim.program("server", || {
            let (cpus, name, process) = identity();
            assert_eq!((cpus, &*name), (4, "server"));
            process as i32 % 256
        });
        let mut ends = std::collections::BTreeSet::new();
        for _ in 0..3 {
            server.restart().await?;
            ends.insert(server.ended().await.to_string());
        }
        assert_eq!(ends.len(), 3, "each process has a number of its own: {ends:?}");
        Ok(())
    });
    assert_eq!(identity(), outside);
    assert_eq!(outside.2, std::process::id());
}

/// The hour of 2026-01-01 00:00 UTC in local time, by two functions of the C library, and what mktime makes of it.
fn local_hours() -> ([i32; 2], i64) {
    unsafe extern "C" {
        fn tzset();
    }
    let began = 1_767_225_600;
    // SAFETY: each function is given valid places to read from and to write to.
    unsafe {
        let mut filled: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const began, &raw mut filled);
        let hours = [filled.tm_hour, (*libc::localtime(&raw const began)).tm_hour];
        tzset();
        (hours, libc::mktime(&raw mut filled))
    }
}

#[test]
fn the_time_zone_is_of_the_program_not_of_the_host_or_of_another_machine() {
    check(Seed(1), |sim| async move {
        for (name, zone, hour) in
            [("a", "CET-1CEST,M3.5.0,M10.5.0/3", 1), ("b", "", 0), ("c", "XYZ-5", 5), ("d", "Asia/Tokyo", 0)]
        {
            let machine = sim.program(name, move || assert_eq!(local_hours(), ([hour; 2], 1_767_225_600)));
            let machine = if zone.is_empty() { machine } else { machine.env("TZ", zone) };
            let life = machine.start().await?.ended().await;
            anyhow::ensure!(life.is_success(), "{name}: {life}");
        }
        assert_eq!(local_hours().0, [0; 2], "a task's zone is UTC as well");
        Ok(())
    });
}
