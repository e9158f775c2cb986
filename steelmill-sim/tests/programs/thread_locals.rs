//! Thread-locals of threads that begin where another was before.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]
#![expect(unsafe_code, reason = "the C library's functions are called as C does")]

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use steelmill_sim::{Campaign, Seed, Sim, check};

use crate::succeeds;

const SECOND: Duration = Duration::from_secs(1);

/// What a thread finds that another had before at the same place: where its thread-local is, that one's value, whether one that was
/// dropped is there, errno, and its value of a key.
fn leaves_what_it_found(key: libc::pthread_key_t) -> (usize, u32, usize, i32, usize) {
    thread_local! {
        static NUMBER: Cell<u32> = const { Cell::new(1) };
        static TEXTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }
    let number = NUMBER.with(|number| (std::ptr::from_ref(number).addr(), number.replace(2)));
    let texts = TEXTS.with_borrow_mut(|texts| {
        texts.push("left".to_owned());
        texts.len()
    });
    // SAFETY: the key was made, and has no destructor; every thread has an errno.
    unsafe {
        let value = libc::pthread_getspecific(key).addr();
        libc::pthread_setspecific(key, std::ptr::without_provenance(7));
        let errno = std::mem::replace(&mut *libc::__errno_location(), libc::EPERM);
        (number.0, number.1, texts, errno, value)
    }
}

fn key() -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: it is valid for a write.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, None) }, 0);
    key
}

#[test]
fn a_thread_finds_nothing_of_another_that_was_at_its_place_before() {
    check(Seed(1), |sim| async move {
        succeeds(sim, || {
            let key = key();
            let found =
                || thread::spawn(move || leaves_what_it_found(key)).join().expect("it does not panic");
            let (first, second) = (found(), found());
            assert_eq!(first, second, "and both are at one place");
            assert_eq!(first, (first.0, 1, 1, 0, 0));
        })
        .await
    });
}

#[test]
fn a_program_that_starts_finds_no_thread_locals_of_one_that_was_killed() {
    let scenario = |sim: Sim| async move {
        let places = Arc::new(Mutex::new(Vec::new()));
        let told = places.clone();
        let machine = sim.program("program", move || {
            let found = leaves_what_it_found(key());
            assert_eq!(found, (found.0, 1, 1, 0, 0));
            told.lock().expect("not poisoned").push(found.0);
            thread::sleep(10 * SECOND);
        });
        for _ in 0..3 {
            let machine = machine.clone().start().await?;
            sim.clock().sleep(SECOND).await;
            machine.exit();
        }
        let places = places.lock().expect("not poisoned");
        anyhow::ensure!(places.len() == 3 && places.iter().all(|place| *place == places[0]), "{places:x?}");
        Ok(())
    };
    Campaign::new(scenario).seeds(3).check();
}
