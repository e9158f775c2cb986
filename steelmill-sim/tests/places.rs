//! Coverage points across seeds: `assert_sometimes!` and its kin and `buggify!`, in a run and in a campaign's summary.
//!
//! This crate forbids unsafe code: the macros must not expand to any.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::FutureExt as _;
use steelmill_core::coverage::{Amount, Kind};
use steelmill_core::{
    Backoff, Daemon, DaemonRef, Factory, Policy, Result, Scope, assert_always, assert_always_at_least,
    assert_always_at_most, assert_reachable, assert_sometimes, assert_sometimes_at_least,
    assert_sometimes_at_most, assert_unreachable, buggify,
};
use steelmill_sim::fault::{Budget, Family, Fault, Faults, Plan, When};
use steelmill_sim::{
    Campaign, Cause, Clock, CoveragePoint, Outcome, Seed, Settings, Sim, Stream, Summary, simulate,
};

/// The coverage of the one point with this message.
fn place<'a>(summary: &'a Summary, message: &str) -> &'a CoveragePoint {
    let mut found = summary.coverage.points().iter().filter(|place| place.message == message);
    let place = found.next().expect("a coverage point with this message");
    assert!(found.next().is_none(), "several points with message {message:?}");
    place
}

fn run<F: Future<Output = Result> + 'static>(seed: u64, scenario: impl Fn(Sim) -> F) -> Outcome {
    simulate(Settings { record: true, ..Settings::new(Seed(seed)) }, &scenario)
}

mod summary {
    //! Coverage in a campaign's summary.

    use super::*;

    #[test]
    fn a_place_that_was_never_hit_is_listed_and_one_that_was_is_not() {
        let summary = Campaign::new(|sim| async move {
            let drawn = sim.draw(10);
            for _ in 0..3 {
                assert_sometimes!(drawn == 0, "a nought");
                assert_sometimes!(drawn == 10, "a ten");
            }
            if drawn > 10 {
                assert_reachable!("beyond ten");
            }
            assert_always!(drawn < 10, "all are below ten");
            Ok(())
        })
        .seeds(100)
        .run();
        assert!(summary.passed());
        let table = summary.to_string();
        let line = |message: &str| table.lines().find(|line| line.contains(message)).map(str::trim);
        assert_eq!(line("a nought"), None, "{table}");
        assert_eq!(line("all are below ten"), None, "{table}");
        let ten = line("a ten").expect("the task is listed");
        assert!(ten.starts_with("steelmill-sim/tests/places.rs:"), "{ten}");
        assert!(ten.ends_with(": assert_sometimes! \"a ten\": executed 300 times, never true"), "{ten}");
        let beyond = line("beyond ten").expect("it is listed");
        assert!(beyond.ends_with(": assert_reachable! \"beyond ten\": never executed"), "{beyond}");

        let nought = place(&summary, "a nought");
        assert_eq!((nought.kind, nought.executed), (Kind::Sometimes, 300));
        assert_eq!(nought.module, "places::summary");
        let draws_nought = |seed: &u64| {
            let outcome = run(*seed, |sim| async move {
                sim.count("noughts", u64::from(sim.draw(10) == 0));
                Ok(())
            });
            outcome.counts["noughts"] == 1
        };
        assert_eq!(nought.first_hit, (1..=100).find(draws_nought).map(Seed));
        assert_eq!(nought.hit, 3 * (1..=100).filter(draws_nought).count() as u64);
    }

    #[test]
    fn the_same_message_in_two_places_is_two_places_and_a_generic_function_has_one() {
        fn generic<T: std::fmt::Debug>(value: T) {
            assert_sometimes!(format!("{value:?}") == "1", "a one");
        }
        let summary = Campaign::new(|_| async {
            assert_reachable!("twice");
            assert_reachable!("twice");
            generic(1);
            generic("one");
            Ok(())
        })
        .seeds(2)
        .run();
        let twice = summary.coverage.points().iter().filter(|place| place.message == "twice");
        assert_eq!(twice.map(|place| (place.executed, place.hit)).collect::<Vec<_>>(), [(2, 2), (2, 2)]);
        let one = place(&summary, "a one");
        assert_eq!((one.executed, one.hit), (4, 2));
    }

    #[test]
    fn a_function_that_nothing_calls_has_its_places_listed() {
        #[expect(dead_code, reason = "that is what is looked at")]
        fn forgotten<T>(_: T) {
            assert_reachable!("in a function that nothing calls");
        }
        let summary = Campaign::new(|_| async { Ok(()) }).seeds(1).run();
        let never = place(&summary, "in a function that nothing calls");
        assert_eq!((never.executed, never.first_hit), (0, None));
        assert!(!summary.to_string().contains("in a function"), "coverage is not listed for one seed");
    }

    #[test]
    fn points_on_other_threads_and_outside_of_runs_are_not_counted() {
        fn here() {
            assert_reachable!("wherever");
            assert_always!(false, "never looked at there");
        }
        here();
        let (ask, asked) = std::sync::mpsc::channel();
        #[expect(clippy::disallowed_methods, reason = "a foreign thread is under test")]
        let thread = std::thread::spawn(move || asked.recv().map(|()| here()));
        let summary = Campaign::new(|_| {
            ask.send(()).expect("it waits");
            async { Ok(()) }
        })
        .seeds(1)
        .run();
        thread.join().expect("it does not panic").expect("it was asked");
        assert!(summary.passed());
        assert_eq!(
            (place(&summary, "wherever").executed, place(&summary, "never looked at there").executed),
            (0, 0)
        );
    }
}

mod broken {
    //! Violated assertions.

    use super::*;

    /// Fails in every run, and is restarted.
    struct Counter {
        clock: DaemonRef<Clock>,
        count: AtomicU64,
    }

    impl Daemon for Counter {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Self { clock: factory.get()?, count: AtomicU64::new(0) })
        }

        async fn run(self: &Arc<Self>, _: &Scope) -> Result {
            self.clock.sleep(Duration::from_secs(2)).await;
            let count = self.count.fetch_add(3, Relaxed);
            assert_always!(count < 2, "the count is below two, not {}", count + 1);
            panic!("once more")
        }
    }

    #[test]
    fn a_violated_assertion_fails_the_run_despite_a_restart_policy() {
        let outcome = run(1, |sim| async move {
            let counting = sim.machine("counting", |factory| {
                factory.policy::<Counter>(Policy::restart(Backoff::default()));
                factory.with::<Counter>()
            });
            sim.allow_failure("counting", "once more");
            let _counting = counting.start().await?;
            sim.clock().sleep(Duration::from_secs(60)).await;
            Ok(())
        });
        let failure = outcome.failure.expect("the run fails");
        assert!((4.0..10.0).contains(&failure.at.as_secs_f64()), "not at the violation: {failure}");
        let Cause::Assertion { place, message, task: Some(task), .. } = &failure.cause else {
            panic!("another cause: {failure}");
        };
        assert_eq!((place.kind(), message.as_str()), (Kind::Always, "the count is below two, not 4"));
        assert_eq!(place.message(), "the count is below two, not {}");
        assert_eq!(task.machine, "counting");
        let owner = task.owner.as_ref().expect("a daemon's task");
        assert!(owner.daemon().is_some_and(|daemon| daemon.contains("Counter")), "{owner}");
        let text = failure.to_string();
        assert!(text.contains("assert_always! at steelmill-sim/tests/places.rs:"), "{text}");
        assert!(!text.contains("waits for"), "the task was running: {text}");
    }

    #[test]
    fn a_caught_panic_does_not_hide_the_violation_and_the_run_ends_there() {
        let outcome = run(1, |sim| async move {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                assert_unreachable!("number {} is not given out", 7);
                sim.count("went on", 1);
            }));
            anyhow::ensure!(caught.is_ok(), "this is not the first failure");
            Ok(())
        });
        let failure = outcome.failure.expect("the run fails").to_string();
        assert!(failure.contains(" was reached: number 7 is not given out"), "{failure}");
        assert!(outcome.counts.is_empty(), "{:?}", outcome.counts);
    }

    #[test]
    fn an_assertion_violated_in_a_destructor_during_a_panic_does_not_abort() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                assert_always!(false, "in a destructor");
            }
        }
        let outcome = run(1, |_| async {
            let _bad = Bad;
            let caught = async { panic!("the first") };
            let _ = AssertUnwindSafe(caught).catch_unwind().await;
            let _second = Bad;
            panic!("the second")
        });
        assert!(outcome.failure.expect("the run fails").to_string().contains("in a destructor"));
    }

    #[test]
    fn an_assertion_before_the_first_await_of_a_scenario_fails_the_run() {
        let outcome = run(1, |sim| {
            assert_always!(sim.seed() == Seed(2), "the seed is two");
            async { Ok(()) }
        });
        assert!(matches!(outcome.failure.expect("the run fails").cause, Cause::Assertion { task: None, .. }));
    }
}

mod bounds {
    //! Assertions about numbers: how far values go.

    use super::*;

    async fn climb(sim: Sim) -> Result {
        for _ in 0..10 {
            sim.clock().sleep(Duration::from_millis(sim.draw(100))).await;
            let height = sim.draw(1000);
            assert_always_at_most!(height, 1000, "the climber stays below the summit");
            assert_always_at_least!(height as i64 - 500, -500, "the climber stays above the ground");
            assert_sometimes_at_least!(sim.elapsed(), Duration::from_secs(10), "a long climb");
            assert_sometimes_at_most!(height, 2, "nearly on the ground");
        }
        Ok(())
    }

    #[test]
    fn a_campaign_remembers_the_extremes_and_their_seeds_whatever_its_jobs_and_shards() {
        let campaign = || Campaign::new(climb).seeds(60).failures_max(60);
        let whole = campaign().jobs(1).run();
        let furthest = |message| place(&whole, message).furthest.clone().expect("it was measured");
        let highest = furthest("the climber stays below the summit");
        let Amount::Number(height) = highest.value else { panic!("{highest:?}") };
        assert!((990..1000).contains(&height) && highest.limit == Amount::Number(1000), "{highest:?}");
        let alone = Campaign::new(climb).first_seed(highest.seed).seeds(1).run();
        assert_eq!(place(&alone, "the climber stays below the summit").furthest, Some(highest));
        let Amount::Number(lowest) = furthest("the climber stays above the ground").value else { panic!() };
        assert!((-500..-490).contains(&lowest));
        let Amount::Time(longest) = furthest("a long climb").value else { panic!() };
        assert!(longest < Duration::from_secs(1));
        let line = format!("executed 600 times, never true: highest {longest:?}, wanted 10s (seed ");
        assert!(whole.to_string().contains(&line), "{whole}");
        assert_eq!(campaign().jobs(3).run().coverage, whole.coverage);
        let shards = ["1/2", "2/2"].map(|shard| campaign().shard(shard.parse().expect("a shard")).run());
        let [mut merged, second] = shards.map(|shard| shard.coverage);
        merged.merge(&second);
        assert_eq!(merged, whole.coverage);
    }

    #[test]
    fn a_broken_bound_fails_the_run_there_and_names_value_limit_and_machine() {
        let outcome = run(1, |sim| async move {
            let node = sim.client("node");
            let clock = node.clock();
            let filling = node.spawn("filling", async move {
                for length in 1..10_usize {
                    clock.sleep(Duration::from_secs(1)).await;
                    assert_always_at_most!(length, 4, "queue {} has room", 7);
                }
            });
            filling.await?;
            Ok(())
        });
        let failure = outcome.failure.expect("the run fails");
        assert_eq!(failure.at, Duration::from_secs(5));
        let Cause::Assertion { place, message, task: Some(task), .. } = &failure.cause else {
            panic!("another cause: {failure}");
        };
        assert_eq!((place.kind(), message.as_str()), (Kind::AlwaysAtMost, "queue 7 has room: 5, at most 4"));
        assert_eq!((task.machine.as_str(), task.name), ("node", "filling"));
    }
}

mod digest {
    //! Coverage points do not affect the run.

    use super::*;

    #[test]
    fn a_hit_is_no_event() {
        let scenario = |looks: bool| {
            move |sim: Sim| async move {
                for round in 0..5 {
                    sim.clock().sleep(Duration::from_millis(sim.draw(10))).await;
                    if looks {
                        assert_sometimes!(round == 3, "the third round");
                        assert_always!(round < 5, "five rounds");
                        assert_always_at_most!(round, 4, "at most the fifth round");
                        let rare = buggify!();
                        anyhow::ensure!(!rare, "there is no trouble");
                    }
                }
                Ok(())
            }
        };
        let (with, without) = (run(3, scenario(true)), run(3, scenario(false)));
        assert!(with.passed());
        assert_eq!((with.digest, with.decisions), (without.digest, without.decisions));
    }
}

mod rare {
    //! Rare branches (`buggify!`).

    use super::*;

    /// Reaches two rare branches a thousand times each during fault injection, and again after it.
    async fn two_branches(sim: Sim) -> Result {
        let budget = Budget { families: vec![Family::Buggify], ..Budget::default() };
        let reach = |what: [&'static str; 2]| async move {
            for _ in 0..1000 {
                sim.clock().sleep(Duration::from_millis(50)).await;
                sim.count(what[0], u64::from(buggify!()));
                sim.count(what[1], u64::from(buggify!(0.01)));
            }
        };
        let during = sim.spawn("during", reach(["often", "seldom"]));
        sim.inject_faults(budget).run().await?;
        during.await?;
        reach(["afterwards", "afterwards"]).await;
        Ok(())
    }

    fn counts(outcome: &Outcome) -> [u64; 3] {
        ["often", "seldom", "afterwards"].map(|what| outcome.counts[what])
    }

    #[test]
    fn a_branch_is_active_in_three_of_eight_runs_at_its_rate_and_never_after_healing() {
        let (mut often, mut seldom) = (Vec::new(), Vec::new());
        for seed in 1..=200 {
            let [first, second, afterwards] = counts(&run(seed, two_branches));
            assert_eq!(afterwards, 0, "taken after healing");
            often.extend((first > 0).then_some(first));
            seldom.extend((second > 0).then_some(second));
        }
        for runs in [&often, &seldom] {
            assert!((50..100).contains(&runs.len()), "in {} runs of 200", runs.len());
        }
        assert!(often.iter().all(|times| (200..300).contains(times)), "{often:?}");
        assert!(seldom.iter().all(|times| (1..30).contains(times)), "{seldom:?}");
    }

    /// A seed in which only the first branch is active.
    fn seed_with_one() -> (u64, Outcome) {
        let runs = (1..).map(|seed| (seed, run(seed, two_branches)));
        let is_one = |outcome: &Outcome| {
            let active = outcome.faults.as_ref().map_or(0, |plan| plan.faults.len());
            active == 1 && counts(outcome)[0] > 0
        };
        runs.into_iter().find(|(_, run)| is_one(run)).expect("such a seed")
    }

    #[test]
    fn a_plan_lists_the_branches_and_gives_the_same_run_again() {
        let (seed, first) = seed_with_one();
        let plan = first.faults.clone().expect("the nemesis drew a plan");
        let [Fault { what, .. }] = &plan.faults[..] else { panic!("one active branch expected: {plan:?}") };
        assert!(what.to_string().starts_with("the rare branch places::rare#"), "{what}");
        assert!(what.to_string().contains(" may be taken, at steelmill-sim/tests/places.rs:"), "{what}");
        let plan = Plan::from_json(&plan.to_json()).expect("valid JSON of a plan");
        let again = |faults| simulate(Settings { faults, ..Settings::new(Seed(seed)) }, &two_branches);
        assert_eq!(again(Faults::Plan(plan.clone())).digest, first.digest);
        let settings =
            Settings { faults: Faults::Plan(plan.clone()), trace: true, ..Settings::new(Seed(seed)) };
        let traced = simulate(settings, &two_branches);
        let lines = traced.trace.as_ref().expect("tracing is on").lines();
        let taken =
            lines.filter(|line| line.what.ends_with("#2 is taken") || line.what.ends_with("#1 is taken"));
        assert_eq!(taken.count() as u64, counts(&first)[0]);
        assert_eq!(counts(&again(Faults::None)), [0, 0, 0]);
        assert_eq!(counts(&again(Faults::Plan(Plan::default()))), [0, 0, 0]);

        // A shorter fault takes the branch fewer times; one after the end of the run, never.
        let mut shorter = plan.clone();
        shorter.faults[0].lasts /= 4;
        let fewer = counts(&again(Faults::Plan(shorter)))[0];
        assert!((1..counts(&first)[0] / 2).contains(&fewer), "{fewer}");
        let mut late = plan;
        late.faults[0].when = When::At(Duration::from_secs(55));
        assert_eq!(counts(&again(Faults::Plan(late)))[0], 0);
    }

    #[test]
    fn draws_are_recorded_and_replayed_and_an_inactive_branch_makes_none() {
        let (seed, first) = seed_with_one();
        let is_rare = |stream: &Stream| matches!(stream, Stream::Buggify(_));
        let drawn = first.decisions.iter().filter(|drawn| is_rare(&drawn.stream)).count();
        assert_eq!(drawn, 1000, "one draw per evaluation of the active branch");
        let settings = |replay| Settings { replay: Some(replay), ..Settings::new(Seed(seed)) };
        let again = simulate(settings(first.decisions.clone()), &two_branches);
        assert_eq!((again.digest, counts(&again)), (first.digest, counts(&first)));
        let without = first.decisions.iter().filter(|drawn| !is_rare(&drawn.stream)).copied().collect();
        let without = simulate(settings(without), &two_branches);
        assert_eq!(counts(&without), [0, 0, 0], "not in the replay, not taken");
    }

    #[test]
    fn a_plan_with_an_unknown_branch_is_rejected_with_the_known_ones() {
        let json = r#"{"faults": [{"when": {"at": "0s"}, "lasts": "1s", "what": {"buggify": {"place": "places::rare#9"}}}]}"#;
        let faults = Faults::Plan(Plan::from_json(json).expect("a plan"));
        let outcome = simulate(Settings { faults, ..Settings::new(Seed(1)) }, &two_branches);
        let failure = outcome.failure.expect("the run fails").to_string();
        let expected = "there is no buggify! places::rare#9; those of this program: places::certain#1,";
        assert!(failure.contains(expected), "{failure}");
    }

    #[test]
    fn a_seed_that_takes_a_rare_branch_shrinks_to_it() {
        let campaign = Campaign::new(|sim| async move {
            let watch = sim.spawn("watch", async move {
                while !buggify!() {
                    sim.clock().sleep(Duration::from_millis(10)).await;
                }
            });
            let machine = sim.client("node");
            sim.inject_faults(Budget::of(&[machine, sim.client("other")])).run().await?;
            anyhow::ensure!(!watch.is_finished(), "the rare branch was taken");
            Ok(())
        });
        let shrunk = (1..)
            .map(Seed)
            .find_map(|seed| campaign.shrink(seed, |_| ()))
            .expect("some seed takes the branch");
        assert!(shrunk.faults_before > 1);
        let [fault] = &shrunk.plan.faults[..] else { panic!("one fault expected: {:?}", shrunk.plan) };
        assert!(fault.to_string().contains("the rare branch places::rare#3"), "{fault}");
    }
}

mod covering {
    //! `--until-covered`: runs until no new point is reached.

    use super::*;

    /// New points are reached by the 150th and the 300th seed.
    fn campaign(jobs: usize, seeds_max: u64) -> Summary {
        Campaign::new(|sim| async move {
            assert_sometimes!(sim.seed().0 >= 1150, "from the 150th seed on");
            assert_sometimes!(sim.seed().0 >= 1300, "from the 300th seed on");
            assert_sometimes!(sim.seed().0 > 1600, "beyond the 600th seed");
            Ok(())
        })
        .first_seed(Seed(1001))
        .jobs(jobs)
        .until_covered(seeds_max)
        .run()
    }

    #[test]
    fn a_campaign_ends_when_it_has_doubled_the_seeds_of_the_last_new_point() {
        let summary = campaign(1, u64::MAX);
        assert_eq!((summary.seeds, summary.requested), (600, 600));
        let text = summary.to_string();
        let why =
            "\n  covered: the last new coverage point was hit after 300 seed(s), none in the 300 since\n";
        assert!(text.contains(why), "{text}");
        assert!(text.contains("\"beyond the 600th seed\": executed 600 times, never true"), "{text}");
        let at_once = campaign(4, u64::MAX);
        assert_eq!(
            (at_once.digest, at_once.coverage),
            (summary.digest, summary.coverage),
            "independent of the number of jobs"
        );
    }

    #[test]
    fn without_any_point_a_campaign_ends_after_two_hundred_seeds() {
        let summary = Campaign::new(|_| async { Ok(()) }).until_covered(u64::MAX).run();
        assert_eq!(summary.seeds, 200);
        assert!(summary.to_string().contains("\n  covered: no coverage point was hit in 200 seed(s)\n"));
    }

    #[test]
    fn the_maximum_number_of_seeds_is_kept() {
        let summary = campaign(2, 320);
        assert_eq!((summary.seeds, summary.requested), (320, 320));
        let text = summary.to_string();
        let why = "\n  not yet covered: the last new coverage point was hit after 300 seed(s), none in the 20 since\n";
        assert!(text.contains(why), "{text}");
    }

    #[test]
    fn a_red_seed_ends_the_campaign() {
        let summary = Campaign::new(|sim| async move {
            anyhow::ensure!(sim.seed() != Seed(7), "seven");
            Ok(())
        })
        .jobs(1)
        .until_covered(u64::MAX)
        .run();
        assert_eq!((summary.seeds, summary.requested, summary.failed.len()), (7, 200, 1));
    }
}

mod certain {
    //! A branch with probability 1.

    use super::*;

    #[test]
    fn it_is_taken_only_while_active() {
        // Hygiene: a name that the macro might use.
        const PLACE: f64 = 1.0;
        let scenario = |sim: Sim| async move {
            let budget = Budget { families: vec![Family::Buggify], ..Budget::default() };
            sim.count("before", u64::from(buggify!(PLACE)));
            let during = sim.spawn("during", async move {
                for _ in 0..100 {
                    sim.clock().sleep(Duration::from_millis(50)).await;
                    sim.count("during", u64::from(buggify!(PLACE)));
                }
            });
            sim.inject_faults(budget).run().await?;
            during.await?;
            sim.count("afterwards", u64::from(buggify!(PLACE)));
            Ok(())
        };
        let none = simulate(Settings { faults: Faults::None, ..Settings::new(Seed(1)) }, &scenario);
        assert_eq!(none.counts.values().sum::<u64>(), 0, "{:?}", none.counts);
        let all: Vec<_> = (1..=100).map(|seed| run(seed, scenario).counts).collect();
        assert!(all.iter().all(|counts| counts["before"] + counts["afterwards"] == 0));
        let active = all.iter().filter(|counts| counts["during"] > 0).count();
        assert!((23..53).contains(&active), "in {active} runs of 100");
    }
}
