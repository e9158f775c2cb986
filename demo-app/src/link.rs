//! A gateway's client of a service: a direct call in the same process, or requests over one TCP connection.
//!
//! Each call over TCP ends within [`REPLY_TIMEOUT`], with a reply, with the certainty that the request was not sent
//! ([`LinkError::NotSent`]), or with an unknown outcome ([`LinkError::Unknown`]). Nothing is sent twice: only the
//! caller knows whether a request may be repeated. A direct call waits for the disk alone.
//!
//! One task owns the connection. Requests are pipelined, and replies have their order. If the oldest request is not
//! answered in time, the connection is closed and all requests in flight have an unknown outcome: a new connection is
//! faster than the retransmissions of a stalled one. Bytes in flight on the old connection may reach the service much
//! later; `gateway::keys` explains why that is safe.
//!
//! A connection is used once both sides have said hello ([`Hello`]). So a wrong server is named at once, and a link
//! knows which life of the service it is connected to: a restarted service has another.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, assert_unreachable, buggify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::service::{Answer, Service};
use crate::settings::Settings;
use crate::wire::{FrameDecoder, Hello, write_frame};
use crate::world::{Clock, Network, TcpStream};

/// The timeout of a request, and of a connection attempt.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// The backoff after a failed connection attempt: the first and the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The most queued requests, and their bytes; more are rejected.
const QUEUED_MAX: usize = 4096;
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// The most requests in flight.
const IN_FLIGHT_MAX: usize = 1024;

/// Requests leave the queue while fewer bytes than this are unsent.
const BATCH: usize = 64 * 1024;

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The request was not sent and has no effect.
    #[error("{0}")]
    NotSent(String),
    /// The request was sent; whether it was or will be executed is unknown.
    #[error("the {0} did not answer in time")]
    Unknown(&'static str),
}

/// The client of the service `S`.
pub struct Link<S: Service> {
    transport: Transport<S>,
}

enum Transport<S: Service> {
    Local(DaemonRef<S>),
    Remote(Remote<S>),
}

impl<S: Service> Daemon for Link<S> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let settings = factory.value::<Settings>()?;
        let name = S::NAME;
        let transport = match (settings.connect.get(name), settings.runs(name)) {
            (None, true) => Transport::Local(factory.get()?),
            (Some(address), false) => Transport::Remote(Remote::new(address.clone(), factory)?),
            (None, false) => bail!(
                "a gateway needs a {name}: run one in this process by adding {name} to --daemons, \
                 or use another process's with --connect {name}=HOST:PORT"
            ),
            (Some(address), true) => bail!(
                "{name} is both among --daemons and in --connect {name}={address}; remove one of the two"
            ),
        };
        Ok(Self { transport })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        match &self.transport {
            Transport::Local(_) => scope.stopping().await,
            Transport::Remote(remote) => remote.run(scope).await,
        }
        Ok(())
    }
}

impl<S: Service> Link<S> {
    /// Sends a request. It is queued when this returns, and the future only waits for the reply, so that calls can be
    /// pipelined.
    ///
    /// # Cancellation
    /// Dropping the future does not cancel the request.
    pub fn call(&self, request: S::Request<'_>) -> impl Future<Output = Outcome<S>> + Send + use<S> {
        let reply = match &self.transport {
            Transport::Local(service) => {
                let Answer { reply, after } = service.answer(request);
                match service.storage().is_durable(after) {
                    true => Ok(Reply::<S>::Ready(reply)),
                    false => Ok(Reply::Committing(service.share(), reply, after)),
                }
            }
            Transport::Remote(remote) => remote.send(&request).map(Reply::Pending),
        };
        async move {
            match reply? {
                Reply::Ready(reply) => Ok(reply),
                Reply::Committing(service, reply, after) => {
                    let durable = service.storage().durable(after).await;
                    durable.map(|()| reply).map_err(|_| LinkError::Unknown(S::NAME))
                }
                Reply::Pending(reply) => reply.await.unwrap_or(Err(LinkError::Unknown(S::NAME))),
            }
        }
    }

    /// Whether the service is connected.
    pub fn is_up(&self) -> bool {
        self.life().is_some()
    }

    /// The life of the service that is connected ([`Hello::life`]); `None` while none is.
    pub fn life(&self) -> Option<u64> {
        match &self.transport {
            Transport::Local(_) => Some(0),
            Transport::Remote(remote) => *remote.life.borrow(),
        }
    }

    /// Waits until another life of the service than `life` is connected. This is a hint: it may come late, or never.
    pub async fn restarted(&self, life: u64) {
        match &self.transport {
            Transport::Local(_) => std::future::pending().await,
            // Its caller must not depend on the notice: the refusals of the new life have to do.
            Transport::Remote(_) if buggify!(0.5) => std::future::pending().await,
            Transport::Remote(remote) => {
                let is_another = |now: &Option<u64>| now.is_some_and(|now| now != life);
                // The sender is in `remote`, so it is not dropped meanwhile.
                let _ = remote.life.subscribe().wait_for(is_another).await;
            }
        }
    }
}

type Outcome<S> = Result<<S as Service>::Reply, LinkError>;

enum Reply<S: Service> {
    Ready(S::Reply),
    /// Not to be seen before the changes up to a number are durable.
    Committing(DaemonRef<S>, S::Reply, u64),
    Pending(oneshot::Receiver<Outcome<S>>),
}

/// A service in another process.
struct Remote<S: Service> {
    address: String,
    network: DaemonRef<Network>,
    clock: DaemonRef<Clock>,
    /// The life of the service that is connected.
    life: watch::Sender<Option<u64>>,
    queued_bytes: AtomicUsize,
    queue: mpsc::Sender<QueuedRequest<S>>,
    /// The receiver of the queue; locked while `run` runs.
    requests: Mutex<mpsc::Receiver<QueuedRequest<S>>>,
}

struct QueuedRequest<S: Service> {
    frame: Vec<u8>,
    requested_at: Instant,
    reply: oneshot::Sender<Outcome<S>>,
}

impl<S: Service> Remote<S> {
    fn new(address: String, factory: &mut Factory) -> Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUED_MAX);
        Ok(Self {
            address,
            network: factory.get()?,
            clock: factory.get()?,
            life: watch::Sender::new(None),
            queued_bytes: AtomicUsize::new(0),
            queue,
            requests: Mutex::new(requests),
        })
    }

    fn send(&self, request: &S::Request<'_>) -> Result<oneshot::Receiver<Outcome<S>>, LinkError> {
        if self.life.borrow().is_none() {
            return Err(self.not_connected());
        }
        let busy = || LinkError::NotSent(format!("too many requests are queued for the {}", S::NAME));
        if self.queued_bytes.load(Ordering::Relaxed) > QUEUED_BYTES_MAX {
            return Err(busy());
        }
        let mut frame = Vec::new();
        write_frame(&mut frame, request);
        let length = frame.len();
        let (reply, receiver) = oneshot::channel();
        let request = QueuedRequest { frame, requested_at: self.clock.now(), reply };
        self.queued_bytes.fetch_add(length, Ordering::Relaxed);
        self.queue.try_send(request).map_err(|_| {
            self.queued_bytes.fetch_sub(length, Ordering::Relaxed);
            busy()
        })?;
        Ok(receiver)
    }

    fn not_connected(&self) -> LinkError {
        LinkError::NotSent(format!("no connection to the {} at {}", S::NAME, self.address))
    }

    /// Connects, exchanges requests and replies, and reconnects after a failure.
    async fn run(&self, scope: &Scope) {
        let mut requests = self.requests.lock().await;
        let mut backoff = BACKOFF_MIN;
        let mut last_error = String::new();
        let reconnect_loop = async {
            loop {
                match self.connect(&mut requests).await {
                    Ok((stream, frames, life)) => {
                        tracing::info!("connected to the {} at {}", S::NAME, self.address);
                        last_error.clear();
                        let connected_at = self.clock.now();
                        self.life.send_replace(Some(life));
                        let reason = self.run_connection(stream, frames, &mut requests).await;
                        self.life.send_replace(None);
                        tracing::warn!(
                            "lost the connection to the {} at {}: {reason}",
                            S::NAME,
                            self.address
                        );
                        // A peer that closes at once, as one with too many connections does, is retried with backoff.
                        if self.clock.now() - connected_at >= BACKOFF_MAX {
                            backoff = BACKOFF_MIN;
                            continue;
                        }
                    }
                    Err(reason) => {
                        let reason = reason.to_string();
                        // Each error is logged once as a warning, because attempts are many.
                        if last_error == reason {
                            tracing::debug!(
                                "cannot connect to the {} at {}: {reason}",
                                S::NAME,
                                self.address
                            );
                        } else {
                            tracing::warn!(
                                "cannot connect to the {} at {}, retrying: {reason}",
                                S::NAME,
                                self.address
                            );
                            last_error = reason;
                        }
                    }
                }
                self.reject_until(&mut requests, self.clock.sleep(backoff)).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        };
        let _: Option<()> = scope.until_stopping(reconnect_loop).await;
        self.life.send_replace(None);
        self.reject_until(&mut requests, std::future::ready(())).await;
    }

    /// Connects and exchanges hellos; returns the life of the service, too.
    async fn connect(
        &self,
        requests: &mut mpsc::Receiver<QueuedRequest<S>>,
    ) -> Result<(TcpStream, FrameDecoder, u64)> {
        let connecting = async {
            let connecting = self.clock.timeout(REPLY_TIMEOUT, self.network.connect(&self.address));
            let mut stream = connecting.await??;
            stream.set_nodelay(true)?;
            let mut frames = FrameDecoder::default();
            let greeting = self.greet(&mut stream, &mut frames);
            match self.clock.timeout(REPLY_TIMEOUT, greeting).await {
                Ok(life) => Ok((stream, frames, life?)),
                Err(_) => Err(self.wrong_server(format!("it sent no hello within {REPLY_TIMEOUT:?}"))),
            }
        };
        self.reject_until(requests, connecting).await
    }

    /// Exchanges hellos with the peer; returns the life of the service.
    async fn greet(&self, stream: &mut TcpStream, frames: &mut FrameDecoder) -> Result<u64> {
        let mut hello = Vec::new();
        write_frame(&mut hello, &Hello { service: S::NAME, life: 0 });
        stream.write_all(&hello).await?;
        loop {
            match frames.hello().map_err(|malformed| self.wrong_server(malformed.0))? {
                Some(Hello { service, life }) if service == S::NAME => return Ok(life),
                Some(Hello { service, .. }) => return Err(self.wrong_server(format!("it is a {service}"))),
                None => {}
            }
            if stream.read_buf(frames.space()).await? == 0 {
                bail!("the peer closed the connection before its hello");
            }
        }
    }

    fn wrong_server(&self, reason: String) -> anyhow::Error {
        let (name, address) = (S::NAME, &self.address);
        anyhow!(
            "the server at {address} is no {name} of this version: {reason}; check --connect {name}={address}"
        )
    }

    /// Waits for `future`; meanwhile rejects queued requests with "not connected".
    async fn reject_until<F: Future>(
        &self,
        requests: &mut mpsc::Receiver<QueuedRequest<S>>,
        future: F,
    ) -> F::Output {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                Some(request) = requests.recv() => {
                    self.dequeued(&request);
                    // The caller may have dropped its future.
                    let _ = request.reply.send(Err(self.not_connected()));
                }
                output = &mut future => return output,
            }
        }
    }

    fn dequeued(&self, request: &QueuedRequest<S>) {
        self.queued_bytes.fetch_sub(request.frame.len(), Ordering::Relaxed);
    }

    /// Sends requests and dispatches replies until the connection fails; returns the reason. That drops the requests
    /// in flight, and their callers get an unknown outcome.
    async fn run_connection(
        &self,
        mut stream: TcpStream,
        mut frames: FrameDecoder,
        requests: &mut mpsc::Receiver<QueuedRequest<S>>,
    ) -> String {
        let (mut read, mut write) = stream.split();
        let mut in_flight = VecDeque::<(Instant, oneshot::Sender<Outcome<S>>)>::new();
        let mut outgoing = Vec::new();
        let mut sent = 0;
        // One timer for all requests: it watches the oldest, and is reset only after it has fired.
        let mut reply_timer = pin!(self.clock.sleep(REPLY_TIMEOUT));
        loop {
            tokio::select! {
                biased;
                read = read.read_buf(frames.space()) => {
                    match read {
                        Ok(0) => return "the peer closed the connection".to_owned(),
                        Ok(_) => {}
                        Err(error) => return error.to_string(),
                    }
                    loop {
                        match frames.next::<S::Reply>() {
                            Ok(None) => break,
                            Ok(Some(reply)) => match in_flight.pop_front() {
                                Some((_, sender)) => drop(sender.send(Ok(reply))),
                                None => {
                                    assert_unreachable!("a {} sent an unsolicited reply", S::NAME);
                                    return "an unsolicited reply".to_owned();
                                }
                            },
                            Err(malformed) => return malformed.to_string(),
                        }
                    }
                }
                written = write.write(&outgoing[sent..]), if sent < outgoing.len() => {
                    match written {
                        Ok(count) => sent += count,
                        Err(error) => return error.to_string(),
                    }
                    if sent == outgoing.len() {
                        outgoing.clear();
                        outgoing.shrink_to(BATCH);
                        sent = 0;
                    }
                }
                Some(request) = requests.recv(), if in_flight.len() < IN_FLIGHT_MAX && outgoing.len() < BATCH => {
                    self.dequeued(&request);
                    outgoing.extend_from_slice(&request.frame);
                    in_flight.push_back((request.requested_at, request.reply));
                }
                () = &mut reply_timer => {
                    let now = self.clock.now();
                    let due = in_flight.front().map_or(now, |(requested_at, _)| *requested_at) + REPLY_TIMEOUT;
                    // A slow peer looks like a dead one, so it must be safe to close a live connection: `buggify!` does
                    // it.
                    if due <= now || buggify!(0.1) {
                        return format!("no reply within {REPLY_TIMEOUT:?}");
                    }
                    reply_timer.set(self.clock.sleep_until(due));
                }
            }
        }
    }
}
