//! A simulated cluster: one lease, one store, three gateways, four clients, and injected faults.
//!
//! For a minute of virtual time machines are partitioned, slowed down, paused, stopped, killed and powered off, and
//! clocks drift within the bound that gateways rely on. Then all faults are healed, and every client must make
//! progress. At the end the clients' history is checked for linearizability.

mod client; // the workload
mod faults; // the budget, and two targeted faults
#[cfg(test)]
mod help; // the committed text of --help
mod redis; // a Redis client

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
use client::{Client, ClientControl};

/// The gateways' machines and addresses.
const GATEWAYS: [(&str, &str); 3] =
    [("gateway-1", "gateway-1:6379"), ("gateway-2", "gateway-2:6379"), ("gateway-3", "gateway-3:6379")];
const CLIENTS: [&str; 4] = ["client-1", "client-2", "client-3", "client-4"];

/// How long faults are injected, and what each seed must reach, or it proves little.
const FAULTS_DURATION: Duration = Duration::from_secs(60);
const COMPLETED_MIN: u64 = 400;
const LEASE_CHANGES_MIN: u64 = 2;
const FAULTS_MIN: u64 = 3;

/// The timeout of each client's recovery after all faults are healed, and the operations it must complete.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);
const PROGRESS_MIN: u64 = 10;

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
    let completed = || cluster.control.completed.iter().map(Cell::get);
    let mut running = Vec::new();
    let clients = sim.limit("clients", 1..=CLIENTS.len() as u64) as usize;
    for (index, machine) in cluster.clients.iter().take(clients).enumerate() {
        let client = Client::new(sim, index, machine.clone(), history.clone(), cluster.control.clone());
        running.push(machine.spawn("client", client.run()));
    }

    let faults = faults::inject_faults(&cluster).await?;
    let before: Vec<u64> = completed().collect();
    let lagging_client = || {
        let progress = completed().zip(&before).map(|(completed, before)| completed - before);
        CLIENTS.iter().take(clients).zip(progress).find(|(_, progress)| *progress < PROGRESS_MIN)
    };
    let healed_at = sim.elapsed();
    while let Some((client, progress)) = lagging_client() {
        let waited = sim.elapsed() - healed_at;
        ensure!(
            waited < RECOVERY_TIMEOUT,
            "{client} completed only {progress} operations in {waited:?} after all faults were healed"
        );
        sim.clock().sleep(Duration::from_millis(100)).await;
    }
    // If the faults did not change the holder often enough, an operator restarts gateways until it has changed.
    while cluster.lease_daemon.holder_changes() < LEASE_CHANGES_MIN {
        ensure!(sim.elapsed() - healed_at < 2 * RECOVERY_TIMEOUT, "the lease does not change hands");
        for gateway in &cluster.gateways {
            faults::stop_cleanly(gateway).await?;
            sim.clock().sleep(Duration::from_secs(3)).await; // another gateway acquires the lease
            gateway.restart().await?;
        }
    }

    cluster.control.finish.set(true);
    for task in running {
        sim.clock()
            .timeout(RECOVERY_TIMEOUT, task)
            .await
            .context("a client does not finish")?
            .map_err(|error| anyhow!("a client failed: {error}"))?;
    }
    for gateway in &cluster.gateways {
        faults::stop_cleanly(gateway).await?;
    }

    let holder_changes = cluster.lease_daemon.holder_changes();
    let completed: u64 = completed().sum();
    sim.count("operations completed", completed);
    sim.count("operations of unknown outcome", history.open() as u64);
    sim.count("lease changes", holder_changes);
    history.check().into_result().map_err(|verdict| anyhow!("{verdict}"))?;
    ensure!(completed >= COMPLETED_MIN, "only {} operations were completed", completed);
    let faults_min = FAULTS_MIN.min(faults.struck + faults.skipped);
    ensure!(faults.struck >= faults_min, "only {} faults struck", faults.struck);
    Ok(())
}

struct Cluster {
    sim: Sim,
    lease: Machine,
    store: Machine,
    gateways: Vec<Machine>,
    clients: Vec<Machine>,
    /// The lease daemon itself, for its count of holder changes: no fault ends it.
    lease_daemon: DaemonRef<Lease>,
    control: Rc<ClientControl>,
}

impl Cluster {
    async fn start(sim: Sim, canary: bool) -> Result<Self> {
        let address_of = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        let machine =
            |name, settings: Settings| sim.machine(name, move |factory| assemble(factory, settings.clone()));
        let single = |name: &'static str, address| Settings {
            daemons: vec![name.to_owned()],
            listen: [address_of(name, address)].into(),
            ..Settings::default()
        };
        let lease = machine("lease", single("lease", "lease:6381")).start().await?;
        let store = machine("store", single("store", "store:6380")).start().await?;
        let mut gateways = Vec::new();
        for (name, address) in GATEWAYS {
            let settings = Settings {
                daemons: vec!["gateway".to_owned()],
                listen: [address_of("gateway", address)].into(),
                connect: [address_of("lease", "lease:6381"), address_of("store", "store:6380")].into(),
                lease_ttl: Duration::from_secs(2),
                canary,
                ..Settings::default()
            };
            gateways.push(machine(name, settings).start().await?);
        }
        let lease_daemon = lease.get::<Lease>()?;
        let clients = CLIENTS.iter().map(|name| sim.client(name)).collect();
        Ok(Self { sim, lease, store, gateways, clients, lease_daemon, control: Rc::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::sim::Campaign;

    #[test]
    fn the_history_is_linearizable() {
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
