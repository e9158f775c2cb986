//! Shrinking red seeds: to the minimal faults, workload and choices, which fail again.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::fault::{Budget, Fault, Faults, Kind, Plan, When};
use steelmill_sim::{Campaign, Cause, Machine, Seed, Settings, Sim, Stopped, simulate};

/// Fails if `a` was paused for at least a tenth of a second and `b` loses its process after that.
async fn fails_with_both_faults(sim: Sim) -> Result {
    let a = sim.machine("a", |_| Ok(())).start().await?;
    let b = sim.machine("b", |_| Ok(())).start().await?;
    let is_red = Rc::new(Cell::new(false));
    sim.spawn("watch", watch(sim, a.clone(), b.clone(), is_red.clone()));
    sim.inject_faults(Budget { lasts: Duration::from_secs(20), down_max: 2, ..Budget::of(&[a, b]) })
        .run()
        .await?;
    anyhow::ensure!(!is_red.get(), "the combination failed seed {}", sim.seed());
    Ok(())
}

async fn watch(sim: Sim, a: Machine, b: Machine, is_red: Rc<Cell<bool>>) {
    let mut paused = 0;
    loop {
        sim.clock().sleep(Duration::from_millis(20)).await;
        paused += u32::from(a.is_paused());
        if paused > 5 && !b.is_up() {
            is_red.set(true);
        }
    }
}

#[test]
fn a_red_seed_shrinks_to_the_faults_that_it_takes() {
    let campaign = Campaign::new(fails_with_both_faults);
    let mut red = 0;
    for seed in (1..150).map(Seed) {
        let Some(shrunk) = campaign.shrink(seed, |_| ()) else { continue };
        red += 1;
        let faults = &shrunk.plan.faults;
        // A third fault remains if one of the two is tied to a moment that only the third causes.
        assert!((2..=3).contains(&faults.len()), "of {}: {:?}", shrunk.faults_before, shrunk.plan);
        assert!(faults.iter().any(|fault| matches!(&fault.what, Kind::Pause { machine } if machine == "a")));
        // Neither outlasts the beginning of the last one by much. Times are halved, so they are within twice of what it takes.
        let at = |fault: &Fault| if let When::At(at) = fault.when { Some(at) } else { None };
        if let Some(begins) = faults.iter().map(at).collect::<Option<Vec<_>>>() {
            let last = begins.iter().max().expect("there are faults");
            let mut ends = begins.iter().zip(faults).map(|(at, fault)| *at + fault.lasts / 2);
            assert!(ends.all(|end| end < *last + Duration::from_millis(500)), "{faults:?}");
        }
        let settings = Settings { faults: Faults::Plan(shrunk.plan), ..Settings::new(seed) };
        let again = simulate(settings, &fails_with_both_faults);
        assert!(
            !again.passed() && again.digest == shrunk.outcome.digest,
            "the replay has the same failure and digest"
        );
        assert!(shrunk.outcome.trace.is_some_and(|trace| !trace.events.is_empty()));
    }
    assert!(red >= 3, "{red} seeds are red");
}

#[test]
fn the_answer_does_not_depend_on_how_many_run_at_once() {
    let shrunk = |jobs| {
        let campaign = Campaign::new(fails_with_both_faults).jobs(jobs);
        (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed fails").plan
    };
    assert_eq!(shrunk(1), shrunk(7));
}

#[test]
fn a_failure_without_faults_shrinks_to_none() {
    let campaign = Campaign::new(|sim: Sim| async move {
        let machine = sim.machine("a", |_| Ok(())).start().await?;
        sim.inject_faults(Budget::of(&[machine])).run().await?;
        anyhow::bail!("always")
    });
    let shrunk = campaign.shrink(Seed(1), |_| ()).expect("the seed fails");
    assert!(shrunk.faults_before > 0 && shrunk.plan.faults.is_empty(), "{shrunk:?}");
    // Nor does it take a minute in which faults may strike, though the scenario declares no limit.
    assert_eq!(shrunk.plan.limits, [("seconds of faults".to_owned(), 1)].into());
}

#[test]
fn another_failure_is_not_taken_for_the_one_that_is_sought() {
    // With fewer faults the failure is a different one.
    let campaign = Campaign::new(|sim: Sim| async move {
        let a = sim.machine("a", |_| Ok(())).start().await?;
        let struck = sim.inject_faults(Budget { faults_min: 5, ..Budget::of(&[a]) }).run().await?;
        anyhow::ensure!(struck.struck + struck.skipped >= 5, "too little happened");
        anyhow::bail!("enough happened")
    });
    let shrunk = campaign.shrink(Seed(1), |_| ()).expect("the seed fails");
    assert_eq!(shrunk.plan.faults.len(), 5);
    assert!(shrunk.outcome.failure.expect("the run fails").to_string().contains("enough happened"));
}

#[test]
fn a_search_interrupted_at_once_returns_the_seed_unshrunk() {
    let stop = Arc::new(AtomicBool::new(true));
    let campaign = Campaign::new(fails_with_both_faults).stop_when(stop);
    let shrunk = (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed fails");
    assert_eq!((shrunk.plan.faults.len(), shrunk.plan.order), (shrunk.faults_before, None));
    assert_eq!(shrunk.stopped, Some(Stopped::Interrupted));
    assert!(shrunk.runs <= 3 && shrunk.failure_rates.is_empty(), "{} runs", shrunk.runs);
    assert!(!shrunk.outcome.passed());
}

/// Fails two seconds after ten tasks wake at the same time, if number 7 runs first.
async fn must_keep_order(sim: Sim) -> Result {
    let first = Rc::new(Cell::new(None));
    for number in 0..10 {
        let first = first.clone();
        sim.spawn("racer", async move {
            sim.clock().sleep(Duration::from_secs(1)).await;
            first.set(first.get().or(Some(number)));
        });
    }
    sim.clock().sleep(Duration::from_secs(3)).await;
    anyhow::ensure!(first.get() != Some(7), "task 7 ran first");
    Ok(())
}

#[test]
fn a_race_shrinks_to_the_tasks_that_went_before_their_turn() {
    let campaign = Campaign::new(must_keep_order);
    let shrunk = (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed fails");
    assert!(shrunk.choices_before > Some(5), "{:?}", shrunk.choices_before);
    let order = shrunk.plan.order.as_ref().expect("a schedule in the plan");
    assert!((1..=5).contains(&order.len()), "{order:?}");
    assert!(!shrunk.outcome.passed());

    let plan = Plan::from_json(&shrunk.plan.to_json()).expect("valid JSON of a plan");
    let settings = Settings { faults: Faults::Plan(plan), ..Settings::new(shrunk.outcome.seed) };
    let again = simulate(settings, &must_keep_order);
    assert!(!again.passed() && again.digest == shrunk.outcome.digest);

    // Before the race the failure is possible, after it certain.
    for rate in &shrunk.failure_rates {
        let is_over = rate.until > Duration::from_secs(1);
        let expected = if is_over { rate.runs..=rate.runs } else { 0..=rate.runs / 2 };
        assert!(expected.contains(&rate.failed), "{rate:?}");
    }
    assert_eq!(shrunk.failure_rates.len(), 21);
    let late = shrunk.inevitable_from().expect("the run fails") - Duration::from_secs(1);
    assert!(late < Duration::from_millis(1), "{late:?}");
}

/// Fails if at least two clients have done at least seven operations each and the machine was paused.
async fn overworked(sim: Sim) -> Result {
    let clients = sim.limit("clients", 1..=9);
    let operations = sim.limit("operations", 1..=1000);
    let ways = sim.limit("ways", 2..=3);
    let machine = sim.machine("a", |_| Ok(())).start().await?;
    let watched = machine.clone();
    let watch = sim.spawn("watch", async move {
        while !watched.is_paused() {
            watched.clock().sleep(Duration::from_millis(20)).await;
        }
    });
    let mut done = Vec::new();
    for _ in 0..clients {
        done.push(sim.spawn("client", async move {
            for _ in 0..operations {
                sim.clock().sleep(Duration::from_millis(1)).await;
            }
            operations >= 7
        }));
    }
    sim.inject_faults(Budget { lasts: Duration::from_secs(20), ..Budget::of(&[machine]) }).run().await?;
    let mut busy = 0;
    for done in done {
        busy += u64::from(done.await?);
    }
    anyhow::ensure!(busy < 2 || ways < 2 || !watch.is_finished(), "{busy} clients were too many");
    Ok(())
}

#[test]
fn the_workload_shrinks_as_far_as_the_scenario_lets_it() {
    let campaign = Campaign::new(overworked);
    let shrunk = (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed fails");
    let least = [("clients", 2), ("operations", 7), ("seconds of faults", 1), ("ways", 2)]
        .map(|(name, least)| (name.to_owned(), least));
    assert_eq!(shrunk.plan.limits, least.into());
    assert_eq!(shrunk.limits["operations"], 1..=1000);
    let [pause] = &shrunk.plan.faults[..] else { panic!("{:?}", shrunk.plan.faults) };
    assert!(matches!(pause.what, Kind::Pause { .. }), "{pause}");
    assert!(
        matches!(pause.when, When::At(at) if at < Duration::from_millis(1)),
        "the pause can be at the start: {pause}"
    );
    assert_eq!(shrunk.stopped, None);
    let plan = Plan::from_json(&shrunk.plan.to_json()).expect("valid JSON of a plan");
    let settings = Settings { faults: Faults::Plan(plan), ..Settings::new(shrunk.outcome.seed) };
    let again = simulate(settings, &overworked);
    assert!(!again.passed() && again.digest == shrunk.outcome.digest);
}

#[test]
fn a_limit_that_does_not_fit_the_scenario_is_said_not_to() {
    let failure = |limits: &[(&str, u64)]| {
        let limits = limits.iter().map(|(name, limit)| ((*name).to_owned(), *limit)).collect();
        let settings =
            Settings { faults: Faults::Plan(Plan { limits, ..Plan::default() }), ..Settings::new(Seed(1)) };
        simulate(settings, &overworked).failure.map(|failure| failure.to_string()).unwrap_or_default()
    };
    assert_eq!(failure(&[("clients", 3), ("ways", 77)]), "", "limits are capped at the maximum");
    let text = failure(&[("cleints", 3)]);
    assert!(text.contains("limits \"cleints\"") && text.contains("clients, operations, seconds"), "{text}");
    let text = failure(&[("ways", 1)]);
    assert!(text.contains("limits \"ways\" to 1, and the scenario needs 2"), "{text}");
}

#[test]
fn a_search_ends_when_it_has_made_its_runs_whatever_the_jobs() {
    let shrunk = |jobs, runs| {
        let campaign = Campaign::new(fails_with_both_faults).jobs(jobs).explain_runs(runs);
        let shrunk = (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed fails");
        assert!(!shrunk.outcome.passed() && shrunk.runs <= runs + 2, "{} runs", shrunk.runs);
        assert_eq!(shrunk.stopped, (runs < 100).then_some(Stopped::OutOfRuns));
        (shrunk.plan, shrunk.runs, shrunk.failure_rates.len())
    };
    for runs in [1, 10, 25, 3_000] {
        assert_eq!(shrunk(1, runs), shrunk(5, runs));
    }
    assert!(shrunk(3, 10).0.faults.len() > shrunk(3, 3_000).0.faults.len());
}

#[test]
fn a_search_interrupted_later_returns_the_best_so_far() {
    let stop = Arc::new(AtomicBool::new(false));
    let campaign = Campaign::new(fails_with_both_faults).jobs(1).stop_when(stop.clone());
    let seed =
        (1..).map(Seed).find(|seed| campaign.shrink(*seed, |_| ()).is_some()).expect("some seed fails");
    let mut first = None;
    let shrunk = campaign.shrink(seed, |progress| {
        let first = *first.get_or_insert(progress.faults);
        stop.store(progress.faults < first, Ordering::Relaxed);
    });
    let shrunk = shrunk.expect("the seed fails");
    assert_eq!(shrunk.stopped, Some(Stopped::Interrupted));
    assert!((3..shrunk.faults_before).contains(&shrunk.plan.faults.len()), "{:?}", shrunk.plan.faults);
    assert!(!shrunk.outcome.passed());
}

#[test]
fn a_panic_elsewhere_is_another_failure() {
    // The same message at two source lines: the first with many clients, the second with few.
    let campaign = Campaign::new(async |sim: Sim| {
        let clients = sim.limit("clients", 1..=40);
        assert!(clients < 30, "too many clients");
        assert!(clients > 90, "too many clients");
        Ok(())
    });
    let shrunk = campaign.shrink(Seed(1), |_| ()).expect("the seed fails");
    assert_eq!(shrunk.plan.limits["clients"], 30);
    let failure = shrunk.outcome.failure.expect("the seed fails");
    assert!(matches!(failure.cause, Cause::Panic { .. }));
    let line = failure.panicked_at.expect("a panic location").rsplit_once(':').map(|(_, line)| line.parse());
    let line: usize = line.expect("a line").expect("a number");
    let source = include_str!("shrink.rs").lines().nth(line - 1).unwrap_or_default();
    assert!(source.contains("clients < 30"), "{source}");
}

#[test]
fn a_deadlock_of_others_is_another_failure() {
    let campaign = Campaign::new(async |sim: Sim| {
        let clients = sim.limit("clients", 1..=9);
        for _ in 0..clients {
            let name = if clients > 5 { "writer" } else { "reader" };
            sim.spawn(name, std::future::pending::<()>());
        }
        std::future::pending::<()>().await;
        Ok(())
    });
    let shrunk = campaign.shrink(Seed(1), |_| ()).expect("the seed fails");
    assert_eq!(shrunk.plan.limits["clients"], 6);
}
