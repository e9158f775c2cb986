//! Model-based test of the lifecycle: random factories, checked against the rules of starting and stopping.
//!
//! ```text
//! cargo xtask sim --scenario lifecycle --seeds 20000
//! ```
//!
//! A seed draws a graph of daemons, with nested child factories, whose `build`, `prepare`, `run`, `stop` and tasks
//! succeed, fail, panic, hang, delay and leak. The scenario starts it, and stops it, drops it or ends its machine at a
//! random time. Every daemon records an event trace; `rules` checks that trace and the factories' reports.

mod part; // a daemon that executes a script
mod plan; // what a seed draws: factories, scripts and how each factory ends
mod rules; // invariants of a trace
#[cfg(test)]
mod tests;
mod trace; // recorded events

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use futures::FutureExt as _;
use futures::future::join;
use steelmill_core::{Clock as _, Factory, Result, RunningFactory};
use steelmill_sim::{Machine, Sim, cli};

use part::{CloseOnDrop, Harness};
use plan::{Command, FactoryEnd, Plan};
use trace::{EventKind, Maker};

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

fn main() -> ExitCode {
    let args = CommandLine::parse();
    cli::main(&args.campaign, "lifecycle", "cargo xtask sim --scenario lifecycle", scenario)
}

/// An upper bound on any run that keeps its deadlines.
const LONG: Duration = Duration::from_secs(300);

/// One seed.
pub(crate) async fn scenario(sim: Sim) -> Result {
    let before = sim.sizes();
    let plan = Plan::draw(&sim);
    let host = sim.client("host");
    // Its parts panic on purpose, when they are built and later.
    for machine in ["host", "scenario"] {
        sim.allow_failure(machine, "a scripted failure of build");
        sim.allow_failure(machine, "token ");
    }
    let harness = Arc::new(Harness::new(sim, host.clock(), &plan));
    let _close = CloseOnDrop(&harness);
    let finished = sim.clock().timeout(LONG, run_factory(sim, &plan, &host, &harness)).await;
    ensure!(finished.is_ok(), "the scenario hangs; trace so far:\n{}", harness.trace());

    // Lets watchers receive the reports, and tasks that would add a child too late be rejected.
    sim.clock().sleep(Duration::from_secs(10)).await;
    harness.drop_leaked();
    let after = sim.sizes();
    ensure!(after == before, "resources leaked: {before:?} before, {after:?} now;\n{}", harness.trace());
    harness.forget_health();
    let trace = harness.take_trace();
    ensure!(Arc::strong_count(&harness) == 1, "a daemon, a future or a factory is leaked:\n{trace}");
    for (what, n) in rules::check(&plan, &trace)
        .map_err(|violation| violation.context(format!("violated by this trace:\n{trace}")))?
    {
        sim.count(what, n);
    }
    Ok(())
}

/// Starts the root factory and ends it as planned.
async fn run_factory(sim: Sim, plan: &Plan, host: &Machine, harness: &Arc<Harness>) {
    let mut factory = Factory::root("root", host.world());
    factory.provide_value(harness.clone()).expect("nothing requested it before");
    let path: Arc<str> = factory.path().into();
    harness.assemble(&mut factory, &path, &plan.root);
    harness.note_factory(&path, EventKind::Starts { maker: Maker::Outside, escalates: false });

    if let FactoryEnd::StartDropped(after) = plan.end {
        // The rollback runs in a task of its own, so it continues after the start is dropped.
        let started = sim.clock().timeout(after, factory.start()).await;
        match started {
            Ok(Ok(root)) => end(plan, harness, host, root).await,
            Ok(Err(error)) => harness.note_factory(&path, EventKind::StartFailed(error.report().clone())),
            Err(_) => {
                harness.note_factory(&path, EventKind::StopRequested);
                sim.clock().sleep(LONG / 3).await;
            }
        }
        return;
    }
    if let FactoryEnd::Exit(after) | FactoryEnd::PowerLoss(after) = plan.end {
        let (host, harness, end) = (host.clone(), harness.clone(), plan.end);
        sim.spawn("fate", async move {
            sim.clock().sleep(after).await;
            harness.note_factory("root", EventKind::MachineEnded);
            match end {
                FactoryEnd::Exit(_) => host.exit(),
                _ => host.power_loss(),
            }
        });
    }
    match factory.start().await {
        Ok(root) => end(plan, harness, host, root).await,
        Err(error) => harness.note_factory(&path, EventKind::StartFailed(error.report().clone())),
    }
}

/// Creates the children and ends a factory that has started.
async fn end(plan: &Plan, harness: &Arc<Harness>, host: &Machine, root: RunningFactory) {
    harness.watch(&root, root.path().into());
    if plan.watches_health {
        harness.watch_health(&root);
    }
    let ended = root.ended();
    for child in &plan.children {
        // Created through the handle, outside of any daemon.
        let (root, harness, child, clock) =
            (root.clone(), harness.clone(), child.clone(), harness.sim.clock());
        host.spawn("outsider", async move {
            clock.sleep(child.after).await;
            let name = &child.factory.name;
            let (factory, twin) = (root.child(name), child.has_twin.then(|| root.child(name)));
            drop(root);
            harness.run_child(factory, twin.and_then(Result::ok), child, Maker::Outside).await;
        });
    }
    for (after, part, command) in plan.commands.clone() {
        let (root, harness, clock) = (root.clone(), harness.clone(), harness.sim.clock());
        host.spawn("operator", async move {
            clock.sleep(after).await;
            harness.note("root", Some(part), EventKind::Commanded);
            let daemon = format!("Part<{part}>");
            let commanded = match command {
                Command::Restart => root.restart_daemon(&daemon).boxed(),
                Command::Stop => root.stop_daemon(&daemon).boxed(),
            };
            drop(root);
            // Refused when the part was not built, or restarts already, and when the root stops.
            let _ = commanded.await;
        });
    }
    for (after, child, command) in plan.child_commands.clone() {
        let (root, harness, clock) = (root.clone(), harness.clone(), harness.sim.clock());
        host.spawn("operator", async move {
            clock.sleep(after).await;
            harness.note_factory("root", EventKind::ChildCommanded { child: child.clone(), command });
            let commanded = match command {
                Command::Restart => root.restart_child(&child).boxed(),
                Command::Stop => root.stop_child(&child).boxed(),
            };
            drop(root);
            if commanded.await.is_ok() && command == Command::Stop {
                harness.note_factory("root", EventKind::ChildStopped { child });
            }
        });
    }
    let clock = harness.sim.clock();
    let note_stop = || harness.note_factory("root", EventKind::StopRequested);
    match plan.end {
        FactoryEnd::Stopped(after) => {
            clock.sleep(after).await;
            note_stop();
            drop(root.stop().await);
        }
        FactoryEnd::StoppedTwice(after) => {
            clock.sleep(after).await;
            note_stop();
            let (first, second) = join(root.clone().stop(), root.stop()).await;
            assert!(Arc::ptr_eq(&first, &second), "two concurrent stops return different reports");
        }
        FactoryEnd::DrainCut(after, cut) => {
            clock.sleep(after).await;
            note_stop();
            root.request_stop();
            clock.sleep(cut).await;
            root.stop_at_once();
        }
        FactoryEnd::StopDropped(after) => {
            clock.sleep(after).await;
            note_stop();
            drop(root.stop());
        }
        FactoryEnd::Dropped(after) => {
            clock.sleep(after).await;
            note_stop();
            drop(root);
        }
        FactoryEnd::JoinDropped(after) => {
            let _ = clock.timeout(after, root.join()).await;
            note_stop();
        }
        FactoryEnd::StartDropped(_) | FactoryEnd::Exit(_) | FactoryEnd::PowerLoss(_) | FactoryEnd::Left => {
            let _ = clock.timeout(Duration::from_secs(30), root.ended()).await;
            note_stop();
            drop(root.stop().await);
        }
    }
    ended.await;
}
