//! A simulated cluster: one lease, one store, three gateways, four clients, and injected faults.
//!
//! For a minute of virtual time machines are partitioned, slowed down, paused, stopped, killed and powered off, and
//! clocks drift within the bound that gateways rely on. Then all faults are healed, and every client must make
//! progress. Meanwhile no two gateways may hold the lease. At the end the clients' history is checked for
//! linearizability.
//!
//! In odd seeds store and lease daemon keep their data on disks, which fail calls, are full and slow as well, and nothing
//! that was acknowledged may be lost. In even ones they keep it in memory: a restart of the store may lose every key, but
//! at one moment, and for good. A seed with disks takes two and a half times the processor time of one without.

mod client; // the workload
mod faults; // the budget, and the targeted faults
#[cfg(test)]
mod help; // the committed text of --help
mod observer; // what the scenario itself sees: lease holders, losses of the store
mod redis; // a Redis client

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use steelmill_core::{Clock as _, Result};

use crate::daemons::assemble;
use crate::settings::{Canary, Settings};
use crate::world::sim::history::History;
use crate::world::sim::{Machine, Sim, cli};
use client::{Client, ClientControl};
use observer::Observer;

/// The gateways' machines and addresses.
const GATEWAYS: [(&str, &str); 3] =
    [("gateway-1", "gateway-1:6379"), ("gateway-2", "gateway-2:6379"), ("gateway-3", "gateway-3:6379")];
const CLIENTS: [&str; 4] = ["client-1", "client-2", "client-3", "client-4"];

/// The time to live of the lease; also how long a restarted lease daemon waits.
const LEASE_TTL: Duration = Duration::from_secs(2);

/// The folder of store and lease daemon, and the pause before a process that ended because of its disk is started again.
const DATA: &str = "/var/lib/demo";
const RETRY: Duration = Duration::from_millis(200);

/// How long faults are injected, and what each seed must reach, or it proves little.
const FAULTS_DURATION: Duration = Duration::from_secs(60);
const COMPLETED_MIN: u64 = 100;
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

    /// Plant a bug, so that seeds must go red: break a rule of the daemons. The rules: cache (gateways do not answer after the lease
    /// has ended; the default), store-restart (no cache hides that the store lost its keys), lease-restart (a restarted
    /// lease daemon grants nothing that may be held), early-reply (what a reply shows is durable), directory-sync (a new
    /// file has a durable name)
    #[arg(long, help_heading = "Demo", value_name = "RULE", value_enum, hide_possible_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "cache")]
    canary: Option<Canary>,
}

pub fn main() -> ExitCode {
    let args = CommandLine::parse();
    let canary = args.canary;
    let (name, command) = match canary {
        None => ("demo cluster", "cargo xtask sim"),
        Some(Canary::Cache) => ("demo cluster, canary", "cargo xtask sim --canary"),
        Some(Canary::StoreRestart) => {
            ("demo cluster, canary store-restart", "cargo xtask sim --canary=store-restart")
        }
        Some(Canary::LeaseRestart) => {
            ("demo cluster, canary lease-restart", "cargo xtask sim --canary=lease-restart")
        }
        Some(Canary::EarlyReply) => {
            ("demo cluster, canary early-reply", "cargo xtask sim --canary=early-reply")
        }
        Some(Canary::DirectorySync) => {
            ("demo cluster, canary directory-sync", "cargo xtask sim --canary=directory-sync")
        }
    };
    cli::main(&args.campaign, name, command, move |sim| scenario(sim, canary))
}

async fn scenario(sim: Sim, canary: Option<Canary>) -> Result {
    let history = History::default();
    let cluster = Rc::new(Cluster::start(sim, canary, history.clone()).await?);
    tokio::select! {
        biased;
        outcome = cluster.observer.run(&cluster) => outcome,
        outcome = keep_up(&cluster, &cluster.lease), if cluster.has_disks => outcome,
        outcome = keep_up(&cluster, &cluster.store), if cluster.has_disks => outcome,
        outcome = workload(sim, &cluster, &history) => outcome,
    }
}

/// Starts a process again that ended because of its disk, for ever. It is left to a fault that has claimed it.
async fn keep_up(cluster: &Cluster, machine: &Machine) -> Result {
    cluster.sim.allow_failure(machine.name(), DATA);
    loop {
        cluster.sim.clock().sleep(RETRY).await;
        if let Some(_claim) = machine.claim().filter(|_| !machine.is_up()) {
            faults::restart(machine).await;
        }
    }
}

async fn workload(sim: Sim, cluster: &Rc<Cluster>, history: &History) -> Result {
    let completed = || cluster.control.completed.iter().map(Cell::get);
    let mut running = Vec::new();
    let clients = sim.limit("clients", 1..=CLIENTS.len() as u64) as usize;
    for (index, machine) in cluster.clients.iter().take(clients).enumerate() {
        let client = Client::new(sim, index, machine.clone(), history.clone(), cluster.control.clone());
        running.push(machine.spawn("client", client.run()));
    }

    let faults = faults::inject_faults(cluster).await?;
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
    // If a disk kept the cluster down for most of the time, its clients make up for it.
    while completed().sum::<u64>() < COMPLETED_MIN {
        let waited = sim.elapsed() - healed_at;
        let completed: u64 = completed().sum();
        ensure!(waited < RECOVERY_TIMEOUT, "only {completed} operations were completed");
        sim.clock().sleep(Duration::from_millis(100)).await;
    }
    // If the faults did not change the holder often enough, an operator restarts gateways until it has changed.
    while cluster.observer.holder_changes() < LEASE_CHANGES_MIN {
        ensure!(sim.elapsed() - healed_at < 2 * RECOVERY_TIMEOUT, "the lease does not change hands");
        for gateway in &cluster.gateways {
            faults::stop_cleanly(gateway).await?;
            sim.clock().sleep(Duration::from_secs(3)).await; // another gateway acquires the lease
            faults::restart(gateway).await;
        }
    }

    // What was acknowledged is there after a power loss in the middle of it all.
    if cluster.has_disks {
        for machine in [&cluster.store, &cluster.lease] {
            machine.power_loss();
            faults::restart(machine).await;
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

    let holder_changes = cluster.observer.holder_changes();
    let completed: u64 = completed().sum();
    sim.count("operations completed", completed);
    sim.count("operations of unknown outcome", history.open() as u64);
    sim.count("lease changes", holder_changes);
    history.check().into_result().map_err(|verdict| anyhow!("{verdict}"))?;
    let faults_min = FAULTS_MIN.min(faults.struck + faults.skipped);
    ensure!(faults.struck >= faults_min, "only {} faults struck", faults.struck);
    Ok(())
}

struct Cluster {
    sim: Sim,
    /// Whether store and lease daemon keep their data on disks.
    has_disks: bool,
    lease: Machine,
    store: Machine,
    gateways: Vec<Machine>,
    clients: Vec<Machine>,
    observer: Observer,
    control: Rc<ClientControl>,
}

impl Cluster {
    async fn start(sim: Sim, canary: Option<Canary>, history: History) -> Result<Self> {
        let address_of = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        let machine =
            |name, settings: Settings| sim.machine(name, move |factory| assemble(factory, settings.clone()));
        let has_disks = sim.seed().0 % 2 == 1;
        let single = |name: &'static str, address| Settings {
            daemons: vec![name.to_owned()],
            listen: [address_of(name, address)].into(),
            lease_ttl: LEASE_TTL,
            data: has_disks.then(|| DATA.into()),
            canary,
            ..Settings::default()
        };
        let lease = machine("lease", single("lease", "lease:6381")).start().await?;
        let observer = Observer::new(sim, history);
        let (starts, settings) = (observer.store_starts(), single("store", "store:6380"));
        let store = sim.machine("store", move |factory| {
            if !has_disks {
                starts();
            }
            assemble(factory, settings.clone())
        });
        let store = store.start().await?;
        let mut gateways = Vec::new();
        for (name, address) in GATEWAYS {
            let settings = Settings {
                daemons: vec!["gateway".to_owned()],
                listen: [address_of("gateway", address)].into(),
                connect: [address_of("lease", "lease:6381"), address_of("store", "store:6380")].into(),
                lease_ttl: LEASE_TTL,
                canary,
                ..Settings::default()
            };
            gateways.push(machine(name, settings).start().await?);
        }
        let clients = CLIENTS.iter().map(|name| sim.client(name)).collect();
        Ok(Self { sim, has_disks, lease, store, gateways, clients, observer, control: Rc::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ClientLimits;
    use crate::world::sim::{Campaign, Seed, check};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn the_history_is_linearizable() {
        Campaign::new(|sim| scenario(sim, None))
            .name("demo cluster")
            .seeds(20)
            .program("cargo xtask sim")
            .test_command("cargo test -p demo-app --no-default-features --features sim")
            .check();
    }

    /// A gateway with its store and lease in one process, whose clients have two seconds for a command.
    async fn single(sim: Sim) -> Result<Machine> {
        let settings = Settings {
            daemons: ["lease", "store", "gateway"].map(str::to_owned).to_vec(),
            listen: [("gateway".to_owned(), "server:6379".to_owned())].into(),
            clients: ClientLimits { command_timeout: Duration::from_secs(2), ..ClientLimits::default() },
            ..Settings::default()
        };
        let server =
            sim.machine("server", move |factory| assemble(factory, settings.clone())).start().await?;
        sim.clock().sleep(Duration::from_secs(1)).await; // it acquires the lease
        Ok(server)
    }

    #[test]
    fn a_client_that_sends_whole_commands_for_longer_than_one_may_take_is_not_cut_off() {
        check(Seed(1), |sim| async move {
            let _server = single(sim).await?;
            let mut stream = sim.client("client").network().connect("server:6379").await?;
            // Every read but the last ends in the middle of a command.
            stream.write_all(b"PI").await?;
            for _ in 0..50 {
                sim.clock().sleep(Duration::from_millis(200)).await;
                stream.write_all(b"NG\r\nPI").await?;
                let mut pong = [0; 7];
                stream.read_exact(&mut pong).await?;
                assert_eq!(&pong, b"+PONG\r\n", "after {:?}", sim.elapsed());
            }
            Ok(())
        });
    }

    #[test]
    fn a_command_that_does_not_end_is_cut_off_and_the_error_names_the_limit() {
        check(Seed(1), |sim| async move {
            let _server = single(sim).await?;
            let mut stream = sim.client("client").network().connect("server:6379").await?;
            let begun = sim.elapsed();
            stream.write_all(b"PI").await?;
            sim.clock().sleep(Duration::from_millis(1_500)).await;
            stream.write_all(b"N").await?;
            let mut error = String::new();
            stream.read_to_string(&mut error).await?;
            assert_eq!(error, "-ERR timeout: the rest of the command did not arrive within 2s\r\n");
            assert!(sim.elapsed() - begun < Duration::from_millis(2_100), "from its first byte");
            Ok(())
        });
    }

    /// The failure of the first red seed of a canary.
    fn failure_of(canary: Canary) -> String {
        let summary = Campaign::new(move |sim| scenario(sim, Some(canary))).seeds(200).failures_max(1).run();
        let failed = summary.failed.first().expect("a red seed within 200");
        failed.failure.as_ref().expect("it failed").to_string()
    }

    #[test]
    fn a_gateway_that_keeps_its_cache_is_caught() {
        let failure = failure_of(Canary::Cache);
        assert!(failure.contains("GET"), "the stale read is shown: {failure}");
    }

    #[test]
    fn a_store_that_is_restarted_behind_a_cache_is_caught() {
        let failure = failure_of(Canary::StoreRestart);
        assert!(failure.contains("LOSE") || failure.contains("GET"), "the hidden write is shown: {failure}");
    }

    #[test]
    fn a_reply_before_the_sync_is_caught() {
        let failure = failure_of(Canary::EarlyReply);
        let shown =
            ["not linearizable", "gateways hold the lease"].iter().any(|shown| failure.contains(shown));
        assert!(shown, "the read of what was lost, or a grant that was forgotten, is shown: {failure}");
    }

    #[test]
    fn a_name_that_is_not_synced_is_caught() {
        let failure = failure_of(Canary::DirectorySync);
        assert!(failure.contains("not linearizable"), "what was lost is shown: {failure}");
    }

    #[test]
    fn a_lease_daemon_that_forgets_a_holder_is_caught() {
        let failure = failure_of(Canary::LeaseRestart);
        assert!(failure.contains("gateways hold the lease"), "both holders are named: {failure}");
    }
}
