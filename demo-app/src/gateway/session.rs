//! A session: one client's connection, with its limits and timeouts.
//!
//! Commands of a connection are executed one at a time, and nothing is read while replies are unsent. So a client can
//! make the gateway buffer at most the commands of one read and their replies. A client that does not read its replies
//! is not read from, and is disconnected after `write_timeout`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use steelmill_core::{Clock as _, Scope};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Gateway;
use super::client::Client;
use super::command::Command;
use super::keys::CommandError;
use crate::memory::MemoryAccount;
use crate::resp::{Replies, RequestParser};
use crate::settings::ClientLimits;
use crate::world::{Clock, TcpStream, write_and_close};

/// Replies are sent once this many bytes are buffered, or when no complete command is left.
const BATCH: usize = 64 * 1024;

/// The time and bytes of a lingering close, which reads and discards input after the last reply.
///
/// Closing with unread input would reset the connection, and the client could lose the error that explains the close.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 8 << 20;

/// How long the current command and its reply may still take after the stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How a connection is closed.
enum Close {
    /// At once: the client has closed, or cannot be written to.
    Now,
    /// After sending the replies, with a lingering close, because the client may still be sending.
    Lingering,
    /// After sending the replies.
    Flushed,
}

impl From<std::io::Error> for Close {
    fn from(_: std::io::Error) -> Self {
        Close::Now
    }
}

/// Serves one client until it disconnects, violates a limit or the protocol, or the gateway stops.
pub(super) async fn serve(gateway: Arc<Gateway>, stream: TcpStream, scope: Scope) {
    let limits = &gateway.settings.clients;
    let mut session = Session {
        requests: RequestParser::new(limits.request.clone()),
        replies: Replies::default(),
        memory: MemoryAccount::new(gateway.memory.clone(), limits.memory, limits.memory_reserved),
        command_began: None,
        client: Client::new(gateway.last_client.fetch_add(1, Relaxed) + 1),
        gateway: &gateway,
        limits,
        stream,
    };
    let stop_grace_exceeded = async {
        scope.stopping().await;
        gateway.clock.sleep(STOP_GRACE).await;
        Close::Now
    };
    let close = tokio::select! {
        biased;
        close = session.run(&scope) => close,
        close = stop_grace_exceeded => close,
    };
    match close {
        Close::Now => {}
        Close::Flushed => drop(session.flush().await),
        Close::Lingering => {
            if session.flush().await.is_ok() {
                lingering_close(session.stream, &gateway.clock).await;
            }
        }
    }
}

/// Rejects a client above a connection limit with an error reply.
pub(super) async fn reject(gateway: Arc<Gateway>, mut stream: TcpStream, reason: &str) {
    let replies = rejection(reason);
    if let Ok(Ok(())) = gateway.clock.timeout(LINGER_TIMEOUT, stream.write_all(replies.bytes())).await {
        lingering_close(stream, &gateway.clock).await;
    }
}

/// The same without waiting, when too many are being rejected. The reply is lost if the client has sent something.
pub(super) fn reject_at_once(stream: TcpStream, reason: &str) {
    write_and_close(stream, rejection(reason).bytes());
}

fn rejection(reason: &str) -> Replies {
    let mut replies = Replies::default();
    replies.error(format_args!("ERR max number of clients reached: {reason}"));
    replies
}

/// Half-closes the connection, and discards input until the client closes or a limit is reached.
async fn lingering_close(mut stream: TcpStream, clock: &Clock) {
    let leave = async {
        stream.shutdown().await?;
        let mut discarded = [0; 4096];
        let mut count = 0;
        while count < LINGER_BYTES_MAX {
            match stream.read(&mut discarded).await? {
                0 => break,
                read => count += read,
            }
        }
        std::io::Result::Ok(())
    };
    // A failure to close has no consequence.
    let _ = clock.timeout(LINGER_TIMEOUT, leave).await;
}

struct Session<'a> {
    gateway: &'a Gateway,
    limits: &'a ClientLimits,
    stream: TcpStream,
    requests: RequestParser,
    replies: Replies,
    memory: MemoryAccount,
    client: Client,
    /// When the first byte of the incomplete command arrived.
    command_began: Option<Instant>,
}

impl Session<'_> {
    /// Serves until the connection has to be closed.
    async fn run(&mut self, scope: &Scope) -> Close {
        loop {
            if let Err(close) = self.step(scope).await {
                return close;
            }
        }
    }

    async fn step(&mut self, scope: &Scope) -> Result<(), Close> {
        self.execute_commands().await?;
        self.flush().await?;
        self.read(scope).await
    }

    /// Executes the buffered commands.
    async fn execute_commands(&mut self) -> Result<(), Close> {
        loop {
            let start = self.replies.bytes().len();
            let arguments = match self.requests.next() {
                Ok(Some(arguments)) => arguments,
                Ok(None) => return Ok(()),
                Err(malformed) => {
                    self.replies.error(format_args!("ERR {malformed}"));
                    return Err(Close::Lingering);
                }
            };
            self.command_began = None;
            self.gateway.counters.commands.add();
            let command = match Command::parse(arguments) {
                Ok(command) => command,
                Err(reason) => {
                    self.replies.error(reason);
                    continue;
                }
            };
            let (memory, limits) = (&mut self.memory, self.limits);
            // Asks before the buffer grows, so that clients that do not read their replies stay within the limit.
            let mut room = |replies: &mut Replies, additional: usize| {
                if replies.bytes().len() + additional - start > limits.reply {
                    return Err(CommandError::ReplyTooLarge(format!(
                        "the reply is longer than {} bytes",
                        limits.reply
                    )));
                }
                memory.output(replies.capacity_with(additional)).map_err(CommandError::ReplyTooLarge)?;
                replies.reserve(additional);
                Ok(())
            };
            self.gateway.execute(command, &mut self.client, &mut self.replies, &mut room).await;
            // After a refusal it is smaller; an error reply is within the connection's own reserve.
            let _ = self.memory.output(self.replies.capacity());
            if let Command::Quit = command {
                return Err(Close::Lingering);
            }
            if self.replies.bytes().len() > BATCH {
                self.flush().await?;
            }
        }
    }

    /// Sends the buffered replies; the client must read some of them within each `write_timeout`.
    async fn flush(&mut self) -> Result<(), Close> {
        let mut sent = 0;
        while sent < self.replies.bytes().len() {
            let write = self.stream.write(&self.replies.bytes()[sent..]);
            match self.gateway.clock.timeout(self.limits.write_timeout, write).await {
                Ok(written) => sent += written?,
                Err(_) => {
                    tracing::debug!("closed the connection of a client that reads no replies");
                    return Err(Close::Now);
                }
            }
        }
        self.replies.clear();
        // Less than before, so it cannot be refused.
        let _ = self.memory.output(self.replies.capacity());
        Ok(())
    }

    /// Reads more input.
    async fn read(&mut self, scope: &Scope) -> Result<(), Close> {
        let now = self.gateway.clock.now();
        let (limit, due) = if self.requests.has_partial() {
            // Counted from the first byte of this command, however many others were executed before.
            let command_began = *self.command_began.get_or_insert(now);
            (self.limits.command_timeout, command_began + self.limits.command_timeout)
        } else {
            self.command_began = None;
            (self.limits.idle_timeout, now + self.limits.idle_timeout)
        };
        let read = self
            .gateway
            .clock
            .timeout(due.saturating_duration_since(now), self.stream.read_buf(self.requests.space()));
        match scope.until_stopping(read).await {
            Some(Ok(Ok(0))) => return Err(Close::Now),
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => return Err(error.into()),
            Some(Err(_)) => {
                let what = if self.command_began.is_some() { "the rest of the command" } else { "a command" };
                self.replies.error(format_args!("ERR timeout: {what} did not arrive within {limit:?}"));
                return Err(Close::Lingering);
            }
            None => return Err(Close::Flushed),
        }
        if let Err(reason) = self.memory.input(self.requests.capacity()) {
            self.replies.error(format_args!("ERR {reason}"));
            return Err(Close::Lingering);
        }
        Ok(())
    }
}
