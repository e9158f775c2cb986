//! A service: a daemon that answers gateways' requests, by a direct call in the same process or over TCP.

use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::listener::{Accepted, Listener};
use crate::settings::Settings;
use crate::wire::{FrameDecoder, Malformed, Message, write_frame};
use crate::world::{Clock, Network, TcpStream};

/// The most gateways connected at a time.
const CONNECTIONS_MAX: usize = 1024;

/// Replies are sent once this many bytes are buffered, or when no complete request is left.
const BATCH: usize = 64 * 1024;

/// How long a gateway may read nothing of a reply before it is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A daemon that answers each request at once and independently of others.
///
/// Answering never awaits, so a request is executed completely or not at all, even if its sender disconnects.
pub trait Service: Daemon {
    /// Its name on the command line.
    const NAME: &'static str;
    type Request<'a>: Message<'a>;
    type Reply: for<'a> Message<'a> + Send + 'static;

    fn answer(&self, request: Self::Request<'_>) -> Self::Reply;
}

/// The TCP endpoint of a service, for gateways of other processes; it may be disabled.
pub struct Endpoint {
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    address: Option<String>,
    listener: SetOnce<Listener>,
}

impl Endpoint {
    /// The endpoint of `S` as configured; `default` is its address if none is given.
    pub fn build<S: Service>(factory: &mut Factory, default: &'static str) -> Result<Self> {
        Ok(Self {
            clock: factory.get()?,
            network: factory.get()?,
            address: factory.value::<Settings>()?.listen_for_gateways(S::NAME, default),
            listener: SetOnce::new(),
        })
    }

    /// Binds the listener, if the endpoint is enabled.
    pub async fn bind<S: Service>(&self) -> Result {
        match &self.address {
            Some(address) => {
                self.listener.set(Listener::bind(&self.network, S::NAME, address, CONNECTIONS_MAX).await?)
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
        let accepted = |Accepted { stream, peer, permit }: Accepted| {
            let Some(permit) = permit else {
                tracing::warn!("{} rejected {peer}: {CONNECTIONS_MAX} gateways are connected", S::NAME);
                return;
            };
            let (service, clock) = (service.clone(), self.clock.share());
            scope.spawn_until_stopping("connection", async move {
                let _permit = permit;
                if let Err(reason) = serve_connection(&*service, stream, &clock).await {
                    tracing::warn!("{} closed the connection of {peer}: {reason}", S::NAME);
                }
            });
        };
        listener.accept_loop(scope, accepted).await;
        Ok(())
    }
}

/// Answers one gateway's requests until it closes the connection.
async fn serve_connection<S: Service>(service: &S, mut stream: TcpStream, clock: &Clock) -> Result {
    let mut frames = FrameDecoder::default();
    let mut replies = Vec::new();
    loop {
        while answer_buffered(service, &mut frames, &mut replies)? {
            flush(&mut stream, &mut replies, clock).await?;
        }
        flush(&mut stream, &mut replies, clock).await?;
        if stream.read_buf(frames.space()).await? == 0 {
            return match frames.is_empty() {
                true => Ok(()),
                false => Err(Malformed("the connection ends in the middle of a frame".into()).into()),
            };
        }
    }
}

/// Answers the buffered requests; returns whether it paused because replies have to be sent first.
fn answer_buffered<S: Service>(
    service: &S,
    frames: &mut FrameDecoder,
    replies: &mut Vec<u8>,
) -> Result<bool, Malformed> {
    while replies.len() < BATCH {
        match frames.next::<S::Request<'_>>()? {
            Some(request) => write_frame(replies, &service.answer(request)),
            None => return Ok(false),
        }
    }
    Ok(true)
}

async fn flush(stream: &mut TcpStream, replies: &mut Vec<u8>, clock: &Clock) -> Result {
    let mut sent = 0;
    while sent < replies.len() {
        sent += clock.timeout(WRITE_TIMEOUT, stream.write(&replies[sent..])).await??;
    }
    replies.clear();
    replies.shrink_to(BATCH);
    Ok(())
}
