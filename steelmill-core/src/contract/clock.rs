//! Conformance: clocks.

use std::future;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};

use super::{A_WHILE, Dropped, waits};
use crate::{Clock, Elapsed, Interval, MissedTickBehavior, Spawn, World};

pub async fn now_never_goes_back<W: World>(world: W) {
    let clock = world.clock();
    let mut last = clock.now();
    for _ in 0..1000 {
        let now = clock.now();
        assert!(now >= last);
        last = now;
    }
}

pub async fn a_sleep_takes_at_least_its_duration<W: World>(world: W) {
    let clock = world.clock();
    for duration in [1, 2, 5, 10].map(Duration::from_millis) {
        let start = clock.now();
        clock.sleep(duration).await;
        let slept = clock.now() - start;
        assert!(slept >= duration, "slept {slept:?}, not {duration:?}");
    }
}

pub async fn a_sleep_of_no_duration_ends<W: World>(world: W) {
    world.clock().sleep(Duration::ZERO).await;
}

pub async fn sleep_until_takes_until_its_instant<W: World>(world: W) {
    let clock = world.clock();
    let deadline = clock.now() + A_WHILE;
    clock.sleep_until(deadline).await;
    assert!(clock.now() >= deadline);
}

pub async fn sleep_until_the_past_returns<W: World>(world: W) {
    let clock = world.clock();
    let start = clock.now();
    clock.sleep(A_WHILE).await;
    clock.sleep_until(start).await;
    clock.sleep_until(clock.now()).await;
}

pub async fn the_longest_sleep_does_not_overflow<W: World>(world: W) {
    let clock = world.clock();
    assert!(waits(&world, clock.sleep(Duration::MAX)).await);
    assert_eq!(clock.timeout(Duration::MAX, clock.sleep(A_WHILE)).await, Ok(()));
}

pub async fn a_dropped_sleep_disturbs_no_other<W: World>(world: W) {
    let clock = world.clock();
    let start = clock.now();
    let mut kept = Vec::new();
    for millis in 1..=20 {
        let mut sleep = Box::pin(clock.sleep(Duration::from_millis(millis)));
        // Polled once, so that the timer is running when every other one of them is dropped.
        let _ = (&mut sleep).now_or_never();
        if millis % 2 == 0 {
            kept.push(sleep);
        }
    }
    futures::future::join_all(kept).await;
    assert!(clock.now() - start >= Duration::from_millis(20));
}

pub async fn a_sleep_can_move_to_another_task<W: World>(world: W) {
    let mut sleep = Box::pin(world.clock().sleep(A_WHILE));
    assert_eq!((&mut sleep).now_or_never(), None);
    world.spawner().spawn("sleeper", sleep).await.unwrap();
}

pub async fn sleeps_end_in_the_order_of_their_deadlines<W: World>(world: W) {
    let clock = world.clock();
    let first = clock.now() + A_WHILE;
    let sleeps = FuturesUnordered::new();
    for place in [3, 0, 7, 5, 1, 6, 2, 4] {
        let sleep = clock.sleep_until(first + place * Duration::from_millis(3));
        sleeps.push(sleep.map(move |()| place));
    }
    let order: Vec<u32> = sleeps.collect().await;
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7]);
}

pub async fn a_thousand_sleeps_all_end<W: World>(world: W) {
    let clock = world.clock();
    let sleeps = (0..1000).map(|n: u64| clock.sleep(Duration::from_millis(n % 17)));
    futures::future::join_all(sleeps).await;
}

pub async fn the_wall_clock_moves_with_time<W: World>(world: W) {
    let clock = world.clock();
    let (wall, now) = (clock.wall(), clock.now());
    clock.sleep(A_WHILE).await;
    let slept = clock.now() - now;
    let passed = clock.wall().duration_since(wall).unwrap();
    assert!(passed >= A_WHILE / 2 && passed <= slept * 2, "{passed:?} on the wall in {slept:?}");
}

pub async fn a_timeout_passes_on_what_is_in_time<W: World>(world: W) {
    let clock = world.clock();
    let answer = async {
        clock.sleep(Duration::from_millis(1)).await;
        42
    };
    assert_eq!(clock.timeout(Duration::from_secs(60), answer).await, Ok(42));
}

pub async fn a_timeout_drops_what_takes_too_long<W: World>(world: W) {
    let clock = world.clock();
    let dropped = Dropped::default();
    let guard = dropped.on_drop();
    let never = async move {
        let _guard = guard;
        future::pending::<()>().await
    };
    let start = clock.now();
    assert_eq!(clock.timeout(A_WHILE, never).await, Err(Elapsed { limit: A_WHILE }));
    assert!(clock.now() - start >= A_WHILE);
    assert!(dropped.happened());
}

pub async fn what_is_ready_wins_over_a_timeout_of_zero<W: World>(world: W) {
    let limit = Duration::ZERO;
    let clock = world.clock();
    assert_eq!(clock.timeout(limit, future::ready(42)).await, Ok(42));
    assert_eq!(clock.timeout(limit, future::pending::<()>()).await, Err(Elapsed { limit }));
}

pub async fn an_interval_ticks_at_once_and_then_every_period<W: World>(world: W) {
    let clock = world.clock();
    let period = Duration::from_millis(4);
    let before = clock.now();
    let mut interval = clock.interval(period);
    let first = interval.tick().await;
    assert!(first >= before && first <= clock.now());
    for beat in 1..=5 {
        let due = interval.tick().await;
        assert_eq!(due, first + beat * period);
        assert!(clock.now() >= due);
    }
}

pub async fn missed_ticks_follow_without_a_pause<W: World>(world: W) {
    let clock = world.clock();
    let period = Duration::from_millis(2);
    let mut interval = clock.interval(period);
    clock.sleep(period * 10).await;
    let before: Instant = clock.now();
    for _ in 0..=10 {
        assert!(interval.tick().await <= before);
    }
}

/// The first two ticks of an interval; the second one is late by two and a half periods.
async fn late_tick<C: Clock>(
    clock: &C,
    period: Duration,
    behavior: MissedTickBehavior,
) -> (Interval<'_, C>, Instant) {
    let mut interval = clock.interval(period);
    let first = interval.tick().await;
    // Only now, as the first tick may be late as well.
    interval.set_missed_tick_behavior(behavior);
    clock.sleep(period * 7 / 2).await;
    assert_eq!(interval.tick().await, first + period);
    (interval, first)
}

pub async fn after_a_late_tick_a_delayed_interval_waits_a_whole_period<W: World>(world: W) {
    let clock = world.clock();
    let (mut interval, first) = late_tick(&clock, A_WHILE, MissedTickBehavior::Delay).await;
    let after = clock.now();
    let due = interval.tick().await;
    assert!(
        due >= first + A_WHILE * 9 / 2 && due <= after + A_WHILE,
        "due {:?} after the first",
        due - first
    );
    assert!(clock.now() >= due);
}

pub async fn after_a_late_tick_a_skipping_interval_keeps_its_phase<W: World>(world: W) {
    let clock = world.clock();
    let (mut interval, first) = late_tick(&clock, A_WHILE, MissedTickBehavior::Skip).await;
    let after = clock.now();
    let due = interval.tick().await;
    assert_eq!((due - first).as_nanos() % A_WHILE.as_nanos(), 0);
    assert!(due >= first + A_WHILE * 4 && due <= after + A_WHILE, "due {:?} after the first", due - first);
    assert!(clock.now() >= due);
}

pub async fn an_interval_of_the_longest_period_ticks_once<W: World>(world: W) {
    let clock = world.clock();
    let mut interval = clock.interval(Duration::MAX);
    interval.tick().await;
    assert!(waits(&world, interval.tick()).await);
    assert!(waits(&world, interval.tick()).await);
}

pub async fn a_dropped_tick_is_not_lost<W: World>(world: W) {
    let clock = world.clock();
    let mut interval = clock.interval(A_WHILE);
    let first = interval.tick().await;
    assert_eq!(interval.tick().now_or_never(), None);
    assert_eq!(interval.tick().await, first + A_WHILE);
}
