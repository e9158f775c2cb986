//! Names of threads.
#![expect(clippy::disallowed_methods, reason = "threads as people write them")]
#![expect(unsafe_code, reason = "they are asked for and set by foreign functions")]

use std::thread;

use steelmill_sim::{Seed, check};

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
                assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 0), -1);
            }
        })
        .await
    });
}
