//! With the feature `coverage`: all coverage points of the program, and the observer of each thread.

use std::cell::Cell;
use std::marker::PhantomData;

#[doc(hidden)]
pub use linkme;

use super::{Observer, Point};

/// Where the macros register their points.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static POINTS: [Point];

/// All coverage points of the program, in link order. (Feature `coverage`.)
pub fn all() -> &'static [Point] {
    POINTS.static_slice()
}

impl Point {
    /// Its index in [`all`]; `None` unless a macro made it. (Feature `coverage`.)
    pub fn number(&'static self) -> Option<usize> {
        let offset = std::ptr::from_ref(self).addr().checked_sub(POINTS.as_ptr().addr())?;
        let number = offset / size_of::<Self>();
        (number < POINTS.len()).then_some(number)
    }
}

thread_local! {
    /// Of the thread, because a coverage point has no handle to a world. Without a destructor, so that reading it is one load.
    static OBSERVER: Cell<Option<&'static dyn Observer>> = const { Cell::new(None) };
}

#[inline(always)]
pub(super) fn observer() -> Option<&'static dyn Observer> {
    OBSERVER.get()
}

/// Installs the observer of this thread's coverage points, until the returned guard is dropped. For worlds. (Feature
/// `coverage`.)
///
/// # Panics
/// When this thread has an observer already.
#[must_use = "dropping it ends the observing"]
pub fn observe(observer: &'static dyn Observer) -> Observing {
    let former = OBSERVER.replace(Some(observer));
    assert!(former.is_none(), "a thread has one coverage observer at a time");
    Observing { _of_this_thread: PhantomData }
}

/// Guard of [`observe`]; its drop removes the observer.
#[derive(Debug)]
pub struct Observing {
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Observing {
    fn drop(&mut self) {
        OBSERVER.set(None);
    }
}
