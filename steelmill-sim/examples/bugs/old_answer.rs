//! Old answer: a reply to an earlier question is taken for the reply to the current one.
//!
//! A client asks a directory for addresses, one datagram per question and per reply. After a timeout it asks again, so
//! that a question may be answered twice. Question and reply carry a number, by which the client ignores the reply to an
//! earlier question. Planted bug: it does not compare the number, and takes the second reply to a question that was late
//! once, or a duplicate, for the reply to the next.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rand::RngExt as _;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Machine, Network, Sim, UdpSocket};

use super::talk::{think, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "old-answer",
    missing_code: "the client does not check that a reply has the number of its question",
    needed: "one datagram late or duplicated",
    faults: &[DELAYS_OR_DUPLICATES_DATAGRAMS],
    may_help: DELAYS_OR_DUPLICATES_DATAGRAMS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const DELAYS_OR_DUPLICATES_DATAGRAMS: &[Family] = &[
    Family::Duplication,
    Family::Reordering,
    Family::Slow,
    Family::Tail,
    Family::Bandwidth,
    Family::Pause,
    Family::SlowMachine,
];

struct Directory {
    network: DaemonRef<Network>,
    socket: SetOnce<UdpSocket>,
}

impl Daemon for Directory {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, socket: SetOnce::new() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.socket.set(self.network.bind_udp("0.0.0.0:7000").await?)
    }

    /// Answers `question NUMBER NAME` with `answer NUMBER ADDRESS`.
    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let socket = self.socket.get()?;
        let mut datagram = [0; 100];
        while let Some(received) = scope.until_stopping(socket.recv_from(&mut datagram)).await {
            let (length, client) = received?;
            let (_, numbers) = words(str::from_utf8(&datagram[..length])?);
            if let [number, name] = numbers[..] {
                let answer = format!("answer {number} {}", address_of(name));
                socket.send_to(answer.as_bytes(), client).await?;
            }
        }
        Ok(())
    }
}

fn address_of(name: u64) -> u64 {
    1_000_000 + name
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let directory = sim.machine("directory", |factory| factory.with::<Directory>()).start().await?;
    let client = sim.client("client");
    let questions = sim.limit("questions", 1..=2000);
    let asking = client.spawn("questions", ask_all(client.clone(), version, questions));

    // The client counts its questions only in memory, and the directory keeps nothing: no end is of interest.
    let machines = [directory, client];
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    asking.await?
}

async fn ask_all(client: Machine, version: Version, questions: u64) -> Result {
    let socket = client.network().bind_udp("0.0.0.0:0").await?;
    for number in 1..=questions {
        think(&client, Duration::from_millis(40)).await;
        let name = client.entropy().rng().random_range(0..1000);
        let question = format!("question {number} {name}");
        let address = loop {
            // A name that cannot be looked up for now is as a datagram that is lost.
            let _ = socket.send_to(question.as_bytes(), "directory:7000").await;
            let answer = receive(&socket, number, version);
            if let Ok(address) = client.clock().timeout(Duration::from_millis(100), answer).await {
                break address?;
            }
        };
        ensure!(address == address_of(name), "the client takes {address} for the address of name {name}");
    }
    Ok(())
}

/// Receives the address in the answer to a question.
async fn receive(socket: &UdpSocket, question: u64, version: Version) -> Result<u64> {
    let mut datagram = [0; 100];
    loop {
        let length = socket.recv(&mut datagram).await?;
        if let [number, address] = words(str::from_utf8(&datagram[..length])?).1[..]
            && (number == question || version == Version::Planted)
        {
            return Ok(address);
        }
    }
}
