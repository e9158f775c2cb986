//! A gateway's way to a service: a plain call when the service is in this process, one TCP connection when it is not.
//!
//! A caller always gets an answer within [`REPLY_LIMIT`], and always learns what it can rely on: a reply, the certainty
//! that the request never left ([`LinkError::NotSent`]), or that nobody can tell ([`LinkError::Unknown`]). Nothing is
//! sent twice: whether a request may be repeated is for its sender to decide.
//!
//! One task owns the connection. Requests are written in the order they came and answered in that order. A peer that
//! leaves the oldest request unanswered for too long loses the connection, and with it every request on its way; a new
//! connection is quicker than the retransmissions of a stalled one. What is still on its way over the old one may reach
//! the service much later. Callers must be ready for that: see `gateway::keys` for how.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, assert_unreachable, buggify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::service::Service;
use crate::settings::Settings;
use crate::wire::{Frames, write_frame};
use crate::world::{Clock, Network, TcpStream};

/// How long a request may go unanswered, and a connection may take to be made.
const REPLY_LIMIT: Duration = Duration::from_secs(1);

/// The pause after a failed attempt to connect, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many requests may wait to be sent, and how many bytes of them; more are refused.
const QUEUE: usize = 4096;
const QUEUE_BYTES: usize = 64 << 20;

/// How many requests may be sent and not yet answered.
const WINDOW: usize = 1024;

/// Requests are taken from the queue while fewer bytes than this wait for the socket.
const BATCH: usize = 64 * 1024;

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It never left this process: nothing happened.
    #[error("{0}")]
    NotSent(String),
    /// It left; whether it arrived, or still will, nobody can tell.
    #[error("the {0} did not answer in time")]
    Unknown(&'static str),
}

/// The way to the service `S`.
pub struct Link<S: Service> {
    route: Route<S>,
}

enum Route<S: Service> {
    Local(DaemonRef<S>),
    Remote(Remote<S>),
}

impl<S: Service> Daemon for Link<S> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let settings = factory.value::<Settings>()?;
        let name = S::NAME;
        let route = match (settings.connect.get(name), settings.runs(name)) {
            (None, true) => Route::Local(factory.get()?),
            (Some(address), false) => Route::Remote(Remote::new(address.clone(), factory)?),
            (None, false) => bail!(
                "a gateway needs a {name}: run one in this process by adding {name} to --daemons, \
                 or use another process's with --connect {name}=HOST:PORT"
            ),
            (Some(address), true) => bail!(
                "which {name}? One is among --daemons, and --connect {name}={address} names another; leave one out"
            ),
        };
        Ok(Self { route })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        match &self.route {
            Route::Local(_) => scope.stopping().await,
            Route::Remote(remote) => remote.run(scope).await,
        }
        Ok(())
    }
}

impl<S: Service> Link<S> {
    /// Asks the service. The request is on its way when this returns; the future only waits for the reply, so that
    /// several can be on their way at once.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub fn call(&self, request: S::Request<'_>) -> impl Future<Output = Outcome<S>> + Send + use<S> {
        let reply = match &self.route {
            Route::Local(service) => Ok(Reply::<S>::Here(service.answer(request))),
            Route::Remote(remote) => remote.send(&request).map(Reply::Later),
        };
        async move {
            match reply? {
                Reply::Here(reply) => Ok(reply),
                Reply::Later(reply) => reply.await.unwrap_or(Err(LinkError::Unknown(S::NAME))),
            }
        }
    }

    /// Whether a request has a chance at this moment.
    pub fn is_up(&self) -> bool {
        match &self.route {
            Route::Local(_) => true,
            Route::Remote(remote) => remote.connected.load(Ordering::Relaxed),
        }
    }
}

type Outcome<S> = Result<<S as Service>::Reply, LinkError>;

enum Reply<S: Service> {
    Here(S::Reply),
    Later(oneshot::Receiver<Outcome<S>>),
}

/// A service in another process.
struct Remote<S: Service> {
    address: String,
    network: DaemonRef<Network>,
    clock: DaemonRef<Clock>,
    connected: AtomicBool,
    /// Bytes in the queue.
    queued: AtomicUsize,
    queue: mpsc::Sender<Job<S>>,
    /// The queue's other end; `run` holds it for as long as it runs.
    jobs: Mutex<mpsc::Receiver<Job<S>>>,
}

/// A request that waits for its reply.
struct Job<S: Service> {
    frame: Vec<u8>,
    asked: Instant,
    reply: oneshot::Sender<Outcome<S>>,
}

impl<S: Service> Remote<S> {
    fn new(address: String, factory: &mut Factory) -> Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        Ok(Self {
            address,
            network: factory.get()?,
            clock: factory.get()?,
            connected: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            queue,
            jobs: Mutex::new(jobs),
        })
    }

    fn send(&self, request: &S::Request<'_>) -> Result<oneshot::Receiver<Outcome<S>>, LinkError> {
        if !self.connected.load(Ordering::Relaxed) {
            return Err(self.not_connected());
        }
        let busy = || LinkError::NotSent(format!("too many requests wait for the {}", S::NAME));
        if self.queued.load(Ordering::Relaxed) > QUEUE_BYTES {
            return Err(busy());
        }
        let mut frame = Vec::new();
        write_frame(&mut frame, request);
        let length = frame.len();
        let (reply, receiver) = oneshot::channel();
        let job = Job { frame, asked: self.clock.now(), reply };
        self.queued.fetch_add(length, Ordering::Relaxed);
        self.queue.try_send(job).map_err(|_| {
            self.queued.fetch_sub(length, Ordering::Relaxed);
            busy()
        })?;
        Ok(receiver)
    }

    fn not_connected(&self) -> LinkError {
        LinkError::NotSent(format!("no connection to the {} at {}", S::NAME, self.address))
    }

    /// Connects, talks, and connects again.
    async fn run(&self, scope: &Scope) {
        let mut jobs = self.jobs.lock().await;
        let mut pause = PAUSE_MIN;
        let mut told = String::new();
        let forever = async {
            loop {
                match self.connect(&mut jobs).await {
                    Ok(stream) => {
                        tracing::info!("connected to the {} at {}", S::NAME, self.address);
                        told.clear();
                        let begun = self.clock.now();
                        self.connected.store(true, Ordering::Relaxed);
                        let why = self.converse(stream, &mut jobs).await;
                        self.connected.store(false, Ordering::Relaxed);
                        tracing::warn!("lost the {} at {}: {why}", S::NAME, self.address);
                        // Whoever hangs up at once, as something that is no such service does, is not asked at once.
                        if self.clock.now() - begun >= PAUSE_MAX {
                            pause = PAUSE_MIN;
                            continue;
                        }
                    }
                    Err(why) => {
                        let why = why.to_string();
                        // Each reason once: the next attempts are many.
                        if told == why {
                            tracing::debug!("cannot connect to the {} at {}: {why}", S::NAME, self.address);
                        } else {
                            tracing::warn!(
                                "cannot connect to the {} at {}, and goes on trying: {why}",
                                S::NAME,
                                self.address
                            );
                            told = why;
                        }
                    }
                }
                self.refuse_until(&mut jobs, self.clock.sleep(pause)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        let _: Option<()> = scope.until_stopping(forever).await;
        self.connected.store(false, Ordering::Relaxed);
        self.refuse_until(&mut jobs, std::future::ready(())).await;
    }

    async fn connect(&self, jobs: &mut mpsc::Receiver<Job<S>>) -> Result<TcpStream> {
        let connecting = self.clock.timeout(REPLY_LIMIT, self.network.connect(&self.address));
        let stream = self.refuse_until(jobs, connecting).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Waits for `future`; meanwhile whoever asks is told at once that there is no connection.
    async fn refuse_until<F: Future>(&self, jobs: &mut mpsc::Receiver<Job<S>>, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                Some(job) = jobs.recv() => {
                    self.taken(&job);
                    // Who asked may have gone meanwhile.
                    let _ = job.reply.send(Err(self.not_connected()));
                }
                output = &mut future => return output,
            }
        }
    }

    fn taken(&self, job: &Job<S>) {
        self.queued.fetch_sub(job.frame.len(), Ordering::Relaxed);
    }

    /// Sends requests and hands out replies until the connection is of no more use; says why. Requests without a reply
    /// are dropped by then, which tells their senders that the outcome is unknown.
    async fn converse(&self, mut stream: TcpStream, jobs: &mut mpsc::Receiver<Job<S>>) -> String {
        let (mut read, mut write) = stream.split();
        let mut frames = Frames::default();
        let mut waiting = VecDeque::<(Instant, oneshot::Sender<Outcome<S>>)>::new();
        let mut outgoing = Vec::new();
        let mut sent = 0;
        // One timer for all requests: it looks at the oldest, and is set again only after it has fired.
        let mut watch = pin!(self.clock.sleep(REPLY_LIMIT));
        loop {
            tokio::select! {
                biased;
                read = read.read_buf(frames.space()) => {
                    match read {
                        Ok(0) => return "it closed the connection".to_owned(),
                        Ok(_) => {}
                        Err(error) => return error.to_string(),
                    }
                    loop {
                        match frames.next::<S::Reply>() {
                            Ok(None) => break,
                            Ok(Some(reply)) => match waiting.pop_front() {
                                Some((_, sender)) => drop(sender.send(Ok(reply))),
                                None => {
                                    assert_unreachable!("a {} answers what nobody asked", S::NAME);
                                    return "a reply that nobody asked for".to_owned();
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
                Some(job) = jobs.recv(), if waiting.len() < WINDOW && outgoing.len() < BATCH => {
                    self.taken(&job);
                    outgoing.extend_from_slice(&job.frame);
                    waiting.push_back((job.asked, job.reply));
                }
                () = &mut watch => {
                    let now = self.clock.now();
                    let due = waiting.front().map_or(now, |(asked, _)| *asked) + REPLY_LIMIT;
                    // A slow peer and a dead one look the same: giving up on one that lives must do no harm.
                    if due <= now || buggify!(0.1) {
                        return format!("no reply within {REPLY_LIMIT:?}");
                    }
                    watch.set(self.clock.sleep_until(due));
                }
            }
        }
    }
}
