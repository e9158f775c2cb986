//! Random factories lead random lives, and the rules of the lifecycle are checked on what happened.
//!
//! ```text
//! cargo xtask sim --scenario lifecycle --seeds 20000
//! ```
//!
//! A seed draws a graph of daemons, with children and their children, whose `build`, `prepare`, `run`, `stop` and tasks
//! succeed, fail, panic, hang, dawdle and leak; starts it; and stops it, drops it, or ends its machine at some moment.
//! Every daemon writes down what it does, and `rules` compares that, and the factories' reports, with what always
//! holds.

mod part; // a daemon that does as its script says
mod plan; // what a seed draws: the factories, and what is done to them
mod rules; // what must hold of a trace
mod trace; // what happened

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use futures::future::join;
use steelmill_core::{Clock as _, Factory, Result, RunningFactory};
use steelmill_sim::{Machine, Sim, cli};

use part::{Closing, Life};
use plan::{Fate, Plan};
use trace::Happened;

/// Starts, stops and crashes random factories over many seeds, and checks the lifecycle rules.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask sim --scenario lifecycle",
    bin_name = "cargo xtask sim --scenario lifecycle",
    version
)]
struct CommandLine {
    #[command(flatten)]
    campaign: cli::Args,
}

#[cfg_attr(test, allow(dead_code, reason = "the test runs the scenario on its own"))]
fn main() -> ExitCode {
    let args = CommandLine::parse();
    cli::main(&args.campaign, "lifecycle", "cargo xtask sim --scenario lifecycle", scenario)
}

/// Longer than anything can take that keeps its deadlines.
const LONG: Duration = Duration::from_secs(300);

/// One seed.
pub(crate) async fn scenario(sim: Sim) -> Result {
    let before = sim.sizes();
    let plan = Plan::draw(&sim);
    let host = sim.client("host");
    let life = Arc::new(Life::new(sim, host.clock(), &plan));
    let _closing = Closing(&life);
    let lived = sim.clock().timeout(LONG, live(sim, &plan, &host, &life)).await;
    ensure!(lived.is_ok(), "it hangs; so far:\n{}", life.trace());

    // Whoever watches has to hear of it, and who comes too late has to come.
    sim.clock().sleep(Duration::from_secs(10)).await;
    life.let_go();
    let after = sim.sizes();
    ensure!(
        after == before,
        "not everything was given back: {before:?} before, {after:?} now;\n{}",
        life.trace()
    );
    let trace = life.take_trace();
    ensure!(Arc::strong_count(&life) == 1, "a daemon, a future or a factory was not dropped:\n{trace}");
    for (what, n) in
        rules::check(&plan, &trace).map_err(|broken| broken.context(format!("broken in:\n{trace}")))?
    {
        sim.count(what, n);
    }
    Ok(())
}

/// Starts the factory, and does to it what the plan says.
async fn live(sim: Sim, plan: &Plan, host: &Machine, life: &Arc<Life>) {
    let mut factory = Factory::root("root", host.world());
    factory.provide_value(life.clone()).expect("nothing asked for it before");
    life.assemble(&mut factory, &plan.root);
    let path: Arc<str> = factory.path().into();
    life.note_factory(&path, Happened::Starts { maker: None, escalates: false });

    if let Fate::StartDropped(after) = plan.fate {
        // The start's own task, so that the rollback goes on when nobody waits for it.
        let cut = sim.clock().timeout(after, factory.start()).await;
        match cut {
            Ok(Ok(root)) => end(plan, life, host, root).await,
            Ok(Err(error)) => life.note_factory(&path, Happened::DidNotStart(error.report().clone())),
            Err(_) => {
                life.note_factory(&path, Happened::StopAsked);
                sim.clock().sleep(LONG / 3).await;
            }
        }
        return;
    }
    if let Fate::Exit(after) | Fate::PowerLoss(after) = plan.fate {
        let (host, life, fate) = (host.clone(), life.clone(), plan.fate);
        sim.spawn("fate", async move {
            sim.clock().sleep(after).await;
            life.note_factory("root", Happened::MachineGone);
            match fate {
                Fate::Exit(_) => host.exit(),
                _ => host.power_loss(),
            }
        });
    }
    match factory.start().await {
        Ok(root) => end(plan, life, host, root).await,
        Err(error) => life.note_factory(&path, Happened::DidNotStart(error.report().clone())),
    }
}

/// Ends a factory that has started.
async fn end(plan: &Plan, life: &Arc<Life>, host: &Machine, root: RunningFactory) {
    life.watch(&root);
    let ended = root.ended();
    for child in &plan.children {
        // Made through the handle, by code that is no daemon's.
        let (root, life, child, clock) = (root.clone(), life.clone(), child.clone(), life.sim.clock());
        host.spawn("outsider", async move {
            clock.sleep(child.after).await;
            let factory = root.child(&child.factory.name);
            drop(root);
            life.raise(factory, child, None).await;
        });
    }
    let clock = life.sim.clock();
    let ask = || life.note_factory("root", Happened::StopAsked);
    match plan.fate {
        Fate::Stopped(after) => {
            clock.sleep(after).await;
            ask();
            drop(root.stop().await);
        }
        Fate::StoppedTwice(after) => {
            clock.sleep(after).await;
            ask();
            let (first, second) = join(root.clone().stop(), root.stop()).await;
            assert!(Arc::ptr_eq(&first, &second), "two stops, two reports");
        }
        Fate::StopDropped(after) => {
            clock.sleep(after).await;
            ask();
            drop(root.stop());
        }
        Fate::Dropped(after) => {
            clock.sleep(after).await;
            ask();
            drop(root);
        }
        Fate::JoinDropped(after) => {
            let _ = clock.timeout(after, root.join()).await;
            ask();
        }
        Fate::StartDropped(_) | Fate::Exit(_) | Fate::PowerLoss(_) | Fate::Left => {
            let _ = clock.timeout(Duration::from_secs(30), root.ended()).await;
            ask();
            drop(root.stop().await);
        }
    }
    ended.await;
}
