//! Unclean leader election: a broker that lacks acknowledged writes becomes the leader.
//!
//! Of two brokers one leads: a controller prefers the first, and chooses the other when it has not heard from the leader
//! for a while. The leader copies its log to the other broker before it acknowledges a write. While the other does not answer,
//! the leader goes on alone, but only after the controller has noted that the two are not in sync. Logs are durable.
//!
//! The controller must not make a broker the leader that is not in sync. Planted bug: it does not check that. To lose
//! acknowledged writes, first the other broker must be cut off, and then the leader must die or be cut off.
//!
//! Delays are shorter than the silence that the controller tolerates, so that one slow machine does not cause both.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Clock, Machine, Network, Sim};

use super::disk::Disk;
use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, DELAYS_TCP_OR_ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "unclean-leader",
    missing_code: "the controller does not check that a new leader is in sync with the old one",
    needed: "a broker cut off, and then the leader dead or cut off",
    faults: &[DELAYS_TCP_OR_ENDS, DELAYS_TCP_OR_ENDS],
    // Those that make the brokers differ.
    may_help: DELAYS_TCP_OR_ENDS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

/// The controller chooses another leader when it has not heard from the leader for so long.
const SILENCE_MAX: Duration = Duration::from_millis(500);

/// The broker that leads whenever it is in sync.
const PREFERRED: u64 = 1;

const REQUEST_TIMEOUT: Duration = Duration::from_millis(150);

struct Controller {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    leadership: Mutex<Leadership>,
}

#[derive(Clone, Copy, Default)]
struct Leadership {
    term: u64,
    /// The number of the broker that leads.
    leader: u64,
    /// When the leader was last heard from.
    heard: Option<Instant>,
    in_sync: bool,
    /// The number of the last change of `in_sync`: one that was overtaken by a later one has no effect.
    change: u64,
}

impl Daemon for Controller {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (version, clock) = (*factory.value()?, factory.get()?);
        let leadership = Mutex::new(Leadership { in_sync: true, ..Leadership::default() });
        Ok(Self { version, listener: Listener::build(factory)?, clock, leadership })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Controller {
    /// `beat BROKER`; `alone TERM CHANGE` and `together TERM CHANGE` from the leader.
    async fn answer(&self, request: &str) -> String {
        let now = self.clock.now();
        let mut state = self.leadership.lock().unwrap_or_else(PoisonError::into_inner);
        let (words, numbers) = words(request);
        match numbers[..] {
            [broker] => {
                let is_silent = state.heard.is_none_or(|heard| now - heard > SILENCE_MAX);
                let may_lead = state.in_sync || is_silent && self.version == Version::Planted;
                if broker == state.leader {
                    state.heard = Some(now);
                } else if may_lead && (is_silent || broker == PREFERRED) {
                    let term = state.term + 1;
                    *state = Leadership { term, leader: broker, heard: Some(now), in_sync: true, change: 0 };
                }
                format!("{} leads in term {}", state.leader, state.term)
            }
            [term, change] if term == state.term && change > state.change => {
                state.in_sync = words[0] == "together";
                state.change = change;
                "noted".to_owned()
            }
            _ => "refused".to_owned(),
        }
    }
}

struct Broker {
    number: u64,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    log: Disk<Log>,
    /// The leader and the term, as the controller last said.
    leader: Mutex<(u64, u64)>,
    /// Locked by the write in progress.
    peers: tokio::sync::Mutex<Peers>,
}

#[derive(Clone, Default)]
struct Log {
    /// The highest term of any leader so far.
    term: u64,
    writes: Vec<u64>,
    /// The term of the leader that has made or copied the last write.
    written_in: u64,
    /// The number of changes that the controller was told of.
    changes: u64,
}

struct Peers {
    controller: Client,
    other: Client,
    /// What the controller has noted last, and in which term: `alone` or `together`.
    noted: Option<(&'static str, u64)>,
}

impl Daemon for Broker {
    fn build(factory: &mut Factory) -> Result<Self> {
        let network: DaemonRef<Network> = factory.get()?;
        let number: u64 = *factory.value()?;
        let other = if number == 1 { "broker-2:7000" } else { "broker-1:7000" };
        let peers = Peers {
            controller: Client::new(*network, "controller:7000"),
            other: Client::new(*network, other),
            noted: None,
        };
        Ok(Self {
            number,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            network,
            log: Disk::of(factory)?,
            leader: Mutex::default(),
            peers: tokio::sync::Mutex::new(peers),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let beats = scope.until_stopping(self.beat_loop());
        let (answers, _) = tokio::join!(answers, beats);
        answers
    }
}

impl Answers for Broker {
    /// `write NUMBER` from a client, `copy TERM WRITES` from the leader.
    async fn answer(&self, request: &str) -> String {
        let (words, numbers) = words(request);
        match (words[0], &numbers[..]) {
            ("write", [number]) => self.write(*number).await.to_owned(),
            ("copy", [term, writes @ ..]) => self.replace_log(*term, writes).to_owned(),
            _ => "write what?".to_owned(),
        }
    }
}

impl Broker {
    async fn beat_loop(&self) {
        let mut controller = Client::new(*self.network, "controller:7000");
        loop {
            let beat = format!("beat {}", self.number);
            let answer = self.clock.timeout(2 * REQUEST_TIMEOUT, controller.ask(&beat)).await;
            if let Ok(Ok(answer)) = answer
                && let [leader, term] = words(&answer).1[..]
            {
                *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = (leader, term);
                let mut log = self.log.lock();
                log.term = log.term.max(term);
            }
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    async fn write(&self, write: u64) -> &'static str {
        let mut peers = self.peers.lock().await;
        let (leader, term) = *self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = {
            let mut log = self.log.lock();
            if leader != self.number || term != log.term {
                return "not the leader";
            }
            if !log.writes.contains(&write) {
                log.writes.push(write);
            }
            log.written_in = term;
            let writes: Vec<String> = log.writes.iter().map(u64::to_string).collect();
            format!("copy {term} {}", writes.join(" "))
        };
        let copied = self.clock.timeout(REQUEST_TIMEOUT, peers.other.ask(&copy)).await;
        let is_acknowledged = match copied {
            Ok(Ok(answer)) if answer == "refused" => return "not the leader",
            Ok(Ok(_)) => {
                self.is_noted(&mut peers, "together", term).await; // if not, it is repeated with the next write
                true
            }
            _ => self.is_noted(&mut peers, "alone", term).await,
        };
        if is_acknowledged { "written" } else { "not written" }
    }

    /// Tells the controller whether both brokers are in sync, if that has changed; false if it does not answer.
    async fn is_noted(&self, peers: &mut Peers, change: &'static str, term: u64) -> bool {
        if peers.noted != Some((change, term)) {
            peers.noted = None;
            let number = {
                let mut log = self.log.lock();
                log.changes += 1;
                log.changes
            };
            let request = format!("{change} {term} {number}");
            let answer = self.clock.timeout(REQUEST_TIMEOUT, peers.controller.ask(&request)).await;
            if matches!(answer, Ok(Ok(answer)) if answer == "noted") {
                peers.noted = Some((change, term));
            }
        }
        peers.noted.is_some()
    }

    fn replace_log(&self, term: u64, writes: &[u64]) -> &'static str {
        let mut log = self.log.lock();
        let is_overtaken = term == log.written_in && writes.len() < log.writes.len();
        if is_overtaken || term < log.term {
            return "refused";
        }
        (log.term, log.written_in) = (term, term);
        log.writes = writes.to_vec();
        "copied"
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let controller = sim.machine("controller", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Controller>()
    });
    let controller = controller.start().await?;
    let logs = [Disk::<Log>::default(), Disk::default()];
    let broker = async |number: u64, name, log: &Disk<Log>| {
        let log = log.clone();
        let setup = move |factory: &mut Factory| {
            factory.provide_value(number)?;
            factory.provide_value(log.clone())?;
            factory.with::<Broker>()
        };
        sim.machine(name, setup).start().await
    };
    let brokers = vec![broker(1, "broker-1", &logs[0]).await?, broker(2, "broker-2", &logs[1]).await?];
    let writer = sim.client("writer");
    let written = Rc::new(RefCell::new(Vec::new()));
    let writing =
        writer.spawn("writes", write_all(writer.clone(), sim.limit("writes", 1..=300), written.clone()));

    // What the controller has noted is only in its memory, so its machine must not end.
    let links = [&[controller.clone(), writer][..], &brokers].concat();
    let budget = Budget {
        links,
        ends: brokers.clone(),
        pauses: brokers,
        delay_max: Duration::from_millis(50),
        fault_max: Duration::from_secs(20),
        ..Budget::default()
    };
    sim.inject_faults(budget).run().await?;
    writing.await?;

    let controller = controller.get::<Controller>()?;
    let leader = controller.leadership.lock().unwrap_or_else(PoisonError::into_inner).leader;
    let log = logs[leader as usize - 1].lock();
    for write in written.take() {
        ensure!(log.writes.contains(&write), "the leader lacks write {write}, which was acknowledged");
    }
    Ok(())
}

/// Writes these numbers, each until the leader acknowledges it.
async fn write_all(writer: Machine, writes: u64, written: Rc<RefCell<Vec<u64>>>) {
    let mut brokers = ["broker-1:7000", "broker-2:7000"].map(|broker| Client::new(writer.network(), broker));
    for write in 1..=writes {
        think(&writer, Duration::from_millis(400)).await;
        let request = format!("write {write}");
        loop {
            let answer = brokers[0].ask_within(Duration::from_secs(1), &writer, &request).await;
            if answer.is_ok_and(|answer| answer == "written") {
                written.borrow_mut().push(write);
                break;
            }
            brokers.swap(0, 1);
            think(&writer, Duration::from_millis(100)).await;
        }
    }
}
