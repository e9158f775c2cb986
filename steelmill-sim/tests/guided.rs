//! Guided campaigns: they find what takes several rare steps, repeat, and their red runs replay without them.

use std::path::PathBuf;
use std::time::Duration;

use steelmill_core::{Result, assert_sometimes, assert_sometimes_at_least};
use steelmill_sim::fault::{Budget, Family, Faults};
use steelmill_sim::{Campaign, Outcome, Reseed, Seed, Settings, Sim, Summary, Verify, simulate};

/// The steps that it takes to fail, each with a chance of one in four.
const STEPS: u32 = 8;

async fn climb(sim: Sim) -> Result {
    let mut steps = 0;
    while steps < STEPS && sim.draw(4) == 0 {
        steps += 1;
        assert_sometimes_at_least!(steps, STEPS, "all steps");
        sim.clock().sleep(Duration::from_millis(1 + sim.draw(1000))).await;
    }
    anyhow::ensure!(steps < STEPS, "that was the last step");
    Ok(())
}

fn replay(failed: &Outcome) -> Outcome {
    let text = failed.redraws.to_string();
    let campaign = Campaign::new(climb).first_seed(failed.seed).seeds(1);
    let run = campaign.redraws(text.parse().expect("as it is printed")).run();
    run.failed.into_iter().next().expect("it fails alone, too")
}

#[test]
fn steps_that_no_plain_campaign_climbs_are_climbed_and_the_red_run_replays_alone() {
    let campaign = || Campaign::new(climb).first_seed(Seed(100)).seeds(1000);
    assert!(campaign().run().passed());
    let guided = campaign().jobs(1).guided().run();
    let failed = &guided.failed[0];
    assert!(!failed.redraws.is_empty() && guided.varied > 0, "{guided}");
    let again = replay(failed);
    assert_eq!((again.digest, &again.redraws), (failed.digest, &failed.redraws));
    let text = guided.to_string();
    let line = format!("\n  guided: {} of them were varied from others that had come far\n", guided.varied);
    assert!(text.contains(&line), "{text}");

    let parallel = campaign().jobs(4).guided().run();
    let sums = |summary: &Summary| (summary.seeds, summary.varied, summary.digest, summary.coverage.clone());
    assert_eq!(sums(&parallel), sums(&guided));
    let verified = campaign().guided().verify(Verify::Twice).run();
    assert_eq!(sums(&verified), sums(&guided), "each run repeats");
}

#[test]
fn a_varied_run_explains_itself_as_the_run_of_a_seed_does() {
    let campaign = Campaign::new(climb).first_seed(Seed(100)).seeds(1000).guided();
    let summary = campaign.run();
    let failed = &summary.failed[0];
    let campaign = Campaign::new(climb).redraws(failed.redraws.clone());
    let shrunk = campaign.shrink(failed.seed, |_| ()).expect("it fails");
    assert_eq!(shrunk.outcome.digest, failed.digest, "there is nothing to shrink");
    let rates = &shrunk.failure_rates;
    let [first, .., last] = &rates[..] else { panic!("{rates:?}") };
    assert_eq!((first.failed, last.failed), (0, last.runs), "it became certain step by step: {rates:?}");
}

struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("steelmill-guided-{name}-{}.json", std::process::id())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn what_was_learned_is_kept_for_the_next_campaign_and_a_red_run_stays_red() {
    let file = File::new("kept");
    let campaign = |first| Campaign::new(climb).name("climb").first_seed(Seed(first)).keep(&file.0).guided();
    let short = campaign(100).seeds(64).run();
    assert!(short.passed(), "{short}");
    let text = std::fs::read_to_string(&file.0).expect("it was written");
    assert!(text.contains("\"learned\": [\n  {\"scenario\":\"climb\",\"seed\":1"), "{text}");
    let second = campaign(5000).seeds(2000).run();
    let failed = &second.failed[0];
    assert!(!failed.redraws.is_empty(), "{second}");
    // The first of its runs are those learned, from the seeds of the first campaign.
    assert!(second.varied > 0);
    let kept = Campaign::new(climb).name("climb").seeds(1).keep(&file.0).run().kept.expect("a file");
    assert_eq!((kept.ran, kept.failed.len()), (1, 1));
    assert_eq!(kept.failed[0].1.digest, failed.digest);
}

/// Counts the faults of each half of the time, as they are planned.
async fn with_faults(sim: Sim) -> Result {
    let machines = [sim.client("a"), sim.client("b")];
    let families = vec![Family::Partition, Family::Pause, Family::Slow];
    sim.inject_faults(Budget { families, ..Budget::of(&machines) }).run().await?;
    assert_sometimes!(sim.draw(2) == 0, "heads");
    Ok(())
}

#[test]
fn a_redraw_leaves_what_comes_before_it_and_draws_later_faults_anew() {
    let run = |seed: Option<u64>| {
        let redraw = |seed| Reseed { at: Duration::from_secs(30), stream: None, seed };
        let reseeds = seed.map(redraw).into_iter().collect();
        let settings = Settings { reseeds, faults: Faults::Swarm, trace: true, ..Settings::new(Seed(3)) };
        simulate(settings, &with_faults)
    };
    let plain = run(None);
    let lines = |outcome: &Outcome| -> Vec<String> {
        let trace = outcome.trace.as_ref().expect("it was traced");
        let early = trace.lines().filter(|line| line.at < Duration::from_secs(30));
        early.filter(|line| line.what.contains("fault")).map(|line| line.what.to_string()).collect()
    };
    assert!(lines(&plain).len() > 3);
    let varied: Vec<Outcome> = (100..108).map(|seed| run(Some(seed))).collect();
    for (seed, outcome) in (100..).zip(&varied) {
        assert_eq!(outcome.redraws.to_string(), format!("30s={seed}"));
        assert_eq!(lines(outcome), lines(&plain), "{}", outcome.redraws);
        assert_ne!(outcome.faults, plain.faults, "{}", outcome.redraws);
        let again = run(Some(seed));
        assert_eq!((again.digest, &again.faults), (outcome.digest, &outcome.faults));
    }
    let same_number = |outcome: &&Outcome| {
        let number = |outcome: &Outcome| outcome.faults.as_ref().map_or(0, |plan| plan.faults.len());
        number(outcome) == number(&plain)
    };
    let moved = varied.iter().filter(same_number).count();
    assert!((1..8).contains(&moved), "some have the same faults at other times, some have others: {moved}");
}
