//! The places of a program that simulates: which there are, and who observes them.

use std::cell::Cell;
use std::marker::PhantomData;

#[doc(hidden)]
pub use linkme;

use super::{Observer, Place};

/// Where the macros put the places.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static PLACES: [Place];

/// Every place of the program, in an order that the linker chose. (With the feature `places`.)
pub fn all() -> &'static [Place] {
    PLACES.static_slice()
}

impl Place {
    /// Its place in [`all`]; none for one that no macro made. (With the feature `places`.)
    pub fn number(&'static self) -> Option<usize> {
        let offset = std::ptr::from_ref(self).addr().checked_sub(PLACES.as_ptr().addr())?;
        let number = offset / size_of::<Self>();
        (number < PLACES.len()).then_some(number)
    }
}

thread_local! {
    /// A place has no handle to a world, so it is asked of the thread. Without a destructor, so that looking is a load.
    static OBSERVER: Cell<Option<&'static dyn Observer>> = const { Cell::new(None) };
}

#[inline(always)]
pub(super) fn observer() -> Option<&'static dyn Observer> {
    OBSERVER.get()
}

/// From now on this thread's places are told to `observer`, until what this returns is dropped. (With the feature
/// `places`.) For worlds.
///
/// # Panics
/// When the thread's places are observed already.
#[must_use = "dropping it ends the observing"]
pub fn observe(observer: &'static dyn Observer) -> Observing {
    let former = OBSERVER.replace(Some(observer));
    assert!(former.is_none(), "a thread's places have one observer at a time");
    Observing { _of_this_thread: PhantomData }
}

/// A thread's places are observed; its drop ends that.
#[derive(Debug)]
pub struct Observing {
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Observing {
    fn drop(&mut self) {
        OBSERVER.set(None);
    }
}
