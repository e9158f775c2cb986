//! `Probes`, a daemon that answers the probes of an orchestrator and the scrapes of Prometheus, over HTTP.
//!
//! The server is written by hand, because it needs so little of HTTP/1.1 (RFC 9112): a request without a body, one answer, and
//! the connection is closed. What is not of this form is refused.
//!
//! What always holds: a connection lasts [`TIME`] at most, costs at most [`HEAD_MAX`] bytes of buffer, and there are at most
//! [`CONNECTIONS_MAX`] of them; a further one takes the place of the oldest. So whoever holds connections open keeps no probe out.

mod answer; // what is answered to which path
mod metrics; // OpenMetrics
mod request; // the head of a request

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select;
use steelmill_core::{
    Clock, Daemon, DaemonRef, Factory, HealthWatch, Network, Result, Scope, SetOnce, TcpListener, World,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::RuntimeWorld;
use answer::{Answer, Known};
use request::{HEAD_MAX, Head};

/// How long a connection may last.
const TIME: Duration = Duration::from_secs(5);

/// How many connections there may be.
const CONNECTIONS_MAX: usize = 32;

/// How long the supervisors may take to answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// How much of what follows a request is read, so that the client gets the answer before the connection is reset.
const REST_MAX: usize = 64 * 1024;

/// The address that [`Probes`] listens on: a value of its factory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbesAddress(pub String);

/// Answers `/livez`, `/readyz` and `/metrics` over HTTP, for the factory that it is a daemon of and all factories below.
///
/// - `/livez`: 200 while the supervisors answer and no daemon is unresponsive, else 503. Who is not live is to be started again.
/// - `/readyz`: 200 while the factory is [ready](steelmill_core::FactoryHealth), else 503. Who is not ready is to get no requests.
/// - `/metrics`: the state, health, restarts, tasks and the durations of `build`, `prepare` and stop of each daemon, in the format
///   [OpenMetrics 1.0](https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md).
///
/// The first two answer `ok`, or with a line for each daemon, as Kubernetes has it: `[+]demo: Store ok`,
/// `[-]demo: Gateway failing: no upstream`. With `?verbose` the lines are there although all is well.
///
/// The daemons are asked for their health from when it runs, as [`HealthChecks`](steelmill_core::HealthChecks) says. A probe gets
/// what was answered last, and waits for no daemon. Nothing depends on `Probes`, so it is among the first to stop; until then, and
/// while the factory [drains](Factory::drain), it answers.
///
/// Requests are not authenticated: listen where only the orchestrator connects to.
///
/// # Example
/// ```
/// use steelmill_core::{Factory, Result};
/// use steelmill_runtime::{Probes, ProbesAddress};
///
/// fn setup(factory: &mut Factory) -> Result {
///     factory.provide_value(ProbesAddress("127.0.0.1:9100".to_owned()))?;
///     factory.with::<Probes>()
/// }
/// ```
pub struct Probes<W: World = RuntimeWorld> {
    clock: DaemonRef<W::Clock>,
    network: DaemonRef<W::Network>,
    address: Arc<ProbesAddress>,
    listener: SetOnce<<W::Network as Network>::TcpListener>,
    health: SetOnce<HealthWatch>,
}

impl<W: World> Daemon for Probes<W> {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Probes {
            clock: factory.get()?,
            network: factory.get()?,
            address: factory.value()?,
            listener: SetOnce::new(),
            health: SetOnce::new(),
        })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.health.set(scope.health())?;
        let listener = self.network.bind(&*self.address.0).await?;
        tracing::info!("answers probes on {}", listener.local_addr()?);
        self.listener.set(listener)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let mut connections = VecDeque::new();
        scope
            .accept_loop(self.listener.get()?, |stream, _peer| {
                let (place, replaced) = oneshot::channel::<()>();
                connections.retain(|place: &oneshot::Sender<()>| !place.is_closed());
                if connections.len() >= CONNECTIONS_MAX {
                    // Its drop ends the oldest.
                    connections.pop_front();
                }
                connections.push_back(place);
                let (probes, of_connection) = (self.clone(), scope.clone());
                scope.spawn_until_stopping("connection", async move {
                    let serve = probes.clock.timeout(TIME, probes.serve(stream, &of_connection));
                    // A client that breaks off is no failure of the service.
                    let _ = select(replaced, pin!(serve)).await;
                });
            })
            .await;
        Ok(())
    }
}

impl<W: World> Probes<W> {
    /// The address that it listens on, once it is prepared.
    ///
    /// # Errors
    /// Before that.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.listener.get()?.local_addr()?)
    }

    /// Answers one request.
    async fn serve(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        scope: &Scope,
    ) -> io::Result<()> {
        let Some(head) = read_head(&mut stream).await? else { return Ok(()) };
        let (answer, with_body) = match Head::parse(&head) {
            Ok(head) => (self.answer(&head, scope).await, !head.is_head),
            Err(status) => (Answer::error(status), true),
        };
        stream.write_all(&answer.to_bytes(with_body)).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        let mut left = REST_MAX;
        while left > 0 {
            match stream.read(&mut rest).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }

    async fn answer(&self, head: &Head<'_>, scope: &Scope) -> Answer {
        let health = match self.health.get() {
            Ok(health) => health.current(),
            Err(_) => return Answer::error(request::Status::UNAVAILABLE),
        };
        let status = match head.path {
            // Readiness is what was published last; the others ask whether the supervisors answer.
            "/livez" | "/metrics" => self.clock.timeout(STATUS_TIMEOUT, scope.status()).await.ok().flatten(),
            _ => None,
        };
        answer::to(head, &Known { health: &health, status: status.as_ref() })
    }
}

/// Reads up to the empty line, or up to the limit; `None` if the client sent nothing.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let before = head.len();
        let left = (HEAD_MAX + 1).saturating_sub(before);
        let count = (&mut *stream).take(left as u64).read_buf(&mut head).await?;
        let end = head[before.saturating_sub(3)..].windows(4).position(|four| four == b"\r\n\r\n");
        if end.is_some() || head.len() > HEAD_MAX {
            return Ok(Some(head));
        }
        if count == 0 {
            return Ok((!head.is_empty()).then_some(head));
        }
    }
}
