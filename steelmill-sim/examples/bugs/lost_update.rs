//! Lost update: optimistic concurrency control without the version check.
//!
//! Tills read an account's sum, add to it and write it back with the version they read. The account accepts the write
//! only if that version is current; a rejected till reads again. Planted bug: the comparison is missing, so that one of
//! two concurrent writes is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use steelmill_core::{Daemon, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::history::{History, KvOp, KvReply};
use steelmill_sim::{Machine, Sim};

use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "lost-update",
    missing_code: "the account does not compare versions before it accepts a new sum",
    needed: "two concurrent tills, no fault",
    faults: &[],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Account {
    version: Version,
    listener: Listener,
    sum: Mutex<Sum>,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    amount: u64,
    /// Incremented by every write.
    version: u64,
}

impl Daemon for Account {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { version: *factory.value()?, listener: Listener::build(factory)?, sum: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Account {
    async fn answer(&self, request: &str) -> String {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, numbers) = words(request);
        let [amount, read_version] = numbers[..] else { return format!("{} {}", sum.amount, sum.version) };
        if self.version == Version::Right && read_version != sum.version {
            return "too late".to_owned();
        }
        *sum = Sum { amount, version: sum.version + 1 };
        "written".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let account = sim.machine("account", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Account>()
    });
    let account = account.start().await?;
    let tills = (1..=sim.limit("tills", 2..=3)).map(|number| sim.client(&format!("till-{number}")));
    let tills: Vec<Machine> = tills.collect();
    let history = History::default();
    let sell = |till: &Machine| {
        let account = Client::new(till.network(), "account:7000");
        till.spawn("sales", Till { sim, machine: till.clone(), account, history: history.clone() }.sell())
    };
    let sales: Vec<_> = tills.iter().map(sell).collect();

    // The account's sum is only in memory, so its machine must not end.
    let machines: Vec<Machine> = tills.into_iter().chain([account]).collect();
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    for till in sales {
        till.await?;
    }
    history.check().into_result().map_err(|verdict| anyhow!("{verdict}"))
}

struct Till {
    sim: Sim,
    machine: Machine,
    account: Client,
    history: History,
}

impl Till {
    async fn sell(mut self) {
        for _ in 0..self.sim.limit("sales", 1..=100) {
            think(&self.machine, Duration::from_millis(600)).await;
            while !self.add_one().await {
                think(&self.machine, Duration::from_millis(20)).await;
            }
        }
    }

    /// Adds one to the account; false when the write was rejected and must be retried.
    async fn add_one(&mut self) -> bool {
        let call = self.history.invoke(self.sim.elapsed(), self.machine.name(), "account", KvOp::Incr);
        match self.read_and_write().await {
            Ok(Some(amount)) => {
                call.returned(self.sim.elapsed(), KvReply::Integer(amount as i64));
                true
            }
            Ok(None) => {
                call.failed();
                false
            }
            // The write may have been applied, and a retry could apply it twice.
            Err(_) => true,
        }
    }

    async fn read_and_write(&mut self) -> Result<Option<u64>> {
        let limit = Duration::from_secs(2);
        let read = self.account.ask_within(limit, &self.machine, "read").await?;
        let (_, numbers) = words(&read);
        let [amount, version] = numbers[..] else { anyhow::bail!("{read:?} is not a sum") };
        let request = format!("write {} {version}", amount + 1);
        let written = self.account.ask_within(limit, &self.machine, &request).await?;
        Ok((written == "written").then_some(amount + 1))
    }
}
