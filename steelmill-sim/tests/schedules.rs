//! Schedulers (`weighted`, `uniform`, `pct`, `fifo`): how often each finds ordering bugs of a known depth.
#![expect(clippy::disallowed_methods, reason = "runs get threads of their own")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Campaign, Cause, Decision, Outcome, Schedule, Seed, Settings, Sim, Stream, simulate};
use tokio::task::yield_now;

/// The number of tasks that are unrelated to the bugs.
const BYSTANDERS: u32 = 20;

fn red<F>(schedule: Schedule, scenario: impl Fn(Sim) -> F + Send + Sync) -> usize
where
    F: Future<Output = Result> + 'static,
{
    Campaign::new(scenario).schedule(schedule).seeds(1000).failures_max(1000).run().failed.len()
}

async fn steps(n: u32) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// An observer takes 60 steps and then reads; each writer takes 25, and its write is incomplete during 20 of them. The
/// bug occurs when the observer finds all writes incomplete: one ordering constraint per writer, which is preempted in
/// its write, and one between writers and observer.
async fn half_done(sim: Sim, writers: u32) -> Result {
    for _ in 0..BYSTANDERS {
        sim.spawn("bystander", steps(2));
    }
    let half = Arc::new(AtomicU32::new(0));
    for writer in vec![half.clone(); writers as usize] {
        sim.spawn("writer", async move {
            steps(3).await;
            writer.fetch_add(1, Ordering::Relaxed);
            steps(20).await;
            writer.fetch_sub(1, Ordering::Relaxed);
            steps(2).await;
        });
    }
    let observed = sim.spawn("observer", async move {
        steps(60).await;
        half.load(Ordering::Relaxed)
    });
    anyhow::ensure!(observed.await? < writers, "all half done");
    Ok(())
}

/// The observer ends before the writer has taken its first step.
async fn not_begun(sim: Sim) -> Result {
    for _ in 0..BYSTANDERS {
        sim.spawn("bystander", steps(2));
    }
    let made = Arc::new(AtomicU32::new(0));
    let maker = made.clone();
    sim.spawn("maker", async move { maker.store(1, Ordering::Relaxed) });
    let observed = sim.spawn("observer", async move {
        steps(60).await;
        made.load(Ordering::Relaxed)
    });
    anyhow::ensure!(observed.await? == 1, "not begun");
    Ok(())
}

#[test]
fn priorities_find_orderings_that_chance_does_not() {
    let pct = |depth| Schedule::Pct { depth };
    let one = [Schedule::Uniform, pct(1)].map(|how| red(how, not_begun));
    let two = [Schedule::Uniform, pct(1), pct(2), pct(3)].map(|how| red(how, |sim| half_done(sim, 1)));
    let three = [Schedule::Uniform, pct(1), pct(2), pct(3)].map(|how| red(how, |sim| half_done(sim, 2)));
    // One with even chances finds almost none in a thousand seeds.
    assert!(one[0] < 3 && one[1] > 300, "depth 1: {one:?} of 1000 with uniform and pct:1");
    assert!(two[0] < 3 && two[2] > 40, "depth 2: {two:?} of 1000 with uniform, pct:1, pct:2 and pct:3");
    assert!(three[0] < 3 && three[3] > 7, "depth 3: {three:?} of 1000 with uniform, pct:1, pct:2 and pct:3");
}

#[test]
fn random_speeds_find_orderings_that_chance_does_not() {
    let two = red(Schedule::Weighted, |sim| half_done(sim, 1));
    let three = red(Schedule::Weighted, |sim| half_done(sim, 2));
    assert!(two > 80 && three > 25, "{two} and {three} of 1000");
}

/// The maker takes its only step between two certain steps of the observer.
async fn between_two_steps(sim: Sim) -> Result {
    let made = Arc::new(AtomicU32::new(0));
    let maker = made.clone();
    sim.spawn("maker", async move { maker.store(1, Ordering::Relaxed) });
    let observed = sim.spawn("observer", async move {
        steps(30).await;
        let before = made.load(Ordering::Relaxed);
        steps(1).await;
        let after = made.load(Ordering::Relaxed);
        steps(30).await;
        (before, after)
    });
    anyhow::ensure!(observed.await? != (0, 1), "just there");
    Ok(())
}

#[test]
fn a_walk_finds_each_order_of_steps_equally_often_after_one_trial() {
    // One step of the maker beside 61 or 62 of the observer; and of two tasks of 26 and 61 steps, the last three are the first one's.
    let last = red(Schedule::Walk, not_begun);
    let between = red(Schedule::Walk, between_two_steps);
    let two = red(Schedule::Walk, |sim| half_done(sim, 1));
    assert!(
        [last, between, two].iter().all(|often| (6..45).contains(often)),
        "{last}, {between}, {two} of 1000"
    );
    let others = [Schedule::Uniform, Schedule::Weighted, Schedule::Pct { depth: 2 }];
    let others = others.map(|schedule| red(schedule, between_two_steps));
    assert!(others.iter().all(|often| 2 * often < between), "{others:?} beside {between} of 1000");
}

#[test]
fn a_run_by_a_walk_repeats_and_is_replayed_from_its_decisions() {
    let settings = Settings { schedule: Schedule::Walk, record: true, ..Settings::new(Seed(7)) };
    let run = |settings| {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| simulate(settings, &|sim| half_done(sim, 2)));
            run.join().expect("the simulation does not panic")
        })
    };
    let first = run(settings.clone());
    assert_eq!(run(settings.clone()).digest, first.digest);
    let replayed = run(Settings { replay: Some(first.decisions.clone()), ..settings.clone() });
    assert_eq!((replayed.digest, &replayed.decisions), (first.digest, &first.decisions));
    let without = run(Settings { replay: Some(Vec::new()), ..settings.clone() });
    let fifo = run(Settings { schedule: Schedule::Fifo, ..Settings::new(Seed(7)) });
    assert_eq!(without.polls, fifo.polls);
    // A campaign of this seed alone makes the same run as one of many, and as a run by itself.
    let digests = |first: u64, seeds| {
        let campaign = Campaign::new(|sim| half_done(sim, 2)).schedule(Schedule::Walk);
        let mut digests = Vec::new();
        campaign
            .first_seed(Seed(first))
            .seeds(seeds)
            .failures_max(100)
            .run_with(|summary| digests.push(summary.digest));
        digests
    };
    assert_eq!(digests(7, 1)[0], digests(7, 3)[0]);
}

#[test]
fn a_run_by_priorities_repeats_and_is_replayed_from_its_decisions() {
    let run = |settings| {
        std::thread::scope(|scope| {
            scope
                .spawn(|| simulate(settings, &|sim| half_done(sim, 2)))
                .join()
                .expect("the simulation does not panic")
        })
    };
    let settings = Settings { schedule: Schedule::Pct { depth: 3 }, record: true, ..Settings::new(Seed(7)) };
    let first = run(settings.clone());
    assert_eq!(run(settings.clone()).digest, first.digest);
    assert!(first.decisions.iter().all(|decision| decision.stream == Stream::Schedule));
    let replayed = run(Settings { replay: Some(first.decisions.clone()), ..settings.clone() });
    assert_eq!((replayed.digest, &replayed.decisions), (first.digest, &first.decisions));
    // Without recorded decisions the schedule is FIFO.
    let fair = run(Settings { replay: Some(Vec::new()), ..settings.clone() });
    let fifo = run(Settings { schedule: Schedule::Fifo, ..Settings::new(Seed(7)) });
    assert_eq!(fair.digest, fifo.digest);
}

#[test]
fn a_run_by_speeds_is_replayed_from_its_decisions_and_is_fifo_without() {
    let run = |settings| {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| simulate(settings, &|sim| half_done(sim, 2)));
            run.join().expect("the simulation does not panic")
        })
    };
    for seed in 1..8 {
        let settings = Settings { record: true, ..Settings::new(Seed(seed)) };
        let first = run(settings.clone());
        let replay = |decisions: Vec<_>| Settings { replay: Some(decisions), ..settings.clone() };
        assert_eq!(run(replay(first.decisions.clone())).digest, first.digest);
        // With speeds, but without a choice.
        let is_speed = |decision: &Decision| decision.stream == Stream::Speed;
        let speeds = first.decisions.into_iter().filter(is_speed).collect();
        let fifo = run(Settings { schedule: Schedule::Fifo, ..Settings::new(Seed(seed)) });
        let polls = |outcome: Outcome| outcome.polls;
        assert_eq!(polls(run(replay(speeds))), polls(fifo));
    }
}

#[test]
fn a_task_that_spins_does_not_keep_others_from_their_turn() {
    for depth in 1..4 {
        Campaign::new(|sim: Sim| async move {
            let done = Arc::new(AtomicU32::new(0));
            for spinner in [done.clone(), done.clone()] {
                sim.spawn("spinner", async move {
                    while spinner.load(Ordering::Relaxed) < 20 {
                        yield_now().await;
                    }
                });
            }
            for worker in vec![done.clone(); 20] {
                sim.spawn("worker", async move {
                    for _ in 0..500 {
                        yield_now().await;
                    }
                    worker.fetch_add(1, Ordering::Relaxed);
                });
            }
            sim.clock().sleep(Duration::from_secs(1)).await;
            anyhow::ensure!(done.load(Ordering::Relaxed) == 20);
            Ok(())
        })
        .schedule(Schedule::Pct { depth })
        .seeds(50)
        .check();
    }
}

#[test]
fn a_livelock_is_one_by_priorities_too() {
    let settings =
        Settings { schedule: Schedule::Pct { depth: 2 }, poll_limit: 10_000, ..Settings::new(Seed(1)) };
    let outcome = std::thread::scope(|scope| {
        let scenario = |sim: Sim| async move {
            sim.spawn("spinner", async {
                loop {
                    yield_now().await;
                }
            });
            sim.clock().sleep(Duration::from_secs(1)).await;
            Ok(())
        };
        scope.spawn(move || simulate(settings, &scenario)).join().expect("the simulation does not panic")
    });
    let cause = outcome.failure.expect("the run exceeds a limit").cause;
    assert!(matches!(&cause, Cause::Livelock { .. }) && cause.to_string().contains("spinner"), "{cause}");
}
