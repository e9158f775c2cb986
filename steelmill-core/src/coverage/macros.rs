//! The macros. Their arguments become closures, so that nothing is evaluated without an observer, and so that a condition
//! cannot await, return or break out.

/// Asserts an invariant: the condition holds whenever this coverage point is reached.
///
/// In a simulation a violation fails the run at once, even if the panic is caught, and the failure names the message, the
/// source location, the machine, the daemon, the task and the virtual time. A campaign lists the points that no run
/// reached.
///
/// The message is a literal that names the invariant; its arguments are formatted only on a violation.
///
/// # In production
/// Nothing: as with `debug_assert!` the condition is not evaluated, so it must have no side effects, and may be expensive
/// and on a hot path. What production has to check as well needs an error of its own. See [`coverage`](crate::coverage).
///
/// # Panics
/// In a simulation, on a violation, unless the thread is panicking already. On a thread that does not simulate, never.
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
/// let failure = outcome.failure.expect("the invariant is violated").to_string();
/// assert!(failure.contains("there are never more than a hundred credits, but 1000"), "{failure}");
/// ```
#[macro_export]
macro_rules! assert_always {
    ($condition:expr, $message:literal $(, $($argument:tt)*)?) => {
        $crate::coverage::always(
            $crate::__coverage_point!(Always, $message),
            || $condition,
            || ::std::format!($message $(, $($argument)*)?),
        )
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_always! needs a condition and a literal that names the invariant: \
             assert_always!(queue.len() <= room, \"the queue has room\")"
        )
    };
}

/// Asserts coverage: the condition holds here at least once, in some run of a campaign.
///
/// A campaign lists the points whose condition never held, and how often each was reached; a single run does not fail.
///
/// # In production
/// Nothing: the condition is not evaluated, so it must have no side effects. See [`coverage`](crate::coverage).
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
/// let is_missed = |message| summary.coverage.never_reached().any(|place| place.message == message);
/// assert!(is_missed("a seven") && !is_missed("a six"));
/// ```
#[macro_export]
macro_rules! assert_sometimes {
    ($condition:expr, $message:literal $(,)?) => {
        $crate::coverage::sometimes($crate::__coverage_point!(Sometimes, $message), || $condition)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_sometimes! needs a condition and a literal that names the case: \
             assert_sometimes!(queue.is_full(), \"the queue is full\")"
        )
    };
}

/// Asserts coverage: this point is reached at least once, in some run of a campaign.
///
/// A campaign lists the points that no run reached; a single run does not fail.
///
/// # In production
/// Nothing. See [`coverage`](crate::coverage).
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
/// let is_missed = |message| summary.coverage.never_reached().any(|place| place.message == message);
/// assert!(is_missed("one too many") && !is_missed("one of the others"));
/// ```
#[macro_export]
macro_rules! assert_reachable {
    ($message:literal $(,)?) => {
        $crate::coverage::sometimes($crate::__coverage_point!(Reachable, $message), || true)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_reachable! needs a literal that names the case: assert_reachable!(\"the cache is full\")"
        )
    };
}

/// Asserts that this point is never reached.
///
/// In a simulation, reaching it fails the run at once, like a violated [`assert_always!`](crate::assert_always). The
/// message is a literal; its arguments are formatted only then.
///
/// # In production
/// Nothing: execution continues, so the code behind it must be correct. (Where it cannot continue, use std's
/// `unreachable!`.) See [`coverage`](crate::coverage).
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
        $crate::coverage::always(
            $crate::__coverage_point!(Unreachable, $message),
            || false,
            || ::std::format!($message $(, $($argument)*)?),
        )
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_unreachable! needs a literal that names the case: \
             assert_unreachable!(\"a reply that nobody asked for: {id}\")"
        )
    };
}

/// Asserts an upper limit of a number or a duration: the value is at most its limit whenever this coverage point is reached.
///
/// As [`assert_always!`](crate::assert_always): a violation fails the run at once, and names value and limit beside the message.
/// A campaign also remembers how close runs came: the summary lists the highest value, its limit, and the seed that took it
/// there. If the limit is not always the same, it is the value that came closest to its own.
///
/// Both are integers of one type, or [`Duration`](std::time::Duration)s: see [`Measurable`](crate::coverage::Measurable).
///
/// # In production
/// Nothing: neither is evaluated, so they must have no side effects. See [`coverage`](crate::coverage).
///
/// # Panics
/// As [`assert_always!`](crate::assert_always).
///
/// ```
/// use steelmill_core::assert_always_at_most;
/// use steelmill_sim::{Campaign, Seed};
///
/// const ROOM: usize = 100;
/// let campaign = |most: u64| {
///     Campaign::new(move |sim| async move {
///         let mut queue = Vec::new();
///         for item in 0..sim.draw(most) {
///             queue.push(item);
///             assert_always_at_most!(queue.len(), ROOM, "the queue has room");
///         }
///         Ok(())
///     })
/// };
/// let summary = campaign(90).run().to_string();
/// assert!(summary.contains("assert_always_at_most! \"the queue has room\": highest 89, limit 100 (seed "), "{summary}");
///
/// let summary = campaign(200).run();
/// let failure = summary.failed[0].failure.as_ref().expect("it is broken").to_string();
/// assert!(failure.contains("the queue has room: 101, at most 100"), "{failure}");
/// ```
#[macro_export]
macro_rules! assert_always_at_most {
    ($value:expr, $limit:expr, $message:literal $(, $($argument:tt)*)?) => {
        $crate::__assert_bound!(AlwaysAtMost, $value, $limit, $message $(, $($argument)*)?)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_always_at_most! needs a value, a limit and a literal that names the invariant: \
             assert_always_at_most!(queue.len(), room, \"the queue has room\")"
        )
    };
}

/// Asserts a lower limit of a number or a duration: the value is at least its limit whenever this coverage point is reached.
///
/// As [`assert_always_at_most!`](crate::assert_always_at_most), of which it is the opposite; the summary lists the lowest value.
///
/// # In production
/// Nothing: neither is evaluated, so they must have no side effects. See [`coverage`](crate::coverage).
///
/// # Panics
/// As [`assert_always!`](crate::assert_always).
///
/// ```
/// use steelmill_core::assert_always_at_least;
/// use steelmill_sim::Campaign;
///
/// let summary = Campaign::new(|sim| async move {
///     let copies = 3 - sim.draw(2);
///     assert_always_at_least!(copies, 2, "a majority has the write");
///     Ok(())
/// })
/// .run();
/// assert!(summary.passed());
/// assert!(summary.to_string().contains("\"a majority has the write\": lowest 2, limit 2 (seed "));
/// ```
#[macro_export]
macro_rules! assert_always_at_least {
    ($value:expr, $limit:expr, $message:literal $(, $($argument:tt)*)?) => {
        $crate::__assert_bound!(AlwaysAtLeast, $value, $limit, $message $(, $($argument)*)?)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_always_at_least! needs a value, a limit and a literal that names the invariant: \
             assert_always_at_least!(copies, majority, \"a majority has the write\")"
        )
    };
}

/// Asserts coverage: the value is at least this high here at least once, in some run of a campaign.
///
/// As [`assert_sometimes!`](crate::assert_sometimes), for a value to be driven up: queue lengths, lag, retries. A campaign
/// that never gets there tells how far it got, and with which seed.
///
/// # In production
/// Nothing: neither is evaluated, so they must have no side effects. See [`coverage`](crate::coverage).
///
/// ```
/// use std::time::Duration;
/// use steelmill_core::assert_sometimes_at_least;
/// use steelmill_sim::Campaign;
///
/// let summary = Campaign::new(|sim| async move {
///     let lag = Duration::from_millis(500 + 500 * sim.draw(3));
///     assert_sometimes_at_least!(lag, Duration::from_secs(10), "the replica lags far behind");
///     Ok(())
/// })
/// .run();
/// let text = summary.to_string();
/// assert!(text.contains("executed 100 times, never true: highest 1.5s, wanted 10s (seed "), "{text}");
/// ```
#[macro_export]
macro_rules! assert_sometimes_at_least {
    ($value:expr, $limit:expr, $message:literal $(,)?) => {
        $crate::__assert_bound!(SometimesAtLeast, $value, $limit, $message)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_sometimes_at_least! needs a value, a number to reach and a literal that names the case: \
             assert_sometimes_at_least!(queue.len(), 100, \"the queue is long\")"
        )
    };
}

/// Asserts coverage: the value is at most this low here at least once, in some run of a campaign.
///
/// As [`assert_sometimes_at_least!`](crate::assert_sometimes_at_least), for a value to be driven down: free space, live replicas.
///
/// # In production
/// Nothing: neither is evaluated, so they must have no side effects. See [`coverage`](crate::coverage).
///
/// ```
/// use steelmill_core::assert_sometimes_at_most;
/// use steelmill_sim::Campaign;
///
/// let summary = Campaign::new(|sim| async move {
///     assert_sometimes_at_most!(sim.draw(4), 0, "no replica is up");
///     Ok(())
/// })
/// .run();
/// assert_eq!(summary.coverage.never_reached().filter(|point| point.message == "no replica is up").count(), 0);
/// ```
#[macro_export]
macro_rules! assert_sometimes_at_most {
    ($value:expr, $limit:expr, $message:literal $(,)?) => {
        $crate::__assert_bound!(SometimesAtMost, $value, $limit, $message)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "assert_sometimes_at_most! needs a value, a number to reach and a literal that names the case: \
             assert_sometimes_at_most!(replicas.len(), 0, \"no replica is up\")"
        )
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __assert_bound {
    ($kind:ident, $value:expr, $limit:expr, $message:literal $(, $($argument:tt)*)?) => {
        $crate::coverage::bound(
            $crate::__coverage_point!($kind, $message),
            || ($value, $limit),
            || ::std::format!($message $(, $($argument)*)?),
        )
    };
}

/// Fault injection in the code itself: true now and then in a simulation, never in production.
///
/// For what is legal and hardly ever happens: an early timeout, a full buffer, a retry though the first attempt was
/// answered. As in FoundationDB, each `buggify!` is active in a part of the runs (three of eight), and an active one fires a
/// quarter of the times it is reached, or at the given rate: a constant from `0.0` to `1.0` (not one of a type parameter or `Self`).
/// So most runs see few of them, and some run sees any two together.
///
/// It is a fault like others: it fires only while a scenario injects faults, the run's plan lists the active ones, and a
/// run without faults has none.
///
/// # In production
/// `false`, as a constant: the branch is not in the binary. See [`coverage`](crate::coverage).
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
///
/// A rate that is no share does not compile:
///
/// ```compile_fail
/// if steelmill_core::buggify!(25.0) {}
/// ```
#[macro_export]
macro_rules! buggify {
    () => {
        $crate::buggify!(0.25)
    };
    ($rate:expr $(,)?) => {
        $crate::coverage::fires($crate::__coverage_point!(Buggify, "", $crate::coverage::ppm($rate)))
    };
}

/// Registers the point and refers to it.
#[cfg(feature = "coverage")]
#[doc(hidden)]
#[macro_export]
macro_rules! __coverage_point {
    ($kind:ident, $message:expr $(, $rate_ppm:expr)?) => {{
        #[$crate::coverage::linkme::distributed_slice($crate::coverage::POINTS)]
        #[linkme(crate = $crate::coverage::linkme)]
        static __STEELMILL_POINT: $crate::coverage::Point =
            $crate::__coverage_point_value!($kind, $message $(, $rate_ppm)?);
        &__STEELMILL_POINT
    }};
}

/// Refers to a point that is registered nowhere.
#[cfg(not(feature = "coverage"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __coverage_point {
    ($kind:ident, $message:expr $(, $rate_ppm:expr)?) => {{
        const __STEELMILL_POINT: $crate::coverage::Point =
            $crate::__coverage_point_value!($kind, $message $(, $rate_ppm)?);
        &__STEELMILL_POINT
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __coverage_point_value {
    ($kind:ident, $message:expr) => {
        $crate::__coverage_point_value!($kind, $message, 0)
    };
    ($kind:ident, $message:expr, $rate_ppm:expr) => {
        $crate::coverage::Point::new(
            $crate::coverage::Kind::$kind,
            $message,
            $rate_ppm,
            ::core::module_path!(),
            ::core::file!(),
            (::core::line!(), ::core::column!()),
        )
    };
}
