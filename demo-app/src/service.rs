//! A daemon that answers gateways: directly when they share a process, over a socket when they do not.

use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::listener::{Accepted, Listener};
use crate::settings::Settings;
use crate::wire::{Frames, Malformed, Message, write_frame};
use crate::world::{Clock, Network, TcpStream};

/// How many gateways may be connected.
const CONNECTIONS: usize = 1024;

/// Replies are sent when this much of them waits, or when no further request has arrived.
const BATCH: usize = 64 * 1024;

/// How long a gateway may take no byte of a reply that waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers requests, each at once and on its own.
///
/// Answering never waits, so that a request is carried out whole or not at all, whatever becomes of who sent it.
pub trait Service: Daemon {
    /// Its name on the command line.
    const NAME: &'static str;
    /// What it is asked.
    type Request<'a>: Message<'a>;
    /// What it answers.
    type Reply: for<'a> Message<'a> + Send + 'static;

    /// Carries `request` out.
    fn answer(&self, request: Self::Request<'_>) -> Self::Reply;
}

/// Where gateways of other processes reach a service, if they do.
pub struct Entrance {
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    address: Option<String>,
    listener: SetOnce<Listener>,
}

impl Entrance {
    /// The entrance of `S`, as the settings say; at `default` if they say only that there is one.
    pub fn build<S: Service>(factory: &mut Factory, default: &'static str) -> Result<Self> {
        Ok(Self {
            clock: factory.get()?,
            network: factory.get()?,
            address: factory.value::<Settings>()?.listen_for_gateways(S::NAME, default),
            listener: SetOnce::new(),
        })
    }

    /// Listens, if there is an entrance.
    pub async fn open<S: Service>(&self) -> Result {
        match &self.address {
            Some(address) => {
                self.listener.set(Listener::bind(&self.network, S::NAME, address, CONNECTIONS).await?)
            }
            None => Ok(()),
        }
    }

    /// Lets gateways in until told to stop.
    pub async fn serve<S: Service>(&self, service: &Arc<S>, scope: &Scope) -> Result {
        let Ok(listener) = self.listener.get() else {
            scope.stopping().await;
            return Ok(());
        };
        let accepted = |Accepted { stream, peer, permit }: Accepted| {
            let Some(permit) = permit else {
                tracing::warn!("{} rejected {peer}: {CONNECTIONS} gateways are connected", S::NAME);
                return;
            };
            let (service, clock) = (service.clone(), self.clock.share());
            scope.spawn_until_stopping("connection", async move {
                let _permit = permit;
                if let Err(why) = converse(&*service, stream, &clock).await {
                    tracing::warn!("{} closed the connection of {peer}: {why}", S::NAME);
                }
            });
        };
        listener.accept_loop(scope, accepted).await;
        Ok(())
    }
}

/// Answers one gateway until it closes.
async fn converse<S: Service>(service: &S, mut stream: TcpStream, clock: &Clock) -> Result {
    let mut frames = Frames::default();
    let mut replies = Vec::new();
    loop {
        while answer_arrived(service, &mut frames, &mut replies)? {
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

/// Answers the requests that have arrived; whether it stopped because there was a batch of replies to be sent first.
fn answer_arrived<S: Service>(
    service: &S,
    frames: &mut Frames,
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
        sent += clock.timeout(PATIENCE, stream.write(&replies[sent..])).await??;
    }
    replies.clear();
    replies.shrink_to(BATCH);
    Ok(())
}
