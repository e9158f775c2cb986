//! The service and three clients, on machines of their own, while the network and the machines have faults.
//!
//! Each test is a campaign over a hundred seeds. `STEELMILL_SEEDS=10000` tries more of them, `STEELMILL_SEED=7` shows the log of
//! one, `STEELMILL_EXPLAIN=red` explains a red one in the folder `red`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use steelmill_core::{Clock as _, Result};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Campaign, Machine, Sim, SimWorld, TcpStream};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use {{crate_name}}::{Listen, Server, Tally};

const REQUESTS: u64 = 20;

#[test]
fn every_request_counts_once_whatever_the_network_does() {
    Campaign::new(every_request_counts_once).seeds(100).check();
}

async fn every_request_counts_once(sim: Sim) -> Result {
    let server = sim.machine("server", |factory| {
        factory.provide_value(Listen("0.0.0.0:7000".to_owned()))?;
        factory.with::<Server<SimWorld>>()
    });
    let server = server.start().await?;
    let clients = ["anna", "bert", "cleo"].map(|name| sim.client(name));
    let running = clients.each_ref().map(|client| client.spawn("client", add(client.clone())));

    // The tally is in memory only: the server may be out of reach, but it may not end.
    let mut machines = clients.to_vec();
    machines.push(server.clone());
    let lasts = Duration::from_secs(30);
    let budget = Budget { lasts, links: machines.clone(), pauses: machines, ..Budget::default() };
    sim.inject_faults(budget).run().await?;

    // Everything is healed: now each client must come to its end.
    for client in running {
        let ended = sim.clock().timeout(Duration::from_secs(60), client).await;
        ended.context("a client does not finish, although all faults are healed")???;
    }
    let total = server.get::<Tally>()?.total();
    let asked = REQUESTS * clients.len() as u64;
    ensure!(total == asked, "{asked} were added, and the total is {total}");
    let life = server.stop().await?;
    ensure!(life.is_success(), "{life}");
    Ok(())
}

/// Adds one, again and again, and repeats what was not answered.
async fn add(client: Machine) -> Result {
    let clock = client.clock();
    let mut connection = None;
    for number in 1..=REQUESTS {
        let request = format!("add {} {number} 1\n", client.name());
        let answer = loop {
            match clock.timeout(Duration::from_secs(1), ask(&client, &mut connection, &request)).await {
                Ok(Ok(answer)) => break answer,
                Ok(Err(_)) | Err(_) => connection = None,
            }
            clock.sleep(Duration::from_millis(200)).await;
        };
        let total: u64 = answer.trim_end().parse().with_context(|| format!("the answer is {answer:?}"))?;
        ensure!(total >= number, "{number} of one client were added, and the total is {total}");
        clock.sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn ask(
    client: &Machine,
    connection: &mut Option<BufReader<TcpStream>>,
    request: &str,
) -> Result<String> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(BufReader::new(client.network().connect("server:7000").await?)),
    };
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    ensure!(answer.ends_with('\n'), "the server closed the connection");
    Ok(answer)
}
