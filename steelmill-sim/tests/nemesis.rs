//! The nemesis: fault plans that are drawn, saved, loaded and replayed; budgets; moments; and healing at the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::{
    Budget, DiskCall, DiskTrouble, Family, Fault, FaultCounts, Faults, Kind, Moment, Plan, Segment, When,
};
use steelmill_sim::{Campaign, Clock, Machine, Network, Outcome, Seed, Settings, Sim, check, simulate};

const SECOND: Duration = Duration::from_secs(1);

/// Sends datagrams to its neighbours, and periodically creates a child.
struct Node {
    network: DaemonRef<Network>,
    clock: DaemonRef<Clock>,
}

impl Daemon for Node {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, clock: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let socket = self.network.bind_udp("0.0.0.0:9").await?;
        while scope.until_stopping(self.clock.sleep(SECOND)).await.is_some() {
            for node in ["node-1:9", "node-2:9", "node-3:9"] {
                // It fails if the name cannot be looked up for now.
                let _ = socket.send_to(b"alive", node).await;
            }
            // A node that is stopping makes no child any more.
            if let Ok(lease) = scope.child("lease") {
                lease.start().await?.stop().await;
            }
        }
        Ok(())
    }
}

async fn nodes(sim: Sim) -> Result<Vec<Machine>> {
    let mut nodes = Vec::new();
    for name in ["node-1", "node-2", "node-3"] {
        nodes.push(sim.machine(name, |factory| factory.with::<Node>()).start().await?);
    }
    Ok(nodes)
}

/// Three nodes with fault injection for a minute, after which everything must be healed.
async fn scenario(sim: Sim) -> Result {
    let nodes = nodes(sim).await?;
    let FaultCounts { struck: faults, skipped } = sim.inject_faults(Budget::of(&nodes)).run().await?;
    sim.count("faults", faults);
    sim.count("passed by", skipped);
    assert_eq!(sim.elapsed(), 60 * SECOND);
    all_is_well(sim, &nodes)
}

fn all_is_well(sim: Sim, nodes: &[Machine]) -> Result {
    let wall = sim.clock().wall();
    for node in nodes {
        anyhow::ensure!(
            node.is_up() && !node.is_paused() && node.claim().is_some(),
            "{node:?} is not healed"
        );
        // Healing stops the drift, but the offset stays: 200 ppm for a minute.
        let difference = node.clock().wall().duration_since(wall).unwrap_or_else(|behind| behind.duration());
        anyhow::ensure!(difference < SECOND / 10, "the clock of {node:?} is off by {difference:?}");
    }
    anyhow::ensure!(sim.sizes().link_rules == 0, "links are not healed");
    Ok(())
}

fn run(seed: u64, faults: Faults) -> Outcome {
    simulate(Settings { faults, ..Settings::new(Seed(seed)) }, &scenario)
}

fn at(seconds: u32, lasts: u32, what: Kind) -> Fault {
    Fault { when: When::At(seconds * SECOND), lasts: lasts * SECOND, what }
}

fn machine(number: u32) -> String {
    format!("node-{number}")
}

#[test]
fn a_swarm_is_healed_at_the_end() {
    let summary = Campaign::new(scenario).seeds(200).run();
    assert!(summary.passed(), "{summary}\n{:?}", summary.failed);
    assert!(summary.counts["faults"].minimum >= 1 && summary.counts["faults"].total > 2_000, "{summary}");
}

#[test]
fn a_plan_that_was_written_and_read_repeats_the_run() {
    for seed in 1..20 {
        let drawn = run(seed, Faults::Swarm);
        let plan = drawn.faults.clone().expect("the nemesis drew a plan");
        let read = Plan::from_json(&plan.to_json()).expect("valid JSON of a plan");
        assert_eq!(read, plan);
        assert_eq!(run(seed, Faults::Plan(read)).digest, drawn.digest, "seed {seed}");
        assert_ne!(run(seed, Faults::None).digest, drawn.digest, "seed {seed}");
    }
}

#[test]
fn seeds_differ_in_which_families_strike() {
    let of = |seed| {
        let plan = run(seed, Faults::Swarm).faults.expect("the nemesis drew a plan");
        plan.faults.iter().map(|fault| std::mem::discriminant(&fault.what)).collect::<Vec<_>>()
    };
    let mut shares = Vec::new();
    for seed in 0..40 {
        let mut kinds = of(seed);
        kinds.dedup();
        let mut distinct = Vec::new();
        for kind in kinds {
            if !distinct.contains(&kind) {
                distinct.push(kind);
            }
        }
        shares.push(distinct.len());
    }
    let mean = shares.iter().sum::<usize>() as f64 / shares.len() as f64;
    assert!(
        (14.5..17.5).contains(&mean),
        "about three quarters of 20 families and a half of one, not {mean}: {shares:?}"
    );
    assert!(shares.iter().collect::<BTreeSet<_>>().len() > 3, "{shares:?}");
}

#[test]
fn a_swarm_strikes_at_every_moment_of_a_machines_life() {
    let mut moments = BTreeSet::new();
    let (mut tied, mut all) = (0, 0);
    for seed in 0..40 {
        for fault in run(seed, Faults::Swarm).faults.expect("the nemesis drew a plan").faults {
            all += 1;
            if let When::On { moment, .. } = fault.when {
                tied += 1;
                moments.insert(moment);
            }
        }
    }
    assert_eq!(moments.len(), 6, "{moments:?}");
    assert!((all / 5..all / 2).contains(&tied), "about a third of {all}, not {tied}");
}

#[test]
fn every_kind_of_fault_strikes_and_heals() {
    let between = [machine(1), machine(2)];
    let millis = Duration::from_millis;
    let kinds = [
        Kind::Partition { between: between.clone() },
        Kind::PartitionOneWay { from: machine(1), to: machine(3) },
        Kind::Isolation { machine: machine(3) },
        Kind::Slow { between: between.clone(), delay_min: millis(1), delay_max: millis(30) },
        Kind::Latency { from: machine(1), to: machine(2), by: millis(30) },
        Kind::Tail { between: between.clone(), ppm: 10_000, delay_max: millis(300) },
        Kind::Loss { between: between.clone(), ppm: 100_000 },
        Kind::Duplication { between: between.clone(), ppm: 100_000 },
        Kind::Reordering { between: between.clone(), ppm: 100_000 },
        Kind::Bandwidth { between: between.clone(), bytes_per_second: 1000.try_into().expect("not zero") },
        Kind::Torn { between: between.clone(), ppm: 500_000 },
        Kind::LostSegment { from: machine(1), to: machine(2), segment: Segment::Syn, nth: 1 },
        Kind::Lookups { machine: machine(1), delay_max: millis(300), failing_ppm: 100_000 },
        Kind::Reset { between },
        Kind::Exit { machine: machine(1) },
        Kind::PowerLoss { machine: machine(2) },
        Kind::Pause { machine: machine(3) },
        Kind::RestartStorm { machine: machine(1), times: 4 },
        Kind::ClockOffset { machine: machine(1), by: 30 * SECOND, behind: true },
        Kind::ClockJump { machine: machine(2), by: 30 * SECOND, back: false },
        Kind::Drift { machine: machine(3), ppm: -200 },
        Kind::SlowMachine { machine: machine(3), delay_max: millis(40) },
        Kind::Disk { machine: machine(1), trouble: DiskTrouble::Errors { of: DiskCall::Sync, ppm: 500_000 } },
        Kind::Disk { machine: machine(1), trouble: DiskTrouble::Full },
        Kind::Disk { machine: machine(2), trouble: DiskTrouble::Slow { delay_max: millis(40) } },
        Kind::Disk { machine: machine(2), trouble: DiskTrouble::Short { ppm: 500_000 } },
    ];
    assert_eq!(
        kinds.len(),
        Family::ALL.len() - 7,
        "all families except the scenario's own faults and buggify!, of which it has none, and corruption, suspension and change of address, which its \
         budget does not allow"
    );
    let quiet = run(1, Faults::None).digest;
    for kind in &kinds {
        let alone = Plan { faults: vec![at(5, 5, kind.clone())], ..Plan::default() };
        let outcome = run(1, Faults::Plan(alone.clone()));
        assert!(outcome.passed(), "{kind}: {:?}", outcome.failure);
        assert_eq!((outcome.counts["faults"], outcome.counts["passed by"]), (1, 0), "{kind}");
        assert_ne!(outcome.digest, quiet, "{kind}");
        assert_eq!(outcome.digest, run(1, Faults::Plan(alone)).digest, "{kind}");
    }
    // One after the other; the end of fault injection shortens the last one.
    let faults = kinds.iter().enumerate().map(|(place, kind)| at(1 + 3 * place as u32, 10, kind.clone()));
    let outcome = run(2, Faults::Plan(Plan { faults: faults.collect(), ..Plan::default() }));
    assert!(outcome.passed(), "{:?}", outcome.failure);
}

#[test]
fn no_more_machines_are_down_than_the_budget_says() {
    let faults = vec![
        at(1, 10, Kind::Exit { machine: machine(1) }),
        at(2, 10, Kind::Pause { machine: machine(2) }),
        at(3, 10, Kind::PowerLoss { machine: machine(1) }),
        at(15, 1, Kind::Pause { machine: machine(2) }),
    ];
    for (down_max, faults_expected) in [(0, 0), (1, 2), (2, 3)] {
        let faults = Faults::Plan(Plan { faults: faults.clone(), ..Plan::default() });
        let settings = Settings { faults, ..Settings::new(Seed(1)) };
        let outcome = simulate(settings, &move |sim: Sim| async move {
            let nodes = nodes(sim).await?;
            let budget = Budget { down_max, ..Budget::of(&nodes) };
            let struck = sim.inject_faults(budget).run().await?;
            assert_eq!(struck.struck, faults_expected, "with {down_max} at once");
            assert_eq!(struck.skipped, 4 - faults_expected);
            all_is_well(sim, &nodes)
        });
        assert!(outcome.passed(), "{:?}", outcome.failure);
    }
}

#[test]
fn a_machine_that_the_scenario_claims_is_left_alone() {
    let plan = Plan { faults: vec![at(1, 1, Kind::Exit { machine: machine(1) })], ..Plan::default() };
    let settings = Settings { faults: Faults::Plan(plan), ..Settings::new(Seed(1)) };
    let outcome = simulate(settings, &|sim: Sim| async move {
        let nodes = nodes(sim).await?;
        let claim = nodes[0].claim().expect("unclaimed");
        assert!(nodes[0].claim().is_none());
        let struck = sim.inject_faults(Budget::of(&nodes)).run().await?;
        assert_eq!(struck, FaultCounts { struck: 0, skipped: 1 });
        drop(claim);
        Ok(())
    });
    assert!(outcome.passed(), "{:?}", outcome.failure);
}

#[test]
fn faults_strike_at_moments_of_a_machines_life() {
    let on = |moment, nth, after| When::On { machine: machine(1), moment, nth, after };
    let pause = Kind::Pause { machine: machine(2) };
    for (when, expected) in [
        // A child is created and stopped once a second, from the first second on.
        (on(Moment::ChildStarted, 3, Duration::ZERO), 3 * SECOND),
        (on(Moment::ChildStopped, 4, SECOND / 10), 4 * SECOND + SECOND / 10),
        (on(Moment::Restarting, 1, Duration::ZERO), 12 * SECOND),
        (on(Moment::Preparing, 1, SECOND), 13 * SECOND),
        (on(Moment::Stopping, 1, Duration::ZERO), 20 * SECOND),
    ] {
        let faults = vec![
            Fault { when: when.clone(), lasts: SECOND / 2, what: pause.clone() },
            at(10, 2, Kind::Exit { machine: machine(1) }),
        ];
        let settings = Settings {
            faults: Faults::Plan(Plan { faults, ..Plan::default() }),
            trace: true,
            ..Settings::new(Seed(1))
        };
        let outcome = simulate(settings, &|sim: Sim| async move {
            let nodes = nodes(sim).await?;
            let node = nodes[0].clone();
            sim.spawn("operator", async move {
                node.clock().sleep(20 * SECOND).await;
                node.stop().await.map(drop)
            });
            let budget = Budget { lasts: 30 * SECOND, down_max: 2, ..Budget::of(&nodes) };
            assert_eq!(sim.inject_faults(budget).run().await?.struck, 2);
            Ok(())
        });
        assert!(outcome.passed(), "{when}: {:?}", outcome.failure);
        let paused = outcome.trace.expect("tracing is on");
        let paused =
            paused.lines().find(|line| line.what.contains("node-2 is paused")).expect("node-2 was paused");
        assert_eq!(paused.at, expected, "{when}");
    }
}

#[test]
fn a_fault_strikes_while_a_message_is_in_flight() {
    let when = When::On { machine: "a".into(), moment: Moment::Sending, nth: 3, after: Duration::ZERO };
    let pause = Fault { when, lasts: SECOND / 2, what: Kind::Pause { machine: "b".into() } };
    let plan = Plan { faults: vec![pause], ..Plan::default() };
    let settings = Settings { faults: Faults::Plan(plan), trace: true, ..Settings::new(Seed(1)) };
    let outcome = simulate(settings, &|sim: Sim| async move {
        let [a, b] = ["a", "b"].map(|name| sim.machine(name, |_| Ok(())));
        let (a, b) = (a.start().await?, b.start().await?);
        let inbox = b.network().bind_udp("0.0.0.0:9").await?;
        let (clock, socket) = (a.clock(), a.network().bind_udp("0.0.0.0:0").await?);
        a.spawn("sender", async move {
            loop {
                clock.sleep(SECOND).await;
                let _ = socket.send_to(b"x", "b:9").await;
            }
        });
        let budget = Budget { lasts: 10 * SECOND, ..Budget::of(&[a, b]) };
        assert_eq!(sim.inject_faults(budget).run().await?, FaultCounts { struck: 1, skipped: 0 });
        drop(inbox);
        Ok(())
    });
    assert!(outcome.passed(), "{:?}", outcome.failure);
    let trace = outcome.trace.expect("tracing is on");
    let paused = trace.lines().find(|line| line.what.contains("b is paused")).expect("it was paused");
    assert_eq!(paused.at, 3 * SECOND, "when the third datagram is sent");
}

struct Namesake;

impl Daemon for Namesake {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Namesake)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let child = scope.child("node-1")?.start().await?;
        scope.stopping().await;
        child.stop().await;
        Ok(())
    }
}

#[test]
fn a_child_with_the_name_of_its_machine_is_distinct() {
    // One prepare of the machine, one start of its child.
    for (moment, nth, faults) in [
        (Moment::Preparing, 1, 1),
        (Moment::Preparing, 2, 0),
        (Moment::ChildStarted, 1, 1),
        (Moment::ChildStarted, 2, 0),
    ] {
        let when = When::On { machine: machine(1), moment, nth, after: Duration::ZERO };
        let pause = Fault { when, lasts: SECOND, what: Kind::Pause { machine: machine(2) } };
        let plan = Plan { faults: vec![pause], ..Plan::default() };
        let settings = Settings { faults: Faults::Plan(plan), ..Settings::new(Seed(1)) };
        let outcome = simulate(settings, &move |sim: Sim| async move {
            sim.root(|_| Ok(())).await?;
            let late = sim.machine("node-1", |factory| factory.with::<Namesake>());
            let other = sim.machine("node-2", |_| Ok(())).start().await?;
            let start = sim.spawn("start", async move {
                sim.clock().sleep(SECOND).await;
                late.start().await
            });
            let budget = Budget { lasts: 5 * SECOND, ..Budget::of(&[other]) };
            let struck = sim.inject_faults(budget).run().await?;
            start.await??;
            assert_eq!(struck.struck, faults, "{moment}, {nth}");
            Ok(())
        });
        assert!(outcome.passed(), "{:?}", outcome.failure);
    }
}

#[test]
fn a_plans_times_count_from_the_beginning_of_the_run() {
    let plan = Plan { faults: vec![at(5, 1, Kind::Pause { machine: machine(2) })], ..Plan::default() };
    let settings = Settings { faults: Faults::Plan(plan), trace: true, ..Settings::new(Seed(1)) };
    let outcome = simulate(settings, &|sim: Sim| async move {
        let nodes = nodes(sim).await?;
        sim.clock().sleep(3 * SECOND).await;
        sim.inject_faults(Budget { lasts: 10 * SECOND, ..Budget::of(&nodes) }).run().await.map(drop)
    });
    assert!(outcome.passed(), "{:?}", outcome.failure);
    let paused = outcome.trace.expect("tracing is on");
    let paused =
        paused.lines().find(|line| line.what.contains("node-2 is paused")).expect("node-2 was paused");
    assert_eq!((paused.at, outcome.simulated), (5 * SECOND, 13 * SECOND));
}

#[test]
fn a_scenarios_own_faults_are_in_the_plan_and_are_undone() {
    struct Undo<'a>(&'a std::cell::Cell<u32>);
    impl Drop for Undo<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let scenario = |sim: Sim| async move {
        let (begun, going_on) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let trouble = sim.inject_faults(Budget::default()).own("quake", 1..=5, |number| {
            begun.set(begun.get() + 1);
            going_on.set(going_on.get() + 1);
            let undo = Undo(&going_on);
            async move {
                sim.clock().sleep(Duration::from_secs(number % 100)).await;
                drop(undo);
                Ok(())
            }
        });
        let struck = trouble.run().await?;
        assert_eq!((struck.struck, struck.skipped, going_on.get()), (begun.get(), 0, 0));
        assert!((1..=5).contains(&begun.get()));
        Ok(())
    };
    for seed in 1..10 {
        let drawn = simulate(Settings::new(Seed(seed)), &scenario);
        assert!(drawn.passed(), "{:?}", drawn.failure);
        let plan = drawn.faults.expect("the nemesis drew a plan");
        assert!(
            plan.faults.iter().all(|fault| matches!(&fault.what, Kind::Own { name, .. } if name == "quake"))
        );
        let again = simulate(Settings { faults: Faults::Plan(plan), ..Settings::new(Seed(seed)) }, &scenario);
        assert_eq!(again.digest, drawn.digest);
    }
}

#[test]
fn a_plan_that_does_not_fit_is_refused_with_the_reason() {
    let not = |when: When, lasts, what| Fault { when, lasts, what };
    let soon = When::At(SECOND);
    for (fault, expected) in [
        (
            at(1, 1, Kind::Exit { machine: "store".into() }),
            "store may not be ended; the budget allows: node-1, node-2",
        ),
        (
            at(1, 1, Kind::RestartStorm { machine: machine(1), times: 3_000_000_000 }),
            "3000000000 restarts are not from 1 to 1000",
        ),
        (at(1, 1, Kind::RestartStorm { machine: machine(1), times: 0 }), "0 restarts are not from 1 to 1000"),
        (at(1, 99, Kind::Pause { machine: machine(1) }), "it lasts longer than 10s"),
        (at(1, 1, Kind::Drift { machine: machine(1), ppm: 9000 }), "a drift of 9000 ppm exceeds 200"),
        (at(1, 1, Kind::Partition { between: [machine(1), machine(1)] }), "node-1 has no link to itself"),
        (
            at(1, 1, Kind::Own { name: "quake".into(), number: 0 }),
            "has no fault \"quake\" of its own, only: lapse",
        ),
        (
            not(
                When::On { machine: "nobody".into(), moment: Moment::Stopping, nth: 1, after: SECOND },
                SECOND,
                Kind::Pause { machine: machine(1) },
            ),
            "no machine is called \"nobody\"",
        ),
        (
            not(
                When::On { machine: machine(1), moment: Moment::Stopping, nth: 0, after: SECOND },
                SECOND,
                Kind::Pause { machine: machine(1) },
            ),
            "1 is the first",
        ),
        (
            not(
                soon.clone(),
                SECOND,
                Kind::LostSegment { from: machine(1), to: machine(2), segment: Segment::Fin, nth: 0 },
            ),
            "`nth` is 0, and 1 is the first",
        ),
        (
            at(1, 1, Kind::CorruptStreams { between: [machine(1), machine(2)], ppm: 5 }),
            "node-1 may not have corrupt streams; the budget allows: no machine",
        ),
        (
            not(soon, SECOND, Kind::Loss { between: [machine(1), machine(2)], ppm: 2_000_000 }),
            "a rate of 2000000 exceeds 1000000 ppm",
        ),
    ] {
        let settings = Settings {
            faults: Faults::Plan(Plan { faults: vec![fault], ..Plan::default() }),
            ..Settings::new(Seed(1))
        };
        let outcome = simulate(settings, &|sim: Sim| async move {
            let nodes = nodes(sim).await?;
            sim.inject_faults(Budget::of(&nodes))
                .own("lapse", 1..=1, |_| async { Ok(()) })
                .run()
                .await
                .map(drop)
        });
        let failure = outcome.failure.expect("it does not fit").to_string();
        assert!(failure.contains("fault 0 of the plan") && failure.contains(expected), "{failure}");
    }
}

#[test]
fn a_fault_tied_to_the_end_of_the_trouble_leaves_no_waiter() {
    check(Seed(1), |sim| async move {
        let nodes = nodes(sim).await?;
        let before = sim.sizes().timers;
        sim.inject_faults(Budget { lasts: 20 * SECOND, ..Budget::of(&nodes) }).run().await?;
        sim.clock().sleep(SECOND).await;
        assert!(sim.sizes().timers <= before + 6, "{before} {:?}", sim.sizes());
        Ok(())
    });
}

#[test]
fn a_minority_may_stay_broken_down_in_some_seeds_cut_off_or_slow_in_others() {
    static UP: std::sync::Mutex<BTreeSet<usize>> = std::sync::Mutex::new(BTreeSet::new());
    Campaign::new(|sim| async move {
        let nodes = nodes(sim).await?;
        let (_, broken) = sim.inject_faults(Budget::of(&nodes)).run_leaving_broken(1).await?;
        assert_eq!(broken.machines().count(), 1);
        let up = nodes.iter().filter(|node| node.is_up()).count();
        UP.lock().expect("not poisoned").insert(up);
        broken.heal().await?;
        anyhow::ensure!(nodes.iter().all(Machine::is_up), "all are healed");
        Ok(())
    })
    .seeds(40)
    .check();
    assert_eq!(*UP.lock().expect("not poisoned"), BTreeSet::from([2, 3]));
}
