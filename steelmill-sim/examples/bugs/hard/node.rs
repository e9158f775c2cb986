//! A server whose state is a plain value on its disk.

use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::{Clock, Machine, Sim};

use crate::Version;
use crate::disk::Disk;
use crate::talk::{Answers, Client, Listener, answer_all, think, words};

pub(super) trait State: Default + Send + 'static {
    /// A process begins with the state that the last one left.
    fn started(&mut self, _: Version) {}

    /// Answers a request: its first word, and the numbers in it.
    fn answer(node: &Node<Self>, verb: &str, numbers: &[u64]) -> String;

    /// What the process does besides answering.
    fn work(_: &Node<Self>) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

pub(super) struct Node<S> {
    pub(super) version: Version,
    pub(super) clock: DaemonRef<Clock>,
    pub(super) state: Disk<S>,
    listener: Listener,
}

impl<S: State> Daemon for Node<S> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (version, state) = (*factory.value()?, Disk::<S>::of(factory)?);
        state.lock().started(version);
        Ok(Self { version, clock: factory.get()?, state, listener: Listener::build(factory)? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let work = scope.until_stopping(S::work(self));
        let (answers, _) = tokio::join!(answers, work);
        answers
    }
}

impl<S: State> Answers for Node<S> {
    async fn answer(&self, request: &str) -> String {
        let (words, numbers) = words(request);
        S::answer(self, words[0], &numbers)
    }
}

/// Starts a machine with such a server. Gives its state, too.
pub(super) async fn start<S: State>(sim: Sim, name: &str, version: Version) -> Result<(Machine, Disk<S>)> {
    let disk = Disk::<S>::default();
    let state = disk.clone();
    let machine = sim.machine(name, move |factory| {
        factory.provide_value(version)?;
        factory.provide_value(disk.clone())?;
        factory.with::<Node<S>>()
    });
    Ok((machine.start().await?, state))
}

/// Has a client write records to the store, each `within` a time, with a pause of up to `pause`; those that were acknowledged.
pub(super) async fn write(client: Machine, records: u64, within: Duration, pause: Duration) -> Vec<u64> {
    let mut written = Vec::new();
    let mut store = Client::new(client.network(), "store:7000");
    for record in 1..=records {
        if store.ask_within(within, &client, &format!("write {record}")).await.is_ok() {
            written.push(record);
        }
        think(&client, pause).await;
    }
    written
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
