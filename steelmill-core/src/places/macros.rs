//! The macros. What they are given becomes closures, so that one that is not observed evaluates nothing, and so that a
//! condition cannot wait, return or break out.

/// Claims that something holds whenever this place is come to.
///
/// In a simulation a condition that does not hold fails the run at once, whatever would catch a panic there, and the
/// failure names the message, the place, the machine, the daemon, the task and the virtual time. A place that no run of a
/// campaign came to has shown nothing, and is listed at its end.
///
/// The message is a literal that names the claim; what is formatted into it is made only when the claim is broken.
///
/// # In production
/// Nothing: the condition is not even evaluated, as with `debug_assert!`, so it must have no effect of its own. It stands
/// on hot paths and asks what may be dear to know; what has to be checked in production as well is a test with an error
/// of its own. See [`places`](crate::places).
///
/// # Panics
/// In a simulation, when the condition does not hold, so that nothing is done on a false ground; except while the thread
/// is panicking already. On a thread that does not simulate, never.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use steelmill_core::assert_always;
///
/// struct Credits(AtomicU64);
///
/// impl Credits {
///     fn take(&self) -> Option<u64> {
///         let left = self.0.load(Ordering::Relaxed).checked_sub(1)?;
///         self.0.store(left, Ordering::Relaxed);
///         assert_always!(left < 100, "there are never more than a hundred credits, but {}", left + 1);
///         Some(left)
///     }
/// }
///
/// // Outside a simulation it does nothing.
/// assert_eq!(Credits(1000.into()).take(), Some(999));
///
/// let outcome = steelmill_sim::simulate(steelmill_sim::Settings::new(steelmill_sim::Seed(1)), &|_| async {
///     Credits(1000.into()).take();
///     Ok(())
/// });
/// let failure = outcome.failure.expect("the claim is broken").to_string();
/// assert!(failure.contains("there are never more than a hundred credits, but 1000"), "{failure}");
/// ```
#[macro_export]
macro_rules! assert_always {
    ($condition:expr, $message:literal $(, $($argument:tt)*)?) => {
        $crate::places::always(
            $crate::__place!(Always, $message),
            || $condition,
            || ::std::format!($message $(, $($argument)*)?),
        )
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_always! wants a condition and a literal that names the claim: \
             assert_always!(queue.len() <= room, \"the queue has room\")"
        )
    };
}

/// Claims that something holds at this place at least once, in some run of a campaign: that the test gets there.
///
/// A campaign ends with the places whose condition never held, and how often it was asked; a single run does not fail
/// for it.
///
/// # In production
/// Nothing: the condition is not even evaluated, so it must have no effect of its own. See [`places`](crate::places).
///
/// ```
/// use steelmill_core::assert_sometimes;
/// use steelmill_sim::Campaign;
///
/// let summary = Campaign::new(|sim| async move {
///     let dice = sim.draw(6) + 1;
///     assert_sometimes!(dice == 6, "a six");
///     assert_sometimes!(dice == 7, "a seven");
///     Ok(())
/// })
/// .run();
/// let is_missed = |message| summary.places.never_hit().any(|place| place.message == message);
/// assert!(is_missed("a seven") && !is_missed("a six"));
/// ```
#[macro_export]
macro_rules! assert_sometimes {
    ($condition:expr, $message:literal $(,)?) => {
        $crate::places::sometimes($crate::__place!(Sometimes, $message), || $condition)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_sometimes! wants a condition and a literal that names the case: \
             assert_sometimes!(queue.is_full(), \"the queue is full\")"
        )
    };
}

/// Claims that this place is come to at least once, in some run of a campaign: that the test gets there.
///
/// A campaign ends with the places that no run came to; a single run does not fail for it.
///
/// # In production
/// Nothing. See [`places`](crate::places).
///
/// ```
/// use steelmill_core::assert_reachable;
/// use steelmill_sim::Campaign;
///
/// let summary = Campaign::new(|sim| async move {
///     match sim.draw(3) {
///         0 => assert_reachable!("the first"),
///         1 | 2 => assert_reachable!("one of the others"),
///         _ => assert_reachable!("one too many"),
///     }
///     Ok(())
/// })
/// .run();
/// let is_missed = |message| summary.places.never_hit().any(|place| place.message == message);
/// assert!(is_missed("one too many") && !is_missed("one of the others"));
/// ```
#[macro_export]
macro_rules! assert_reachable {
    ($message:literal $(,)?) => {
        $crate::places::sometimes($crate::__place!(Reachable, $message), || true)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_reachable! wants a literal that names the place: assert_reachable!(\"the cache is full\")"
        )
    };
}

/// Claims that this place is never come to.
///
/// In a simulation coming to it fails the run at once, as a broken [`assert_always!`](crate::assert_always) does. The
/// message is a literal; what is formatted into it is made only then.
///
/// # In production
/// Nothing: it is passed, so what stands behind it must be right there, too. (What cannot go on wants std's
/// `unreachable!`.) See [`places`](crate::places).
///
/// # Panics
/// In a simulation, except while the thread is panicking already. On a thread that does not simulate, never.
///
/// ```
/// use steelmill_core::assert_unreachable;
///
/// fn answer(request: &str) -> Option<&'static str> {
///     match request {
///         "PING" => Some("PONG"),
///         other => {
///             assert_unreachable!("a client sends what it should not: {other}");
///             None
///         }
///     }
/// }
/// // Outside a simulation it does nothing.
/// assert_eq!(answer("PONG"), None);
/// ```
#[macro_export]
macro_rules! assert_unreachable {
    ($message:literal $(, $($argument:tt)*)?) => {
        $crate::places::always(
            $crate::__place!(Unreachable, $message),
            || false,
            || ::std::format!($message $(, $($argument)*)?),
        )
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_unreachable! wants a literal that names the place: \
             assert_unreachable!(\"a reply that nobody asked for: {id}\")"
        )
    };
}

/// Whether a rare branch is to be taken for once: seldom in a simulation, never outside.
///
/// It brings about what is legal and hardly ever happens: an early timeout, a buffer that is full, a retry though the
/// first attempt was answered. As with FoundationDB, whose word it is, a place is active in a run with a chance of one in
/// four, and one that is active fires in one of four times that it is come to, or at the rate that is given: a constant
/// from `0.0` to `1.0`, but none of a type parameter or of `Self`. So most runs see few of them, and some run sees any two together.
///
/// A rare branch is a fault: places fire only during a scenario's trouble (`Sim::trouble`), a run's plan lists those that
/// are active, and without faults there are none.
///
/// # In production
/// `false`, as a constant: the branch is not in the binary. See [`places`](crate::places).
///
/// ```
/// use steelmill_core::buggify;
///
/// fn batch_size() -> usize {
///     if buggify!() { 1 } else { 1000 }
/// }
/// // Outside a simulation it never fires.
/// assert_eq!(batch_size(), 1000);
/// ```
#[macro_export]
macro_rules! buggify {
    () => {
        $crate::buggify!(0.25)
    };
    ($rate:expr $(,)?) => {
        $crate::places::fires($crate::__place!(Buggify, "", $crate::places::ppm($rate)))
    };
}

/// The place where it is written.
#[cfg(feature = "places")]
#[doc(hidden)]
#[macro_export]
macro_rules! __place {
    ($kind:ident, $message:expr $(, $rate_ppm:expr)?) => {{
        #[$crate::places::linkme::distributed_slice($crate::places::PLACES)]
        #[linkme(crate = $crate::places::linkme)]
        static __STEELMILL_PLACE: $crate::places::Place =
            $crate::__place_itself!($kind, $message $(, $rate_ppm)?);
        &__STEELMILL_PLACE
    }};
}

/// The place where it is written, for nobody to know.
#[cfg(not(feature = "places"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __place {
    ($kind:ident, $message:expr $(, $rate_ppm:expr)?) => {{
        const __STEELMILL_PLACE: $crate::places::Place =
            $crate::__place_itself!($kind, $message $(, $rate_ppm)?);
        &__STEELMILL_PLACE
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __place_itself {
    ($kind:ident, $message:expr) => {
        $crate::__place_itself!($kind, $message, 0)
    };
    ($kind:ident, $message:expr, $rate_ppm:expr) => {
        $crate::places::Place::new(
            $crate::places::Kind::$kind,
            $message,
            $rate_ppm,
            ::core::module_path!(),
            ::core::file!(),
            (::core::line!(), ::core::column!()),
        )
    };
}
