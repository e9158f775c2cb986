//! A service: a daemon that answers gateways' requests, by a direct call in the same process or over TCP.
//!
//! A peer can make the service buffer one frame and the replies to those before it. Frames are limited in size and in
//! time, and the buffers of all peers together in memory ([`MEMORY_MAX`]); a peer that exceeds a limit is disconnected.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use rand::Rng as _;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::descriptors::Descriptors;
use crate::listener::{Accepted, Admission, Listener};
use crate::memory::MemoryAccount;
use crate::settings::{Canary, Settings};
use crate::storage::Storage;
use crate::wire::{FrameDecoder, Hello, Malformed, Message, write_frame};
use crate::world::{Clock, Entropy, Network, TcpStream};

/// The most gateways connected at a time.
const CONNECTIONS_MAX: usize = 1024;

/// Replies are sent once this many bytes are buffered, or when no complete request is left.
const BATCH: usize = 64 * 1024;

/// How long a gateway may read nothing of a reply before it is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time between the first byte of a frame and its last.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// The time in which a new connection must send its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes buffered for all connections of a service together, beyond [`MEMORY_RESERVED`] of each.
pub const MEMORY_MAX: usize = 128 << 20;

/// Bytes that each connection may buffer, however much the others do.
const MEMORY_RESERVED: usize = 16 << 10;

/// A daemon that answers each request at once and independently of others.
///
/// Answering never awaits, so a request is executed completely or not at all, even if its sender disconnects. What was
/// executed may not be durable yet: whoever answers waits for that, before anybody may see the reply.
pub trait Service: Daemon {
    /// Its name on the command line.
    const NAME: &'static str;
    type Request<'a>: Message<'a>;
    type Reply: for<'a> Message<'a> + Send + 'static;

    fn answer(&self, request: Self::Request<'_>) -> Answer<Self::Reply>;

    /// What [`Answer::after`] is a number of.
    fn storage(&self) -> &Storage;
}

/// A reply, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<R> {
    pub reply: R,
    /// The changes up to this number must be durable before anybody may see the reply ([`Storage::durable`]).
    pub after: u64,
}

/// The TCP endpoint of a service, for gateways of other processes; it may be disabled.
pub struct Endpoint {
    /// Identifies this life of the service, see [`Hello::life`].
    life: u64,
    /// Buffered bytes of all connections together.
    memory: Arc<AtomicUsize>,
    clock: DaemonRef<Clock>,
    descriptors: DaemonRef<Descriptors>,
    network: DaemonRef<Network>,
    address: Option<String>,
    listener: SetOnce<Listener>,
}

impl Endpoint {
    /// The endpoint of `S` as configured; `default` is its address if none is given.
    pub fn build<S: Service>(factory: &mut Factory, default: &'static str) -> Result<Self> {
        let settings = factory.value::<Settings>()?;
        let drawn = factory.get::<Entropy>()?.rng().next_u64();
        Ok(Self {
            life: if settings.canary == Some(Canary::StoreRestart) { 1 } else { drawn.max(1) },
            memory: Arc::default(),
            clock: factory.get()?,
            descriptors: factory.get()?,
            network: factory.get()?,
            address: settings.listen_for_gateways(S::NAME, default),
            listener: SetOnce::new(),
        })
    }

    /// Whether it is enabled, so that gateways of other processes can connect.
    pub fn is_enabled(&self) -> bool {
        self.address.is_some()
    }

    /// Binds the listener, if the endpoint is enabled.
    pub async fn bind<S: Service>(&self) -> Result {
        match &self.address {
            Some(address) => {
                let (network, descriptors) = (&self.network, self.descriptors.share());
                self.listener
                    .set(Listener::bind(network, descriptors, S::NAME, address, CONNECTIONS_MAX).await?)
            }
            None => Ok(()),
        }
    }

    /// Accepts and serves gateways until the stop.
    pub async fn serve<S: Service>(&self, service: &Arc<S>, scope: &Scope) -> Result {
        let Ok(listener) = self.listener.get() else {
            scope.stopping().await;
            return Ok(());
        };
        let mut is_warned = false;
        let accepted = |Accepted { stream, peer, admission }: Accepted| {
            let permit = match admission {
                Admission::Admitted(permit) => permit,
                Admission::Rejected(reason, _) => {
                    // Peers try again and again.
                    match std::mem::replace(&mut is_warned, true) {
                        true => tracing::debug!("{} rejected {peer}: {reason}", S::NAME),
                        false => tracing::warn!("{} rejected {peer}: {reason}", S::NAME),
                    }
                    return;
                }
            };
            let connection = Connection {
                service: service.clone(),
                life: self.life,
                stream,
                clock: self.clock.share(),
                frames: FrameDecoder::default(),
                replies: Vec::new(),
                after: 0,
                memory: MemoryAccount::new(self.memory.clone(), MEMORY_MAX, MEMORY_RESERVED),
            };
            scope.spawn_until_stopping("connection", async move {
                let _permit = permit;
                if let Err(reason) = connection.serve().await {
                    tracing::warn!("{} closed the connection of {peer}: {reason}", S::NAME);
                }
            });
        };
        listener.accept_loop(scope, accepted).await;
        Ok(())
    }
}

/// A connection of a gateway.
struct Connection<S: Service> {
    service: Arc<S>,
    life: u64,
    stream: TcpStream,
    clock: DaemonRef<Clock>,
    frames: FrameDecoder,
    replies: Vec<u8>,
    /// What they wait for.
    after: u64,
    memory: MemoryAccount,
}

impl<S: Service> Connection<S> {
    /// Exchanges hellos, then answers requests until the gateway closes the connection.
    async fn serve(mut self) -> Result {
        // Sent before the client's is read, so that a client that wants another server learns which this is.
        write_frame(&mut self.replies, &Hello { service: S::NAME, life: self.life });
        self.flush().await?;
        let hello_due = self.clock.now() + HELLO_TIMEOUT;
        loop {
            match self.frames.hello()? {
                Some(hello) if hello.service == S::NAME => break,
                Some(hello) => bail!("it wants a {}, and this is the {}", hello.service, S::NAME),
                None => {}
            }
            if !self.read(hello_due, "its hello", HELLO_TIMEOUT).await? {
                return Ok(());
            }
        }
        let mut frame_due = None;
        loop {
            while self.answer_buffered(&mut frame_due)? {
                self.flush().await?;
            }
            self.flush().await?;
            let due = match self.frames.is_empty() {
                true => None,
                false => Some(*frame_due.get_or_insert_with(|| self.clock.now() + FRAME_TIMEOUT)),
            };
            if !self.read(due, "the rest of a frame", FRAME_TIMEOUT).await? {
                return Ok(());
            }
        }
    }

    /// Answers the buffered requests; returns whether it paused because replies have to be sent first. A request that
    /// is complete resets `frame_due`.
    fn answer_buffered(&mut self, frame_due: &mut Option<Instant>) -> Result<bool, Malformed> {
        while self.replies.len() < BATCH {
            match self.frames.next::<S::Request<'_>>()? {
                Some(request) => {
                    let Answer { reply, after } = self.service.answer(request);
                    self.after = self.after.max(after);
                    write_frame(&mut self.replies, &reply);
                }
                None => return Ok(false),
            }
            *frame_due = None;
        }
        Ok(true)
    }

    /// Reads more of `what`, until `due` if that is limited, which is `limit` after its beginning; returns whether the
    /// connection is still open.
    async fn read(&mut self, due: impl Into<Option<Instant>>, what: &str, limit: Duration) -> Result<bool> {
        let read = self.stream.read_buf(self.frames.space());
        let count = match due.into() {
            None => read.await?,
            Some(due) => {
                let left = due.saturating_duration_since(self.clock.now());
                let read = self.clock.timeout(left, read).await;
                read.map_err(|_| anyhow!("{what} did not arrive within {limit:?}"))??
            }
        };
        self.memory.input(self.frames.capacity()).map_err(anyhow::Error::msg)?;
        match count {
            0 if self.frames.is_empty() => Ok(false),
            0 => Err(Malformed("the connection ends in the middle of a frame".into()).into()),
            _ => Ok(true),
        }
    }

    /// Sends the replies, once what they show is durable; the gateway must read some of them within each
    /// [`WRITE_TIMEOUT`]. Requests that arrive meanwhile are answered next, and share a commit.
    async fn flush(&mut self) -> Result {
        self.service.storage().durable(self.after).await?;
        self.memory.output(self.replies.capacity()).map_err(anyhow::Error::msg)?;
        let mut sent = 0;
        while sent < self.replies.len() {
            sent += self.clock.timeout(WRITE_TIMEOUT, self.stream.write(&self.replies[sent..])).await??;
        }
        self.replies.clear();
        self.replies.shrink_to(BATCH);
        // Less than before, so it cannot be refused.
        let _ = self.memory.output(self.replies.capacity());
        Ok(())
    }
}
