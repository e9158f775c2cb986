//! Lost wakeup: a queue's worker is notified by `notify_waiters`, which wakes only waiters that are registered already.
//!
//! A clerk drains the queue of a desk, reports to a board that it is empty, and then waits for a notification. While
//! the report is in flight the clerk is not registered, so `notify_one` stores the notification for its next wait.
//! Planted bug: `notify_waiters` stores nothing, and an item queued at that moment is never processed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Machine, Network, Sim};
use tokio::sync::{Notify, oneshot};

use super::talk::{Answers, Client, Listener, answer_all, think};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "lost-wakeup",
    missing_code: "a notification is not stored when no clerk waits yet",
    needed: "an item queued at the wrong moment, no fault",
    faults: &[],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Desk {
    version: Version,
    listener: Listener,
    network: DaemonRef<Network>,
    /// The queue: each paper is the sender that reports it done.
    papers: Mutex<VecDeque<oneshot::Sender<()>>>,
    has_papers: Notify,
}

impl Daemon for Desk {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            version: *factory.value()?,
            listener: Listener::build(factory)?,
            network: factory.get()?,
            papers: Mutex::default(),
            has_papers: Notify::new(),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let (clerk, clerk_scope) = (self.clone(), scope.clone());
        scope.spawn("clerk", async move {
            clerk_scope.until_stopping(clerk.work()).await;
        });
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Desk {
    async fn answer(&self, _paper: &str) -> String {
        let (sender, done) = oneshot::channel();
        self.papers().push_back(sender);
        match self.version {
            Version::Right => self.has_papers.notify_one(),
            Version::Planted => self.has_papers.notify_waiters(),
        }
        match done.await {
            Ok(()) => "done".to_owned(),
            Err(_) => "lost".to_owned(),
        }
    }
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<()>>> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self) {
        let mut board = Client::new(*self.network, "board:7000");
        loop {
            loop {
                let Some(done) = self.papers().pop_front() else { break };
                let _ = done.send(());
            }
            let _ = board.ask("nothing left").await;
            self.has_papers.notified().await;
        }
    }
}

struct Board {
    listener: Listener,
}

impl Daemon for Board {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Board {
    async fn answer(&self, _: &str) -> String {
        "noted".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let board = sim.machine("board", |factory| factory.with::<Board>()).start().await?;
    let desk = sim.machine("desk", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Desk>()
    });
    let desk = desk.start().await?;
    let client = sim.client("client");
    let papers = client.spawn("papers", queue_papers(client.clone(), sim.limit("papers", 1..=500)));

    // No request has a timeout, so no machine may end: a peer that loses power sends no reset.
    let machines = [client, desk, board];
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    papers.await?;
    Ok(())
}

async fn queue_papers(client: Machine, papers: u64) {
    let mut desk = Client::new(client.network(), "desk:7000");
    for _ in 0..papers {
        think(&client, Duration::from_millis(60)).await;
        // The request may fail; one that waits must be answered eventually.
        let _ = desk.ask("a paper").await;
    }
}
