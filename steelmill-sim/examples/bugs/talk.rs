//! What the protocols talk in: a request is a line of text over TCP, and so is its answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rand::RngExt as _;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::{Machine, Network, TcpListener, TcpStream};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

/// Where a daemon listens.
pub(crate) struct Door {
    network: DaemonRef<Network>,
    listener: SetOnce<TcpListener>,
}

impl Door {
    pub(crate) fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, listener: SetOnce::new() })
    }

    pub(crate) async fn open(&self, port: u16) -> Result {
        self.listener.set(self.network.bind(("0.0.0.0", port)).await?)
    }

    /// Does `work` with every connection, until the daemon is told to stop.
    pub(crate) async fn serve<F>(&self, scope: &Scope, work: impl Fn(TcpStream) -> F) -> Result
    where
        F: Future<Output = Result> + Send + 'static,
    {
        while let Some(accepted) = scope.until_stopping(self.listener.get()?.accept()).await {
            let (stream, _peer) = accepted?;
            let (work, while_it_runs) = (work(stream), scope.clone());
            scope.spawn("connection", async move {
                // A connection that breaks is no failure of the daemon's.
                let _ = while_it_runs.until_stopping(work).await;
            });
        }
        Ok(())
    }
}

/// A daemon that answers requests, on each connection one after another.
pub(crate) trait Answers: Daemon {
    fn answer(&self, request: &str) -> impl Future<Output = String> + Send;
}

/// Answers whatever comes over a connection, until it ends.
pub(crate) async fn answer_all<D: Answers>(daemon: Arc<D>, stream: TcpStream) -> Result {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while stream.read_line(&mut request).await? > 0 {
        let answer = daemon.answer(request.trim_end()).await;
        stream.write_all(format!("{answer}\n").as_bytes()).await?;
        request.clear();
    }
    Ok(())
}

/// The words of a request, and the numbers among them.
pub(crate) fn words(request: &str) -> (Vec<&str>, Vec<u64>) {
    let words: Vec<&str> = request.split(' ').collect();
    let numbers = words.iter().filter_map(|word| word.parse().ok()).collect();
    (words, numbers)
}

/// Somebody's way to a daemon: a connection that is made when it is needed, and given up when something goes wrong.
pub(crate) struct Way {
    network: Network,
    address: &'static str,
    stream: Option<BufReader<TcpStream>>,
}

impl Way {
    pub(crate) fn new(network: Network, address: &'static str) -> Self {
        Self { network, address, stream: None }
    }

    /// Asks, and waits for the answer, for as long as it takes.
    ///
    /// Where the future is dropped (by a timeout) the connection is reset: what has not left by then, never will.
    pub(crate) async fn ask(&mut self, request: &str) -> Result<String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = self.network.connect(self.address).await?;
                stream.set_zero_linger()?;
                BufReader::new(stream)
            }
        };
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        ensure!(answer.ends_with('\n'), "{} has closed the connection", self.address);
        self.stream = Some(stream);
        Ok(answer.trim_end().to_owned())
    }

    /// Asks, and waits no longer than `limit` by the clock of `machine`.
    pub(crate) async fn ask_within(
        &mut self,
        limit: Duration,
        machine: &Machine,
        request: &str,
    ) -> Result<String> {
        machine.clock().timeout(limit, self.ask(request)).await?
    }
}

/// What somebody does between two requests: nothing, for up to `most`.
pub(crate) async fn think(machine: &Machine, most: Duration) {
    let micros = machine.entropy().rng().random_range(0..most.as_micros() as u64);
    machine.clock().sleep(Duration::from_micros(micros)).await;
}
