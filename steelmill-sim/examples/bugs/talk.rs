//! A line protocol over TCP: one line of text per request and per reply.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rand::RngExt as _;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::{Machine, Network, TcpListener, TcpStream};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

pub(crate) struct Listener {
    network: DaemonRef<Network>,
    socket: SetOnce<TcpListener>,
}

impl Listener {
    pub(crate) fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, socket: SetOnce::new() })
    }

    pub(crate) async fn bind(&self, port: u16) -> Result {
        self.socket.set(self.network.bind(("0.0.0.0", port)).await?)
    }

    /// Runs `handler` for every connection until the daemon is asked to stop.
    pub(crate) async fn serve<F>(&self, scope: &Scope, handler: impl Fn(TcpStream) -> F) -> Result
    where
        F: Future<Output = Result> + Send + 'static,
    {
        let accepted = move |stream, _peer| {
            let handling = handler(stream);
            scope.spawn_until_stopping("connection", async move {
                // A broken connection is no failure of the daemon.
                let _ = handling.await;
            });
        };
        scope.accept_loop(self.socket.get()?, accepted).await;
        Ok(())
    }
}

/// A daemon that answers the requests of a connection one after the other.
pub(crate) trait Answers: Daemon {
    fn answer(&self, request: &str) -> impl Future<Output = String> + Send;
}

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

/// A client of one daemon. It connects at the first request, and again after an error.
pub(crate) struct Client {
    network: Network,
    address: &'static str,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(network: Network, address: &'static str) -> Self {
        Self { network, address, stream: None }
    }

    /// Sends a request and waits for its reply without a timeout.
    ///
    /// # Cancellation
    /// Dropping the future (at a timeout) resets the connection, so that nothing is sent afterwards.
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

    /// Like `ask`, with a timeout on the clock of `machine`.
    pub(crate) async fn ask_within(
        &mut self,
        limit: Duration,
        machine: &Machine,
        request: &str,
    ) -> Result<String> {
        machine.clock().timeout(limit, self.ask(request)).await?
    }
}

/// Think time between two requests: uniformly random, below `max`.
pub(crate) async fn think(machine: &Machine, max: Duration) {
    let micros = machine.entropy().rng().random_range(0..max.as_micros() as u64);
    machine.clock().sleep(Duration::from_micros(micros)).await;
}
