//! The demo as a simulated cluster: one lease, one store, three gateways, four clients, and injected faults.
//!
//! For a minute of virtual time machines are cut off, slowed down, paused, stopped, killed and powered off, and clocks
//! drift within the bound the gateways count on. Then everything is healed, and the clients must get on. At the end
//! what every client asked and was told is checked: one correct store must have been able to tell them all that.

mod client; // who asks
mod faults; // what happens to the cluster
#[cfg(test)]
mod help; // the committed text of --help
mod redis; // the clients' protocol

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use steelmill_core::{Clock as _, DaemonRef, Result};

use crate::daemons::assemble;
use crate::lease::Lease;
use crate::settings::Settings;
use crate::world::sim::history::History;
use crate::world::sim::{Machine, Sim, cli};
use client::{Client, Demand};

/// The gateways' machines, and where clients find them.
const GATEWAYS: [(&str, &str); 3] =
    [("gateway-1", "gateway-1:6379"), ("gateway-2", "gateway-2:6379"), ("gateway-3", "gateway-3:6379")];
const CLIENTS: [&str; 4] = ["client-1", "client-2", "client-3", "client-4"];

/// What every seed must have been through, or it proves little.
const TROUBLE: Duration = Duration::from_secs(60);
const COMPLETED_MIN: u64 = 400;
const LEASE_CHANGES_MIN: u64 = 2;
const FAULTS_MIN: u64 = 3;

/// How long each client may take to get on once everything is healed, and how far it must get.
const QUIET: Duration = Duration::from_secs(30);
const PROGRESS: u64 = 10;

/// Simulates the demo's cluster under faults over many seeds, and checks that replies to clients are linearizable.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim", version)]
struct CommandLine {
    #[command(flatten)]
    campaign: cli::Args,

    /// Plant a bug: gateways keep answering from the cache after they lose the lease, so seeds must go red
    #[arg(long, help_heading = "Demo")]
    canary: bool,
}

/// What `main` does in the sim.
pub fn main() -> ExitCode {
    let args = CommandLine::parse();
    let canary = args.canary;
    let (name, command) = match canary {
        true => ("demo cluster, canary", "cargo xtask sim --canary"),
        false => ("demo cluster", "cargo xtask sim"),
    };
    cli::main(&args.campaign, name, command, move |sim| scenario(sim, canary))
}

async fn scenario(sim: Sim, canary: bool) -> Result {
    let cluster = Rc::new(Cluster::start(sim, canary).await?);
    let history = History::default();
    let completed = || cluster.demand.completed.iter().map(Cell::get);
    let mut running = Vec::new();
    let clients = sim.limit("clients", 1..=CLIENTS.len() as u64) as usize;
    for (index, machine) in cluster.clients.iter().take(clients).enumerate() {
        let client = Client::new(sim, index, machine.clone(), history.clone(), cluster.demand.clone());
        running.push(machine.spawn("client", client.run()));
    }

    let faults = faults::inject_faults(&cluster).await?;
    let before: Vec<u64> = completed().collect();
    let behind = || {
        let progress = completed().zip(&before).map(|(completed, before)| completed - before);
        CLIENTS.iter().take(clients).zip(progress).find(|(_, progress)| *progress < PROGRESS)
    };
    let healed = sim.elapsed();
    while let Some((client, progress)) = behind() {
        let waited = sim.elapsed() - healed;
        ensure!(
            waited < QUIET,
            "{client} completed {progress} operations in {waited:?} although all is healed"
        );
        sim.clock().sleep(Duration::from_millis(100)).await;
    }
    // However little went wrong: an operator restarts whoever holds the lease until it has changed hands.
    while cluster.lease_daemon.changes() < LEASE_CHANGES_MIN {
        ensure!(sim.elapsed() - healed < 2 * QUIET, "the lease does not change hands");
        for gateway in &cluster.gateways {
            faults::stop_in_order(gateway).await?;
            sim.clock().sleep(Duration::from_secs(3)).await; // for another to take it
            gateway.restart().await?;
        }
    }

    cluster.demand.finish.set(true);
    for task in running {
        sim.clock()
            .timeout(QUIET, task)
            .await
            .context("a client does not end")?
            .map_err(|error| anyhow!("a client failed: {error}"))?;
    }
    for gateway in &cluster.gateways {
        faults::stop_in_order(gateway).await?;
    }

    let changes = cluster.lease_daemon.changes();
    let completed: u64 = completed().sum();
    sim.count("operations completed", completed);
    sim.count("operations of unknown outcome", history.open() as u64);
    sim.count("lease changes", changes);
    sim.count("faults", faults.struck);
    sim.count("faults skipped", faults.skipped);
    history.check().into_result().map_err(|verdict| anyhow!("{verdict}"))?;
    ensure!(completed >= COMPLETED_MIN, "only {} operations were completed", completed);
    let faults_min = FAULTS_MIN.min(faults.struck + faults.skipped);
    ensure!(faults.struck >= faults_min, "only {} faults struck", faults.struck);
    Ok(())
}

/// The machines.
struct Cluster {
    sim: Sim,
    lease: Machine,
    store: Machine,
    gateways: Vec<Machine>,
    clients: Vec<Machine>,
    /// The lease daemon itself: nothing ends it, so it can be asked what it has done.
    lease_daemon: DaemonRef<Lease>,
    demand: Rc<Demand>,
}

impl Cluster {
    /// Makes and starts them all.
    async fn start(sim: Sim, canary: bool) -> Result<Self> {
        let place = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        let machine =
            |name, settings: Settings| sim.machine(name, move |factory| assemble(factory, settings.clone()));
        let single = |name: &'static str, address| Settings {
            daemons: vec![name.to_owned()],
            listen: [place(name, address)].into(),
            ..Settings::default()
        };
        let lease = machine("lease", single("lease", "lease:6381")).start().await?;
        let store = machine("store", single("store", "store:6380")).start().await?;
        let mut gateways = Vec::new();
        for (name, address) in GATEWAYS {
            let settings = Settings {
                daemons: vec!["gateway".to_owned()],
                listen: [place("gateway", address)].into(),
                connect: [place("lease", "lease:6381"), place("store", "store:6380")].into(),
                lease_ttl: Duration::from_secs(2),
                canary,
                ..Settings::default()
            };
            gateways.push(machine(name, settings).start().await?);
        }
        let lease_daemon = lease.get::<Lease>()?;
        let clients = CLIENTS.iter().map(|name| sim.client(name)).collect();
        Ok(Self { sim, lease, store, gateways, clients, lease_daemon, demand: Rc::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::sim::Campaign;

    #[test]
    fn no_client_is_told_anything_wrong() {
        Campaign::new(|sim| scenario(sim, false))
            .name("demo cluster")
            .seeds(20)
            .program("cargo xtask sim")
            .test_command("cargo test -p demo-app --no-default-features --features sim")
            .check();
    }

    #[test]
    fn a_gateway_that_keeps_its_cache_is_caught() {
        let summary = Campaign::new(|sim| scenario(sim, true)).seeds(200).run();
        let failed = summary.failed.first().expect("a stale read within 200 seeds");
        let failure = failed.failure.as_ref().expect("it failed").to_string();
        assert!(failure.contains("GET"), "the stale read is shown: {failure}");
    }
}
