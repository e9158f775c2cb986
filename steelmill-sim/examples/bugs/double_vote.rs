//! Double vote: a voter forgets across a restart whom it has voted for.
//!
//! Every second two candidates stand for election in a new term. Each votes for itself, and leads with the vote of a
//! third machine. That voter grants its vote of a term to the first candidate that asks for it, and a candidate repeats
//! its request until it is answered. Votes must be durable. Planted bug: the voter keeps them in memory, and after a
//! restart it grants a second vote in a term.
//!
//! Both candidates ask at the same time. So a restart brings about a second vote only if it is between their requests, or
//! if one is delayed, too. No fault restarts the voter several times, which would do both.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Daemon, Factory, Result, Scope};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Machine, Sim};

use super::disk::Disk;
use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, DELAYS_TCP_OR_ENDS, ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "double-vote",
    missing_code: "the voter does not write its votes to its disk",
    needed: "a restart of the voter between the requests of two candidates",
    faults: &[ENDS],
    may_help: DELAYS_TCP_OR_ENDS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Voter {
    listener: Listener,
    votes: Disk<Votes>,
}

/// The candidate that got the vote, by term.
type Votes = BTreeMap<u64, u64>;

impl Daemon for Voter {
    fn build(factory: &mut Factory) -> Result<Self> {
        let votes = match *factory.value()? {
            Version::Right => Disk::of(factory)?,
            Version::Planted => Disk::default(), // lost with the process
        };
        Ok(Self { listener: Listener::build(factory)?, votes })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Voter {
    /// `vote TERM CANDIDATE`
    async fn answer(&self, request: &str) -> String {
        let (_, numbers) = words(request);
        let [term, candidate] = numbers[..] else { return "vote for whom?".to_owned() };
        let is_granted = *self.votes.lock().entry(term).or_insert(candidate) == candidate;
        if is_granted { "granted" } else { "refused" }.to_owned()
    }
}

/// The candidates that the voter has granted its vote, by term.
type Leaders = Rc<RefCell<BTreeMap<u64, BTreeSet<u64>>>>;

async fn scenario(sim: Sim, version: Version) -> Result {
    let disk = Disk::<Votes>::default();
    let voter = sim.machine("voter", move |factory| {
        factory.provide_value(version)?;
        factory.provide_value(disk.clone())?;
        factory.with::<Voter>()
    });
    let voter = voter.start().await?;
    let candidates = ["candidate-1", "candidate-2"].map(|name| sim.client(name));
    let (terms, leaders) = (sim.limit("terms", 1..=60), Leaders::default());
    let stand = |(number, candidate): (u64, &Machine)| {
        candidate.spawn("candidacy", stand_in_all(candidate.clone(), number, terms, leaders.clone()))
    };
    let candidacies: Vec<_> = (1..).zip(&candidates).map(stand).collect();

    // With wrong clocks the candidates would ask at different times.
    let machines: Vec<Machine> = candidates.into_iter().chain([voter.clone()]).collect();
    let mut families = Family::ALL.to_vec();
    families.retain(|family| *family != Family::RestartStorm);
    let budget = Budget { ends: vec![voter], clocks: Vec::new(), families, ..Budget::of(&machines) };
    sim.inject_faults(budget).run().await?;
    for candidacy in candidacies {
        candidacy.await?;
    }
    sim.clock().sleep(Duration::from_secs(60)).await;

    for (term, leaders) in leaders.take() {
        ensure!(leaders.len() == 1, "both candidates lead in term {term}");
    }
    Ok(())
}

async fn stand_in_all(candidate: Machine, number: u64, terms: u64, leaders: Leaders) {
    for term in 1..=terms {
        drop(candidate.spawn("vote", ask_for_vote(candidate.clone(), number, term, leaders.clone())));
        candidate.clock().sleep(Duration::from_secs(1)).await;
    }
}

/// Asks the voter until it answers.
async fn ask_for_vote(candidate: Machine, number: u64, term: u64, leaders: Leaders) {
    let mut voter = Client::new(candidate.network(), "voter:7000");
    let request = format!("vote {term} {number}");
    loop {
        match voter.ask_within(Duration::from_millis(500), &candidate, &request).await {
            Ok(answer) if answer == "granted" => {
                leaders.borrow_mut().entry(term).or_default().insert(number);
                return;
            }
            Ok(_) => return,
            Err(_) => think(&candidate, Duration::from_secs(1)).await,
        }
    }
}
