//! Small races between tasks of one machine, without network, time or faults: which schedule finds each in how few seeds.
//!
//! Each is a few steps of two or three tasks, of which a few orders are wrong. They are of the kinds that studies of concurrency bugs
//! name: a lost update, a check before an act, a flag and its value in the wrong order, a wakeup between check and wait, a
//! value that changes there and back, and a rare moment in a long task.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use steelmill_core::Result;
use steelmill_sim::{Campaign, Schedule, Seed, Sim};
use tokio::task::yield_now;

use super::rates::{geometric_mean, seeds_per_failure};

type Race = fn(Sim) -> Pin<Box<dyn Future<Output = Result>>>;

const RACES: [(&str, Race); 6] = [
    ("lost update", |sim| Box::pin(lost_update(sim))),
    ("check, then act", |sim| Box::pin(check_then_act(sim))),
    ("flag before value", |sim| Box::pin(flag_before_value(sim))),
    ("wakeup before wait", |sim| Box::pin(wakeup_before_wait(sim))),
    ("there and back", |sim| Box::pin(there_and_back(sim))),
    ("a moment in a long task", |sim| Box::pin(moment(sim))),
];

/// The schedules that are compared.
const SCHEDULES: [Schedule; 5] = [
    Schedule::Uniform,
    Schedule::Weighted,
    Schedule::Walk,
    Schedule::Pct { depth: 2 },
    Schedule::Pct { depth: 3 },
];

/// Prints a Markdown table of how many of a number of seeds find each race, by each schedule.
pub(crate) fn print(first: Seed, seeds: u64) -> ExitCode {
    let names = SCHEDULES.map(|schedule| schedule.to_string());
    println!("| red seeds of {seeds} | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(SCHEDULES.len()));
    let mut all = SCHEDULES.map(|_| Vec::new());
    for (name, race) in RACES {
        let red = SCHEDULES.map(|schedule| {
            let campaign = Campaign::new(race).schedule(schedule).first_seed(first).seeds(seeds);
            campaign.failures_max(usize::MAX).run().failed.len() as u64
        });
        println!("| {name} | {} |", red.map(|red| red.to_string()).join(" | "));
        all.iter_mut().zip(red).for_each(|(of_one, red)| of_one.push(seeds_per_failure(seeds, red)));
    }
    let means = all.map(|of_one| format!("{:.0}", geometric_mean(&of_one)));
    println!("| seeds per failure, geometric mean | {} |", means.join(" | "));
    ExitCode::SUCCESS
}

type Shared = Arc<AtomicU32>;

fn shared() -> Shared {
    Shared::default()
}

async fn steps(n: u32) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// Three tasks add one each: all of them read before any writes.
async fn lost_update(sim: Sim) -> Result {
    let total = shared();
    let adding = [0, 5, 10].map(|before| {
        let total = total.clone();
        sim.spawn("adds", async move {
            steps(before).await;
            let read = total.load(Relaxed);
            yield_now().await;
            total.store(read + 1, Relaxed);
            steps(20).await;
        })
    });
    for one in adding {
        one.await?;
    }
    anyhow::ensure!(total.load(Relaxed) > 1, "two updates are lost");
    Ok(())
}

/// A file is found, and gone when it is opened.
async fn check_then_act(sim: Sim) -> Result {
    let is_gone = shared();
    let removing = is_gone.clone();
    let remover = sim.spawn("removes", async move {
        steps(40).await;
        removing.store(1, Relaxed);
    });
    let opener = sim.spawn("opens", async move {
        steps(3).await;
        let is_found = is_gone.load(Relaxed) == 0;
        yield_now().await;
        is_found && is_gone.load(Relaxed) == 1
    });
    anyhow::ensure!(!opener.await?, "it is gone");
    remover.await?;
    Ok(())
}

/// A value is published by a flag that is set before it.
async fn flag_before_value(sim: Sim) -> Result {
    let (flag, value) = (shared(), shared());
    let (ready, written) = (flag.clone(), value.clone());
    let writer = sim.spawn("writes", async move {
        steps(5).await;
        ready.store(1, Relaxed);
        yield_now().await;
        written.store(1, Relaxed);
        steps(10).await;
    });
    let reader = sim.spawn("reads", async move {
        steps(30).await;
        flag.load(Relaxed) == 1 && value.load(Relaxed) == 0
    });
    anyhow::ensure!(!reader.await?, "the flag is set, and the value is not");
    writer.await?;
    Ok(())
}

/// Somebody checks whether there is work, and is about to wait for a wakeup when it comes.
async fn wakeup_before_wait(sim: Sim) -> Result {
    let (work, waiting) = (shared(), shared());
    let (queued, is_waiting) = (work.clone(), waiting.clone());
    let producer = sim.spawn("queues", async move {
        steps(4).await;
        queued.store(1, Relaxed);
        is_waiting.load(Relaxed) == 1
    });
    let consumer = sim.spawn("takes", async move {
        steps(25).await;
        if work.load(Relaxed) == 1 {
            return true;
        }
        yield_now().await;
        waiting.store(1, Relaxed);
        steps(25).await;
        false
    });
    let (woke, took) = (producer.await?, consumer.await?);
    anyhow::ensure!(woke || took, "the wakeup is lost");
    Ok(())
}

/// A value is read, changes there and back, and is taken for unchanged (ABA).
async fn there_and_back(sim: Sim) -> Result {
    let (value, changes) = (shared(), shared());
    let (changed, counted) = (value.clone(), changes.clone());
    let changer = sim.spawn("changes", async move {
        steps(10).await;
        for to in [1, 0] {
            changed.store(to, Relaxed);
            counted.fetch_add(1, Relaxed);
            yield_now().await;
        }
        steps(10).await;
    });
    let comparer = sim.spawn("compares", async move {
        steps(20).await;
        let before = (value.load(Relaxed), changes.load(Relaxed));
        steps(2).await;
        let after = (value.load(Relaxed), changes.load(Relaxed));
        before.0 == after.0 && before.1 != after.1
    });
    anyhow::ensure!(!comparer.await?, "it has changed meanwhile");
    changer.await?;
    Ok(())
}

/// A task of one step, between two certain steps of one of sixty.
async fn moment(sim: Sim) -> Result {
    let made = shared();
    let maker = made.clone();
    let making = sim.spawn("makes", async move { maker.store(1, Relaxed) });
    let observer = sim.spawn("observes", async move {
        steps(30).await;
        let before = made.load(Relaxed);
        yield_now().await;
        let after = made.load(Relaxed);
        steps(30).await;
        (before, after)
    });
    anyhow::ensure!(observer.await? != (0, 1), "just then");
    making.await?;
    Ok(())
}
